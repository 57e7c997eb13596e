"""How public keys and hashes are written as text: base58btc, multikey (`z6Mk…`) and multihash (`Qm…`).

Formats: https://www.w3.org/TR/cid-1.0/#Multikey and https://multiformats.io/multihash/.
"""

from __future__ import annotations

import hashlib

from antsmem.core.errors import IntegrityError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_MAX_TEXT = 128

_ED25519 = b"\xed\x01"
_SHA256 = b"\x12\x20"


def base58_encode(data: bytes) -> str:
    """`data` in base58 with the Bitcoin alphabet; a leading zero byte is a leading `1`."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def base58_decode(text: str) -> bytes:
    """The bytes of base58 `text` of at most 128 letters, else `IntegrityError`."""
    if len(text) > _MAX_TEXT:
        raise IntegrityError(f"base58 text of {len(text)} letters is too long")
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            raise IntegrityError("text is not base58")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def multikey(public: bytes) -> str:
    """The text of a 32-byte Ed25519 public key: `z6Mk…`."""
    return "z" + base58_encode(_ED25519 + public)


def parse_multikey(text: object) -> bytes:
    """The 32 bytes of an Ed25519 multikey, else `IntegrityError`. Whether it is a usable point, `verify` says."""
    if isinstance(text, str) and text.startswith("z"):
        data = base58_decode(text[1:])
        if len(data) == 34 and data.startswith(_ED25519):
            return data[2:]
    raise IntegrityError("not an Ed25519 multikey (`z6Mk…`)")


def multihash(data: bytes) -> str:
    """The SHA-256 multihash of `data` in base58: `Qm…`, 46 letters."""
    return base58_encode(_SHA256 + hashlib.sha256(data).digest())


def key_hash(public: bytes) -> str:
    """What an identity log publishes of a control key before it is used: the multihash of its multikey text."""
    return multihash(multikey(public).encode())
