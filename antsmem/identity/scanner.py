"""Find secrets in bytes that are about to leave: the agent's own in every spelling, and what looks like anybody's.

Clean bytes must cost next to nothing. So everything begins with literals, which the SIMD search ("Teddy") of
`ahocorasick_rs` finds at gigabytes a second without the GIL; Python looks closer only where one stands.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from antsmem.core.disk import Buffer
from antsmem.core.errors import UsageError
from antsmem.core.record import record
from antsmem.identity.patterns import RULES, Rule, plausible

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

# For each occurrence: number of the literal, start, end.
_Find: TypeAlias = Callable[[Buffer], list[tuple[int, int, int]]]
_MatchAt: TypeAlias = Callable[[Buffer, int, int], re.Match[bytes] | None]

MIN_VALUE_BYTES: Final = 8
KEY_BYTES: Final = 32
_FINGERPRINT_BYTES: Final = 16
_VALUE_BYTES: Final = 2048
_NEEDLE_BYTES: Final = 8
_MIN_OVERLAP: Final = 8192
_REACH: Final = 7000
# What follows a match may still lengthen it: this much of it must be in sight.
_SIGHT: Final = 16
# The SIMD search takes 64 literals at most, and runs half as fast over more than 32.
_PASS: Final = 64
_SLIM: Final = 32
_MAX_NEEDLES: Final = 512
_KNOWN: Final = -1
_UNRESERVED: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~"
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
# Part of the digest: another when the code here or `plausible` finds something else by the same rules and values.
_VERSION: Final = b"antsmem scanner 1"


@record
class Finding:
    """A secret at bytes `start` to `end` of a window.

    `rule` is the name of a rule, or `known:` and the name of the value; `form` is how a known value is spelt.
    `fingerprint`: 16 bytes of the keyed BLAKE3 of the secret itself, so the same in every place and spelling.
    """

    rule: str
    start: int
    end: int
    fingerprint: bytes
    form: str = "raw"


class _Match(NamedTuple):
    start: int
    end: int
    rank: int  # known values before rules, rules in their order
    stop: int  # where the whole match ends, of which the secret may be a part
    rule: str
    form: str
    secret: bytes


class Scanner:
    """Searches for the rules of `patterns` and for known values. Threads may share one."""

    overlap: int
    """How many bytes of one window the next must begin with, for a file that is scanned in windows."""

    digest: bytes
    """32 bytes, another when the rules, the known values or the key are: bytes found clean under one digest stay
    clean under it."""

    too_short: tuple[str, ...]
    """Names of the known values of fewer than 8 bytes: not searched, they would be found everywhere."""

    def __init__(
        self,
        known: Sequence[tuple[str, bytes]] = (),
        *,
        fingerprint_key: bytes,
        rules: Sequence[Rule] = RULES,
    ) -> None:
        """`known`: names and values of the agent's own secrets. White space around a value does not count; of a
        value longer than 2048 bytes the first 2048 are searched. `fingerprint_key`: 32 secret bytes."""
        if len(fingerprint_key) != KEY_BYTES:
            raise UsageError(f"a fingerprint key has {KEY_BYTES} bytes, not {len(fingerprint_key)}")
        stripped = [(name, value.strip()) for name, value in known]
        searched = [(name, value) for name, value in stripped if len(value) >= MIN_VALUE_BYTES]
        self._key = bytes(fingerprint_key)
        self._rules = tuple(rules)
        self._tails: list[_MatchAt | None] = [None] * len(rules)
        self._keywords = [*_keyword_search(self._rules, short=False), *_keyword_search(self._rules, short=True)]
        self._known = _KnownValues(searched) if searched else None
        self.too_short = tuple(name for name, value in stripped if len(value) < MIN_VALUE_BYTES)
        self.overlap = max(_MIN_OVERLAP, self._known.longest + 2 * _SIGHT if self._known else 0)
        self.digest = self._hash(_described(self._rules, searched))

    def scan(self, window: Buffer, *, seen: int = 0, more: bool = False) -> list[Finding]:
        """The secrets in `window`, a contiguous buffer of bytes that nobody changes meanwhile, in their order.

        A large file is scanned in windows, each beginning with the last `overlap` bytes of the one before. With
        `seen` the number of these bytes, and `more` unless the window is the last, each secret is found exactly
        once and whole; without them, one at a border may be found twice, or cut.
        """
        found: list[_Match] = []
        for find, table in self._keywords:
            if hits := find(window):
                found += self._confirmed(window, hits, table)
        if self._known is not None:
            found += self._known.search(window)
        if not found:
            return []
        first, last = seen - _SIGHT, len(window) - _SIGHT if more else len(window)
        return [
            Finding(match.rule, match.start, match.end, self._hash(match.secret)[:_FINGERPRINT_BYTES], match.form)
            for match in _without_doubles(found)
            if (not seen or match.stop > first) and match.stop <= last
        ]

    def _confirmed(
        self, window: Buffer, hits: list[tuple[int, int, int]], table: Sequence[Sequence[int]]
    ) -> Iterator[_Match]:
        """What the rules of each keyword that was hit make of it."""
        tails = self._tails
        for keyword, start, end in hits:
            for rank in table[keyword]:
                match = (tails[rank] or self._tail(rank))(window, start, start + _REACH)
                if match is not None and (found := self._judged(rank, window, match, end)):
                    yield found

    def _tail(self, rank: int) -> _MatchAt:
        """The compiled tail of a rule: made when its keyword is met for the first time."""
        tail = self._tails[rank] = re.compile(self._rules[rank].tail).match
        return tail

    def _judged(self, rank: int, window: Buffer, match: re.Match[bytes], keyword_end: int) -> _Match | None:
        """A rule's whole verdict where its tail matched."""
        rule, (start, end) = self._rules[rank], match.span()
        if rule.head:
            head = re.compile(rule.head + rb"\Z").search(window, max(0, start - rule.before), start)
            if head is None:
                return None
            start = head.start()
        if "s" in match.re.groupindex:
            start, end = match.span("s")
        drawn = start if keyword_end > end else max(start, keyword_end)
        if not plausible(rule.check, bytes(window[drawn:end])):
            return None
        return _Match(start, end, rank, match.end(), rule.name, "raw", bytes(window[start:end]))

    def _hash(self, data: bytes) -> bytes:
        from blake3 import blake3

        return blake3(data, key=self._key).digest()


