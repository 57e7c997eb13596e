"""How events are sealed: XChaCha20-Poly1305 under a key of their own, which is wrapped by the key of an epoch.

Whoever destroys the wrapped key of an event has destroyed what it says, in every copy, while its signature and its
place in the chain stay what they were. Lengths are padded (Padmé: "Reducing Metadata Leakage from Encrypted Files
and Communication with PURBs", 2019), so that a size tells little. Format: docs/spec/event-v1.md.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from antsmem.core.errors import CannotUnlockError, IntegrityError
from antsmem.core.record import field, record

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_LEAST_BYTES: Final = 512


@record
class MemoryKeys:
    """The keys of epochs (name → 32 bytes), which wrap the keys of events; new ones under `current`."""

    epochs: Mapping[str, bytes] = field(repr=False)
    current: str

    def subject(self, path: str, epoch: str) -> str:
        """The blind name of `path` in `epoch`: HMAC-SHA-256 under a key that follows from the epoch's, base64url
        without padding."""
        index = hmac.digest(self._epoch(epoch), b"antsmem/memory/1/subject", "sha256")
        return base64url(hmac.digest(index, path.encode(), "sha256"))

    def wrap(self, key: bytes, epoch: str, context: bytes) -> bytes:
        """`key` sealed under the key of `epoch`, bound to `context`."""
        return _sealed(self._epoch(epoch), key, context)

    def unwrap(self, wrapped: bytes, epoch: str, context: bytes) -> bytes:
        """What `wrap` wrapped. `CannotUnlockError`: of an epoch unknown here; `IntegrityError`: not that."""
        return _opened(self._epoch(epoch), wrapped, context)

    def _epoch(self, name: str) -> bytes:
        key = self.epochs.get(name)
        if key is None:
            raise CannotUnlockError(
                f"the key of memory epoch `{name[:40]}` is not on this host", hint="run `antsmem sync` again later"
            )
        return key


def new_key() -> bytes:
    """A key for one event."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, plain: bytes, context: bytes) -> bytes:
    """`plain`, padded with zeros, sealed under `key`: nonce, ciphertext, tag. What is in it says its length."""
    return _sealed(key, plain + bytes(padded_size(len(plain)) - len(plain)), context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The padded plain text; `IntegrityError` where the key, the context or a byte is another one."""
    return _opened(key, sealed, context)


def padded_size(size: int) -> int:
    """512, or `size` with all but the topmost bits of its length rounded up: at most 12 % more."""
    if size <= _LEAST_BYTES:
        return _LEAST_BYTES
    exponent = size.bit_length() - 1
    loose = exponent - exponent.bit_length()
    mask = (1 << loose) - 1
    return (size + mask) & ~mask


def base64url(data: bytes) -> str:
    """RFC 4648 base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _sealed(key: bytes, plain: bytes, context: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, context, nonce, key)


def _opened(key: bytes, sealed: bytes, context: bytes) -> bytes:
    if len(sealed) < NONCE_BYTES + _TAG_BYTES:
        raise IntegrityError("a sealed part of an event is too short")
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[NONCE_BYTES:], context, sealed[:NONCE_BYTES], key)
    except CryptoError:
        raise IntegrityError("a sealed part of an event does not open: changed, or of another event") from None
