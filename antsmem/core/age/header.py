"""The text that opens an age file: one stanza for each recipient, each holding the file key sealed for it.

Format: C2SP age specification, age-encryption.org/v1. What is read here comes from anybody: size, number and
shape of everything are bounded before any cryptography is done.
"""

from __future__ import annotations

import hmac
from binascii import Error, a2b_base64, b2a_base64
from typing import TYPE_CHECKING, NamedTuple

from antsmem.core.age.chacha import hkdf
from antsmem.core.age.source import AgeFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from antsmem.core.age.source import Source

MAGIC = b"age-encryption.org/"
_VERSION = MAGIC + b"v1"
_COLUMNS = 64
_END = b"\n---"
# More than 2600 X25519 or 150 hybrid recipients; a hostile header costs one key about 0.2 s at most.
_LIMIT_BYTES = 1 << 18


class Stanza(NamedTuple):
    """The file key sealed for one recipient: the kind and its arguments (printable ASCII), and the sealed key."""

    kind: str
    arguments: tuple[str, ...]
    body: bytes


class Header(NamedTuple):
    """A header as it was read. `text` is what the MAC covers."""

    stanzas: tuple[Stanza, ...]
    mac: bytes
    text: bytes

    def is_authentic(self, file_key: bytes) -> bool:
        """Whether this header is the one that was written by somebody who knew `file_key`."""
        return hmac.compare_digest(_mac(file_key, self.text), self.mac)


def encode64(raw: bytes) -> str:
    """Base64 as age headers have it: canonical, without padding."""
    return b2a_base64(raw, newline=False).rstrip(b"=").decode("ascii")


def decode64(text: str) -> bytes:
    """The bytes of `text`, which must be exactly what `encode64` writes. `AgeFileError` of part `header`."""
    try:
        raw = a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (Error, ValueError):
        raise AgeFileError("header", "not base64") from None
    if encode64(raw) != text:
        raise AgeFileError("header", "base64 that is not canonical")
    return raw


def write_header(file_key: bytes, stanzas: Sequence[Stanza]) -> bytes:
    """The header of a file whose payload is sealed under `file_key` (16 bytes)."""
    lines = [_VERSION.decode("ascii")]
    for stanza in stanzas:
        lines.append(" ".join(("->", stanza.kind, *stanza.arguments)))
        body = encode64(stanza.body)
        # A body ends with a line that is not full, so a full or empty one is followed by an empty line.
        lines += [body[start : start + _COLUMNS] for start in range(0, len(body) + 1, _COLUMNS)]
    text = "\n".join([*lines, "---"]).encode("ascii")
    return b"%b %b\n" % (text, encode64(_mac(file_key, text)).encode("ascii"))


def read_header(source: Source) -> Header:
    """Read the header off the front of `source`. `AgeFileError` of part `header`: none, or over 256 KiB."""
    text = source.through(_END, _LIMIT_BYTES)
    if not text.endswith(_END):
        raise AgeFileError("header", f"no end of it within {min(len(text), _LIMIT_BYTES)} bytes")
    version, *lines = text.removesuffix(_END).split(b"\n")
    if version != _VERSION:
        raise AgeFileError("header", "not `age-encryption.org/v1`")
    footer = source.through(b"\n", _COLUMNS)
    if footer[:1] != b" " or footer[-1:] != b"\n" or not footer.isascii():
        raise AgeFileError("header", "a damaged end line")
    mac = decode64(footer[1:-1].decode("ascii"))
    if len(mac) != 32:
        raise AgeFileError("header", "a MAC of the wrong size")
    return Header(_stanzas(lines), mac, text)


def _stanzas(lines: list[bytes]) -> tuple[Stanza, ...]:
    stanzas = []
    rest = iter(lines)
    for line in rest:
        text = line[3:].decode("latin-1")
        kind, *arguments = text.split(" ")
        if not line.startswith(b"-> ") or not (text.isascii() and text.isprintable() and kind and all(arguments)):
            raise AgeFileError("header", "a damaged stanza line")
        body = []
        for part in rest:
            if len(part) > _COLUMNS:
                raise AgeFileError("header", "a stanza line longer than 64 columns")
            body.append(part)
            if len(part) < _COLUMNS:
                break
        if not body or len(body[-1]) == _COLUMNS:
            raise AgeFileError("header", "a stanza without its short last line")
        stanzas.append(Stanza(kind, tuple(arguments), decode64(b"".join(body).decode("latin-1"))))
    if not stanzas:
        raise AgeFileError("header", "no recipient")
    if len(stanzas) > 1 and any(stanza.kind == "scrypt" for stanza in stanzas):
        raise AgeFileError("header", "a passphrase beside other recipients")
    return tuple(stanzas)


def _mac(file_key: bytes, text: bytes) -> bytes:
    return hmac.digest(hkdf(file_key, b"", b"header"), text, "sha256")
