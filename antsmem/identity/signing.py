"""Ed25519 signatures, by libsodium alone.

libsodium follows RFC 8032 strictly: it refuses small-order and non-canonical public keys, a small-order `R` and
an `S` beyond the group order. OpenSSL accepts some of these, and with one such key any message has a signature.
"""

from __future__ import annotations

import os
from typing import Self

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError

from antsmem.core.age.opaque import Opaque
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.identity.multikey import multikey

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64


class SigningKey(Opaque):
    """An Ed25519 key that signs. `repr` shows its public half only."""

    __slots__ = ()

    def __init__(self, seed: bytes) -> None:
        """`seed`: 32 bytes of a random number generator or of a key derivation."""
        if len(seed) != SEED_BYTES:
            raise UsageError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        # libsodium's form of a secret key: the seed, then the public key.
        super().__init__(crypto_sign_seed_keypair(bytes(seed))[1])

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's random number generator."""
        return cls(os.urandom(SEED_BYTES))

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self._content[SEED_BYTES:]

    def seed(self) -> bytes:
        """The 32 secret bytes from which the key is made again."""
        return self._content[:SEED_BYTES]

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`; the same each time."""
        return crypto_sign(message, self._content)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"<SigningKey {multikey(self.public)}>"


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if `signature` is that of `message` by the key `public`, else raise `IntegrityError`."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        raise IntegrityError("a signature or its key has the wrong size")
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        raise IntegrityError(f"signature does not verify with key `{multikey(public)}`") from None


def is_strong(public: bytes) -> bool:
    """Whether `public` is the canonical form of a point of the prime-order group: fit to be anybody's key."""
    return len(public) == PUBLIC_BYTES and crypto_core_ed25519_is_valid_point(public)
