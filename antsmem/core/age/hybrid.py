"""age's post-quantum recipient `mlkem768x25519`: ML-KEM-768 and X25519 together, by HPKE (RFC 9180).

A file sealed for it stays closed as long as one of the two holds, so it may not also be sealed for an
X25519 recipient. Strings are long (1959 letters); needs a `cryptography` that has ML-KEM.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from nacl.bindings import crypto_scalarmult
from nacl.exceptions import CryptoError

from antsmem.core.age import bech32
from antsmem.core.age.chacha import SEALED_KEY_BYTES
from antsmem.core.age.header import Stanza, decode64, encode64
from antsmem.core.age.opaque import Opaque
from antsmem.core.age.source import AgeFileError
from antsmem.core.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hpke
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

KIND = "mlkem768x25519"
_INFO = b"age-encryption.org/mlkem768x25519"
_SEED_BYTES = 32
_MLKEM_PUBLIC_BYTES, _MLKEM_SEALED_BYTES, _X25519_BYTES = 1184, 1088, 32
_SHARE_BYTES = _MLKEM_SEALED_BYTES + _X25519_BYTES


class HybridRecipient(Opaque):
    """Who may open a file: `str()` gives `age1pq1…`. From 1216 bytes: ML-KEM-768's public key, then X25519's."""

    __slots__ = ()

    def __init__(self, content: bytes) -> None:
        if len(content) != _MLKEM_PUBLIC_BYTES + _X25519_BYTES:
            raise UsageError("a hybrid recipient is 1216 bytes")
        super().__init__(content)

    def __str__(self) -> str:
        return bech32.encode("age1pq", self._content)

    def wrap(self, file_key: bytes) -> Stanza:
        """`file_key` sealed for this recipient. `UsageError` if its key is no ML-KEM key."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hpke
        from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

        try:
            public = hpke.MLKEM768X25519PublicKey(
                mlkem.MLKEM768PublicKey.from_public_bytes(self._content[:_MLKEM_PUBLIC_BYTES]),
                x25519.X25519PublicKey.from_public_bytes(self._content[_MLKEM_PUBLIC_BYTES:]),
            )
            sealed = _suite().encrypt(file_key, public, _INFO)
        except ValueError:
            raise UsageError("a hybrid recipient is not a valid key") from None
        except UnsupportedAlgorithm:
            raise _no_mlkem() from None
        return Stanza(KIND, (encode64(sealed[:_SHARE_BYTES]),), sealed[_SHARE_BYTES:])


class HybridIdentity(Opaque):
    """The secret that opens what was sealed for its `recipient`: a seed of 32 bytes."""

    __slots__ = ()

    def __init__(self, content: bytes) -> None:
        if len(content) != _SEED_BYTES:
            raise UsageError("a hybrid identity is 32 bytes")
        super().__init__(content)

    @classmethod
    def generate(cls) -> Self:
        """A new identity."""
        return cls(os.urandom(_SEED_BYTES))

    @property
    def recipient(self) -> HybridRecipient:
        """Who to seal for, so that this identity opens it."""
        mlkem_key, x25519_key = _private_keys(self._content)
        return HybridRecipient(
            mlkem_key.public_key().public_bytes_raw() + x25519_key.public_key().public_bytes_raw()
        )

    def secret(self) -> str:
        """The identity itself, as identity files hold it."""
        return bech32.encode("age-secret-key-pq-", self._content).upper()

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if `stanza` is for somebody else. `AgeFileError` if it is malformed."""
        if stanza.kind != KIND:
            return None
        if len(stanza.arguments) != 1:
            raise AgeFileError("header", f"a `{KIND}` stanza without exactly one argument")
        share = decode64(stanza.arguments[0])
        if len(share) != _SHARE_BYTES or len(stanza.body) != SEALED_KEY_BYTES:
            raise AgeFileError("header", f"a `{KIND}` stanza with parts of the wrong size")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives import hpke

        mlkem_key, x25519_key = _private_keys(self._content)
        try:
            # HPKE says the same of a wrong key and of a point that would give a known secret; age does not.
            crypto_scalarmult(x25519_key.private_bytes_raw(), share[_MLKEM_SEALED_BYTES:])
        except CryptoError:
            raise AgeFileError("header", f"a `{KIND}` stanza with a point of small order") from None
        try:
            return _suite().decrypt(
                share + stanza.body, hpke.MLKEM768X25519PrivateKey(mlkem_key, x25519_key), _INFO
            )
        except InvalidTag:
            return None


def _suite() -> hpke.Suite:
    from cryptography.hazmat.primitives import hpke

    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def _private_keys(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Both private keys, expanded from `seed` as HPKE's DeriveKeyPair for this KEM does."""
    import hashlib

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

    expanded = hashlib.shake_256(seed).digest(96)
    try:
        mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    except UnsupportedAlgorithm:
        raise _no_mlkem() from None
    return mlkem_key, x25519.X25519PrivateKey.from_private_bytes(expanded[64:])


def _no_mlkem() -> UsageError:
    return UsageError(
        "the installed `cryptography` has no ML-KEM, which hybrid keys need",
        hint="pip install --upgrade cryptography",
    )