class _KnownValues:
    """Values searched in every spelling.

    A spelling is found by a needle, a part of it; chosen well, one needle serves several spellings. Up to 512
    needles (about 70 values) are searched 64 at a time, more of them in one slower pass.
    """

    def __init__(self, values: Sequence[tuple[str, bytes]]) -> None:
        self._names = [name for name, _ in values]
        self._values = [value for _, value in values]
        places: dict[bytes, list[tuple[int, str, bytes, int]]] = {}
        self.longest = 0
        for number, value in enumerate(self._values):
            mine: list[bytes] = []
            for text, form in _spellings(value[:_VALUE_BYTES]).items():
                needle = next((each for each in mine if each in text), None)
                if needle is None:
                    needle = _needle(text, form)
                    mine.append(needle)
                places.setdefault(needle, []).append((number, form, text, text.index(needle)))
                self.longest = max(self.longest, len(text))
        self._needles = sorted(places)
        self._places = [places[needle] for needle in self._needles]
        self._all: BytesAhoCorasick | None = None
        parts = _passes(self._needles) if len(self._needles) <= _MAX_NEEDLES else [self._needles]
        self._passes = [_search_for(_dealt(part)) for part in parts]

    def search(self, window: Buffer) -> list[_Match]:
        """Every occurrence of every value in `window`."""
        if not any(find(window) for find in self._passes):
            return []
        found = []
        for needle, start, _ in self._everywhere().find_matches_as_indexes(window, overlapping=True):
            for number, form, text, offset in self._places[needle]:
                begin = start - offset
                if bytes(window[begin : begin + len(text)]) == text:
                    name, end = f"known:{self._names[number]}", begin + len(text)
                    found.append(_Match(begin, end, _KNOWN, end, name, form, self._values[number]))
        return found

    def _everywhere(self) -> BytesAhoCorasick:
        """The search that also sees needles which overlap: slower, so it runs where one was found."""
        if self._all is None:
            from ahocorasick_rs import BytesAhoCorasick, Implementation

            self._all = BytesAhoCorasick(self._needles, implementation=Implementation.DFA)
        return self._all


