"""Find secrets in bytes that are about to leave: the agent's own in every spelling, and what looks like anybody's.

Clean bytes must cost next to nothing. So everything begins with literals, which the SIMD search ("Teddy") of
`ahocorasick_rs` finds at gigabytes a second without the GIL; Python looks closer only where one stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from antsmem.core.disk import Buffer
from antsmem.core.errors import UsageError
from antsmem.core.literals import Find, dealt, passes, search_for
from antsmem.core.record import record
from antsmem.identity.patterns import RULES, Rule, plausible

if TYPE_CHECKING:
    from antsmem.core.spellings import KnownValues
    from antsmem.identity.fingerprints import Fingerprints, PrintSearch

_MatchAt: TypeAlias = Callable[[Buffer, int, int], re.Match[bytes] | None]

MIN_VALUE_BYTES: Final = 8
KEY_BYTES: Final = 32
_FINGERPRINT_BYTES: Final = 16
_VALUE_BYTES: Final = 2048
_MIN_OVERLAP: Final = 8192
_REACH: Final = 7000
# What follows a match may still lengthen it: this much of it must be in sight.
_SIGHT: Final = 16
_KNOWN: Final = -1
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
    fingerprint: bytes = b""  # of a secret that is known by it alone


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
        prints: Fingerprints | None = None,
    ) -> None:
        """`known`: names and values of the agent's own secrets. White space around a value does not count; of a
        value longer than 2048 bytes the first 2048 are searched. `fingerprint_key`: 32 secret bytes.
        `prints`: what stands for the values where the keystore is locked."""
        if len(fingerprint_key) != KEY_BYTES:
            raise UsageError(f"a fingerprint key has {KEY_BYTES} bytes, not {len(fingerprint_key)}")
        stripped = [(name, value.strip()) for name, value in known]
        searched = [(name, value) for name, value in stripped if len(value) >= MIN_VALUE_BYTES]
        self._key = bytes(fingerprint_key)
        self._rules = tuple(rules)
        self._tails: list[_MatchAt | None] = [None] * len(rules)
        self._keywords = [*_keyword_search(self._rules, short=False), *_keyword_search(self._rules, short=True)]
        self._searched = searched
        self._known = _known_values([value[:_VALUE_BYTES] for _, value in searched]) if searched else None
        self.too_short = tuple(name for name, value in stripped if len(value) < MIN_VALUE_BYTES)
        self._prints = _search_for_prints(prints) if prints else None
        longest = max(each.longest if each else 0 for each in (self._known, self._prints))
        self.overlap = max(_MIN_OVERLAP, longest + 2 * _SIGHT)
        self.digest = self._hash(_described(self._rules, searched, prints))

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
            for start, end, number, form in self._known.search(window):
                name, value = self._searched[number]
                found.append(_Match(start, end, _KNOWN, end, f"known:{name}", form, value))
        if self._prints is not None:
            for start, end, each in self._prints.search(window):
                rule = f"known:{each.name}"
                found.append(_Match(start, end, _KNOWN, end, rule, each.form, b"", each.value))
        if not found:
            return []
        first, last = seen - _SIGHT, len(window) - _SIGHT if more else len(window)
        return [
            Finding(match.rule, match.start, match.end, self._fingerprint(match), match.form)
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

    def _fingerprint(self, match: _Match) -> bytes:
        return match.fingerprint or self._hash(match.secret)[:_FINGERPRINT_BYTES]

    def _hash(self, data: bytes) -> bytes:
        from blake3 import blake3

        return blake3(data, key=self._key).digest()


def _known_values(values: Sequence[bytes]) -> KnownValues:
    from antsmem.core.spellings import KnownValues

    return KnownValues(values)


def _search_for_prints(prints: Fingerprints) -> PrintSearch:
    from antsmem.identity.fingerprints import PrintSearch

    return PrintSearch(prints)


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


def _keyword_search(rules: Sequence[Rule], short: bool) -> Iterator[tuple[Find, list[tuple[int, ...]]]]:
    """Searches for the keywords of three bytes (`short`) or of more, each with the rules of its literals.

    They are apart because a search is as selective as its shortest literal."""
    ranks: dict[bytes, list[int]] = {}
    for rank, rule in enumerate(rules):
        for keyword in rule.keywords:
            if (len(keyword) < 4) is short:
                ranks.setdefault(keyword, []).append(rank)
    for part in passes(sorted(ranks)):
        literals = dealt(part)
        yield search_for(literals), [tuple(ranks[keyword]) for keyword in literals]


def _without_doubles(found: list[_Match]) -> list[_Match]:
    """`found` in its order. Where two overlap the lower rank counts; different known values all count."""
    kept: list[_Match] = []
    for match in sorted(set(found)):
        if not kept or match.start >= kept[-1].end or match.rank == kept[-1].rank == _KNOWN:
            kept.append(match)
        elif match.rank < kept[-1].rank:
            kept[-1] = match
    return kept


def _described(rules: Sequence[Rule], values: Sequence[tuple[str, bytes]], prints: Fingerprints | None) -> bytes:
    """All that decides what is found."""
    return repr((_VERSION, rules, values, *((prints,) if prints else ()))).encode()
