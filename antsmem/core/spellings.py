"""Find known values in bytes, in every spelling in which they commonly travel: raw, JSON, URL, hex, base64."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from antsmem.core.disk import Buffer
from antsmem.core.literals import Find, dealt, passes, search_all, search_for

_NEEDLE_BYTES: Final = 8
_MAX_NEEDLES: Final = 512
_UNRESERVED: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~"
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")


class Spelt(NamedTuple):
    """Value number `value` stands at `start` to `end` of a window, spelt as `form`."""

    start: int
    end: int
    value: int
    form: str


class KnownValues:
    """Values searched in every spelling. Threads may share one.

    A spelling is found by a needle, a part of it; chosen well, one needle serves several spellings. Up to 512
    needles (about 70 values) are searched 64 at a time, more of them in one slower pass.
    """

    longest: int
    """Bytes of the longest spelling."""

    texts: tuple[bytes, ...]
    """All spellings of all values."""

    def __init__(self, values: Sequence[bytes], *, least: int = 1) -> None:
        """`values`: not empty. Spellings of fewer than `least` bytes are not searched."""
        places: dict[bytes, list[tuple[int, str, bytes, int]]] = {}
        every: set[bytes] = set()
        for number, value in enumerate(values):
            mine: list[bytes] = []
            for text, form in spellings(value).items():
                if len(text) < least:
                    continue
                needle = next((each for each in mine if each in text), None)
                if needle is None:
                    needle = _needle(text, form)
                    mine.append(needle)
                places.setdefault(needle, []).append((number, form, text, text.index(needle)))
                every.add(text)
        self.longest = max(map(len, every), default=0)
        self.texts = tuple(every)
        self._needles = sorted(places)
        self._places = [places[needle] for needle in self._needles]
        self._all: Find | None = None
        parts = passes(self._needles) if len(self._needles) <= _MAX_NEEDLES else [self._needles]
        self._passes = [search_for(dealt(part)) for part in parts]

    def search(self, window: Buffer) -> list[Spelt]:
        """Every occurrence of every value in `window`."""
        if not any(find(window) for find in self._passes):
            return []
        if self._all is None:
            self._all = search_all(self._needles)  # slower, so it runs where one was found
        found: dict[tuple[int, int], Spelt] = {}
        for needle, start, _ in self._all(window):
            for number, form, text, offset in self._places[needle]:
                begin, end = start - offset, start - offset + len(text)
                if begin >= 0 and bytes(window[begin:end]) == text:
                    known = found.get((begin, number))
                    if known is None or known.end < end:  # base64 that ends there has a letter more
                        found[begin, number] = Spelt(begin, end, number, form)
        return list(found.values())


def spellings(value: bytes) -> dict[bytes, str]:
    """Each way in which `value` is searched, and its name."""
    found = {value: "raw"}
    if value.strip(_UNRESERVED):
        found |= dict.fromkeys(_quoted(value), "url")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        pass
    else:
        if value.strip(_UNRESERVED):
            import json

            found |= {json.dumps(text, ensure_ascii=each)[1:-1].encode(): "json" for each in (True, False)}
        found |= {text.encode("utf-16-le"): "utf-16", text.encode("utf-16-be"): "utf-16"}
    found |= {value.hex().encode(): "hex", value.hex().upper().encode(): "hex"}
    for offset in range(3):  # bytes before it, modulo 3
        ended = b2a_base64(bytes(offset) + value, newline=False)[-(-8 * offset // 6) :]
        alone = ended[: 8 * (offset + len(value)) // 6 - -(-8 * offset // 6)]  # letters that `value` alone decides
        for code in (alone, ended.rstrip(b"="), ended):
            found |= {code.translate(_URLSAFE): "base64", code: "base64"}
    return {**found, value[::-1]: "reversed", value: "raw"}


def _quoted(value: bytes) -> Iterator[bytes]:
    """Percent-encodings of `value`: in either case of hex, with `/` kept, with `+` for a space."""
    for kept in (_UNRESERVED, _UNRESERVED + b"/"):
        for code in ("%%%02X", "%%%02x"):
            text = "".join(chr(byte) if byte in kept else code % byte for byte in value).encode()
            yield from (text, text.replace(b"%20", b"+"))


def _needle(text: bytes, form: str) -> bytes:
    """The part of `text` by which it is found: what most spellings share, and from the end, as many secrets of a
    service begin alike."""
    if form == "utf-16":
        return text[-8:-1]  # in both byte orders, if the last two letters are ASCII
    runs = re.findall(rb"[0-9]{6,}" if form == "hex" else rb"[0-9A-Za-z]{6,}", text)
    return (max(reversed(runs), key=len) if runs else text)[-_NEEDLE_BYTES:]