def masked(secret: bytes) -> str:
    """`ghp_…(40 bytes)`: of a secret, what is public anyway and safe to show."""
    starts = {keyword for rule in RULES if not rule.before for keyword in rule.keywords}
    shown = max((start for start in starts if secret.startswith(start)), key=len, default=b"")
    if len(secret) < len(shown) + 16:
        shown = b""
    return f"{shown.decode('ascii')}…({len(secret)} bytes)"


def line_of(data: Buffer, offset: int) -> int:
    """The line, from 1, in which byte `offset` of `data` stands."""
    return bytes(memoryview(data)[:offset]).count(b"\n") + 1


def _keyword_search(rules: Sequence[Rule], short: bool) -> Iterator[tuple[_Find, list[tuple[int, ...]]]]:
    """Searches for the keywords of three bytes (`short`) or of more, each with the rules of its literals.

    They are apart because a search is as selective as its shortest literal."""
    ranks: dict[bytes, list[int]] = {}
    for rank, rule in enumerate(rules):
        for keyword in rule.keywords:
            if (len(keyword) < 4) is short:
                ranks.setdefault(keyword, []).append(rank)
    for part in _passes(sorted(ranks)):
        literals = _dealt(part)
        yield _search_for(literals), [tuple(ranks[keyword]) for keyword in literals]


def _passes(literals: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """`literals` in as few parts as one search takes, all about as long."""
    count = -(-len(literals) // _PASS)
    for part in range(count):
        yield literals[len(literals) * part // count : len(literals) * (part + 1) // count]


def _dealt(literals: Sequence[bytes]) -> list[bytes]:
    """Sorted `literals` in the order that makes the search fast.

    Teddy puts literal i into bucket i mod 8 (of more than 32: mod 16) and stops wherever each of four bytes could
    be that of some literal of one bucket: so those that begin alike belong into the same."""
    buckets = 8 if len(literals) <= _SLIM else 16
    size, longer = divmod(len(literals), buckets)
    cuts = [size * bucket + min(bucket, longer) for bucket in range(buckets + 1)]
    parts = [literals[a:b] for a, b in pairwise(cuts)]
    return [part[row] for row in range(size + 1) for part in parts if row < len(part)]


def _search_for(literals: Sequence[bytes]) -> _Find:
    """A search that passes over what overlaps something it found."""
    from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

    # Too many for SIMD: a DFA is thrice as fast as what the library would choose.
    kind = Implementation.DFA if len(literals) > _PASS else None
    return BytesAhoCorasick(literals, MatchKind.LeftmostFirst, kind).find_matches_as_indexes


def _without_doubles(found: list[_Match]) -> list[_Match]:
    """`found` in its order. Where two overlap the lower rank counts; different known values all count."""
    kept: list[_Match] = []
    for match in sorted(set(found)):
        if not kept or match.start >= kept[-1].end or match.rank == kept[-1].rank == _KNOWN:
            kept.append(match)
        elif match.rank < kept[-1].rank:
            kept[-1] = match
    return kept


def _spellings(value: bytes) -> dict[bytes, str]:
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
    for offset in range(3):  # bytes before it, modulo 3; only letters that `value` alone decides
        code = b2a_base64(bytes(offset) + value)[-(-8 * offset // 6) : 8 * (offset + len(value)) // 6]
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


def _described(rules: Sequence[Rule], values: Sequence[tuple[str, bytes]]) -> bytes:
    """All that decides what is found."""
    return repr((_VERSION, rules, values)).encode()
