"""Take known secrets out of a stream of bytes, however it is cut into pieces, and hold back as little as possible.

What may still become a secret is held back: the longest end of the stream that one of the spellings begins with.
`[secret:NAME]` stands where a secret was; secrets that overlap give one mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from antsmem.core.disk import Buffer
from antsmem.core.literals import search_all
from antsmem.core.spellings import KnownValues

LEAST_BYTES: Final = 4
"""A shorter value is not masked: it would be found everywhere."""

SHOWN_BYTES: Final = 8
"""So much of what may be the beginning of a secret is shown when a program pauses: else a prompt that ends like
one would never be seen."""

_LINE_BYTES: Final = 16
_SECRET_NAME: Final = re.compile("pass|pwd|secret|token|key|credential|auth", re.IGNORECASE)


class _Span(NamedTuple):
    start: int
    end: int
    name: str


class Mask:
    """Knows what to take out. Threads may share one."""

    too_short: tuple[str, ...]
    """Names of the values that are not masked: fewer than 4 bytes."""

    def __init__(self, values: Sequence[tuple[str, bytes]]) -> None:
        """`values`: names and secrets. Space around a secret does not count. Masked by themselves too: of one with
        several lines those of 16 bytes or more, of a JSON object the members that are named like secrets."""
        stripped = [(name, value.strip()) for name, value in values]
        self.too_short = tuple(name for name, value in stripped if len(value) < LEAST_BYTES)
        searched = [pair for pair in stripped if len(pair[1]) >= LEAST_BYTES]
        searched += [(f"{name}#{key}", part) for name, value in searched for key, part in _members(value)]
        searched += [(name, line) for name, value in searched for line in _lines(value)]
        self._names = [name for name, _ in searched]
        self._known = KnownValues([value for _, value in searched], least=LEAST_BYTES) if searched else None
        self._heads: dict[bytes, list[bytes]] = {}
        self._starts: set[bytes] = set()
        for text in self._known.texts if self._known else ():
            self._heads.setdefault(text[:LEAST_BYTES], []).append(text)
            self._starts |= {text[:length] for length in range(1, LEAST_BYTES)}
        self._order = list(self._heads)
        self._find_heads = search_all(self._order) if self._order else None

    def stream(self) -> Stream:
        """A stream that this masks, from its beginning."""
        return Stream(self)

    def whole(self, data: bytes) -> bytes:
        """`data` masked, if that is all there is."""
        stream = Stream(self)
        return stream.feed(data) + stream.end()

    def spans(self, data: Buffer) -> list[_Span]:
        """What is to be taken out of `data`: in order, without overlaps."""
        if self._known is None:
            return []
        merged: list[_Span] = []
        found = sorted(self._known.search(data), key=lambda each: (each.start, -each.end, each.value))
        for each in found:
            if merged and each.start < merged[-1].end:
                merged[-1] = merged[-1]._replace(end=max(each.end, merged[-1].end))
            else:
                merged.append(_Span(each.start, each.end, self._names[each.value]))
        return merged

    def open_end(self, data: bytes) -> tuple[int, list[bytes]]:
        """Where the longest end of `data` begins with which some spelling begins too, and those spellings."""
        if self._known is None or self._find_heads is None:
            return len(data), []
        first = max(0, len(data) - self._known.longest + 1)
        for number, start, _ in self._find_heads(data[first:]):
            rest = data[first + start :]
            fitting = [text for text in self._heads[self._order[number]] if _continues(text, rest)]
            if fitting:
                return first + start, fitting
        for length in range(min(LEAST_BYTES - 1, len(data)), 0, -1):
            rest = data[-length:]
            if rest in self._starts:
                return len(data) - length, [text for text in self._known.texts if text.startswith(rest)]
        return len(data), []


class Stream:
    """One stream of bytes on its way out."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""  # what may become a secret, with
        self._done = 0  # how many bytes of that are out already,
        self._covered = False  # as they are or under a mark

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return self._done < len(self._held)

    def feed(self, data: Buffer) -> bytes:
        """What can go out now that `data` has come."""
        whole = self._held + bytes(data)
        start, _ = self._mask.open_end(whole)
        return self._out(whole, start, start)

    def idle(self) -> bytes:
        """What can go out although more may come: for a program that waits for somebody to read it."""
        start, fitting = self._mask.open_end(self._held)
        if not self.holds or not self._may_show(len(self._held) - start, fitting):
            return b""
        return self._out(self._held, len(self._held), start)

    def end(self) -> bytes:
        """The rest. What is most of a secret is taken for one."""
        start, fitting = self._mask.open_end(self._held)
        cut_off = not self._may_show(len(self._held) - start, fitting)
        return self._out(self._held, len(self._held), len(self._held), start if cut_off else None)

    def _may_show(self, length: int, fitting: Sequence[bytes]) -> bool:
        return length <= SHOWN_BYTES and all(2 * length <= len(text) for text in fitting)

    def _out(self, data: bytes, upto: int, keep: int, cut_off: int | None = None) -> bytes:
        """Let `data` out up to `upto`; remember it from `keep` on. A secret begins at `cut_off` and is cut off."""
        out: list[bytes] = []
        place, covered = self._done, self._covered
        for span in self._spans(data, cut_off):
            if span.end <= place:
                continue
            if span.start >= upto:
                break
            if span.start > place:
                out.append(data[place : span.start])
            if not (covered and span.start < place):
                out.append(f"[secret:{span.name}]".encode(errors="replace"))
            place, covered = span.end, True
        if place < upto:
            out.append(data[place:upto])
            place, covered = upto, False
        self._held, self._done, self._covered = data[keep:], max(place - keep, 0), covered
        return b"".join(out)

    def _spans(self, data: bytes, cut_off: int | None) -> Iterator[_Span]:
        spans = self._mask.spans(data)
        if cut_off is None or cut_off == len(data):
            yield from spans
            return
        for span in spans:
            if span.end > cut_off:
                yield _Span(span.start, len(data), span.name)
                return
            yield span
        yield _Span(cut_off, len(data), "cut off")


def _continues(text: bytes, rest: bytes) -> bool:
    return len(text) > len(rest) and text.startswith(rest)


def _lines(value: bytes) -> list[bytes]:
    """The lines of a value that has several, without what is the same in every key file."""
    lines = [line.strip() for line in value.splitlines()] if b"\n" in value else []
    return [line for line in lines if len(line) >= _LINE_BYTES and not line.startswith(b"-----")]


def _members(value: bytes) -> list[tuple[str, bytes]]:
    """The members of a JSON object that are secrets themselves, by their names."""
    if not value.startswith(b"{"):
        return []
    import json

    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return []
    texts = {key: text for key, text in found.items() if isinstance(text, str) and _SECRET_NAME.search(key)}
    parts = [(key, text.strip().encode(errors="surrogatepass")) for key, text in texts.items()]
    return [(key, part) for key, part in parts if len(part) >= LEAST_BYTES]
