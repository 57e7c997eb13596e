"""Canaries, every way in which one could be spelt, and a search for all of them at once.

Written apart from the leak scanner on purpose: a form that the scanner forgets must not be forgotten here too.
Each form is searched by its two halves, so that half a secret counts, and so does one that is cut in two.
"""

from __future__ import annotations

import base64
import gzip
import json
import string
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import zstandard
from ahocorasick_rs import BytesAhoCorasick, Implementation

SHORTEST = 8
_LIMIT = 1 << 24
_UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Canary:
    """A value that must not be seen, and what kind of thing it is."""

    kind: str
    value: bytes


def spellings(value: bytes) -> Iterator[tuple[str, bytes]]:
    """(form, bytes) of all ways to write `value` that are searched."""
    yield "raw", value
    yield "hex", value.hex().encode()
    yield "HEX", value.hex().upper().encode()
    yield "reversed", value[::-1]
    for code in ("%%%02X", "%%%02x"):
        yield "url", "".join(code % byte for byte in value).encode()
        kept = b"-._~" + b"/" * (code == "%%%02x")
        yield (
            "url",
            "".join(chr(b) if chr(b).isalnum() or b in kept else code % b for b in value).encode("latin-1"),
        )
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + value)
        text = text[-(-8 * offset // 6) : 8 * (offset + len(value)) // 6]
        yield "base64", text
        yield "base64", text.replace(b"+", b"-").replace(b"/", b"_")
    for offset in range(5):
        yield (
            "base32",
            base64.b32encode(bytes(offset) + value)[-(-8 * offset // 5) : 8 * (offset + len(value)) // 5],
        )
    for offset in range(4):
        part = value[offset : len(value) - (len(value) - offset) % 4]
        yield "base85", base64.b85encode(part)
        yield "base85", base64.a85encode(part)
    yield "repr", repr(value)[2:-1].encode()
    with suppress(UnicodeDecodeError):
        letters = value.decode()
        for each in (True, False):
            yield "json", json.dumps(letters, ensure_ascii=each)[1:-1].encode()
        yield "json", json.dumps(letters)[1:-1].replace("/", "\\/").encode()
        yield "repr", repr(letters)[1:-1].encode()
        yield "utf-16", letters.encode("utf-16-le")
        yield "utf-16", letters.encode("utf-16-be")


class Hunt:
    """Searches bytes for `canaries`."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        found: dict[bytes, set[tuple[str, str]]] = {}
        for canary in canaries:
            for form, text in spellings(canary.value):
                half = len(text) // 2
                assert half >= SHORTEST, f"the {canary.kind} is too short to be found by its halves"
                for part in (text[:half], text[half:]):
                    found.setdefault(part, set()).add((canary.kind, form))
        self._meaning = list(found.values())
        self._search = BytesAhoCorasick(list(found), implementation=Implementation.ContiguousNFA)

    def search(self, data: bytes) -> set[tuple[str, str]]:
        """(kind, form) of all that stands in `data`, or in what `data` is the compressed form of."""
        seen: set[tuple[str, str]] = set()
        for text in (data, *unpacked(data)):
            for number in {hit[0] for hit in self._search.find_matches_as_indexes(text, overlapping=True)}:
                seen |= self._meaning[number]
        return seen


def unpacked(data: bytes) -> Iterator[bytes]:
    """What `data` holds, if it begins like something compressed."""
    if data.startswith(_ZSTD):
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data)[:_LIMIT]
    if data.startswith(b"\x1f\x8b"):
        with suppress(OSError, EOFError, zlib.error):
            yield gzip.decompress(data)[:_LIMIT]
    if data[:1] == b"x":
        with suppress(zlib.error):
            yield zlib.decompressobj().decompress(data, _LIMIT)
