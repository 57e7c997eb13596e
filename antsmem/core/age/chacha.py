"""ChaCha20-Poly1305 and HKDF-SHA-256, the two primitives under everything in an age file."""

from __future__ import annotations

import hmac
from itertools import count
from typing import TYPE_CHECKING

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TAG_BYTES = 16
FILE_KEY_BYTES = 16
SEALED_KEY_BYTES = FILE_KEY_BYTES + TAG_BYTES
_ZERO_NONCE = bytes(12)

# OpenSSL is two to three times as fast, but takes 7 ms to load. libsodium, which is here anyway, seals these 4 MiB
# in less, so a process loads OpenSSL when it has more than that to do, and uses it from there on.
_LIGHT_CHUNKS = 64
_chunks = count()


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869), 32 bytes: one block of output is all that age asks for."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def seal_key(key: bytes, file_key: bytes) -> bytes:
    """`file_key` sealed under the one-time `key` (32 bytes): 16 bytes longer."""
    return crypto_aead_chacha20poly1305_ietf_encrypt(file_key, None, _ZERO_NONCE, key)


def open_key(key: bytes, sealed: bytes) -> bytes | None:
    """What `seal_key` sealed; None if it was under another key."""
    try:
        return crypto_aead_chacha20poly1305_ietf_decrypt(sealed, None, _ZERO_NONCE, key)
    except CryptoError:
        return None


class Cipher:
    """ChaCha20-Poly1305 under one `key` (32 bytes) for the chunks of one payload. Both ways release the GIL."""

    __slots__ = ("_bulk", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._bulk: ChaCha20Poly1305 | None = None

    def seal(self, nonce: bytes, plain: bytes | memoryview) -> bytes:
        """`plain` sealed under the 12 bytes of `nonce`: 16 bytes longer."""
        bulk = self._bulk or self._load_bulk()
        if bulk is None:
            return crypto_aead_chacha20poly1305_ietf_encrypt(bytes(plain), None, nonce, self._key)
        return bulk.encrypt(nonce, plain, None)

    def open(self, nonce: bytes, sealed: bytes | memoryview) -> bytes | None:
        """What was sealed under `nonce`; None if these bytes were not."""
        bulk = self._bulk or self._load_bulk()
        if bulk is None:
            try:
                return crypto_aead_chacha20poly1305_ietf_decrypt(bytes(sealed), None, nonce, self._key)
            except CryptoError:
                return None
        from cryptography.exceptions import InvalidTag

        try:
            return bulk.decrypt(nonce, sealed, None)
        except InvalidTag:
            return None

    def _load_bulk(self) -> ChaCha20Poly1305 | None:
        if next(_chunks) < _LIGHT_CHUNKS:
            return None
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._bulk = ChaCha20Poly1305(self._key)
        return self._bulk
