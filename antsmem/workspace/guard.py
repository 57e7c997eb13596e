"""Verb: judge whether a change to a file of memory looks like a loss.

Seen is what got lost, not how the file was edited: words of the old text count as kept where they still stand in a
run of three, anywhere in the new one. So moving, wrapping, inserting and mending lose next to nothing. Two ways to
lose much are ordinary: a section that was taken out whole, and a text that was told shorter, with its rare words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from antsmem.core.record import record

Kind: TypeAlias = Literal["daily", "core", "soul", "bootstrap", "now"]
Loss: TypeAlias = Literal["deleted", "emptied", "head-lost", "shrunk", "rewritten", "soul-changed", "reseeded"]

_DAILY: Final = re.compile(rb"(?:memory|memories)/(?:.*/)?[^/]+\.(?:md|jsonl)", re.IGNORECASE)
_CORE: Final = frozenset(
    b"user.md tools.md memory.md heartbeat.md agents.md identity.md boot.md claude.md agent.md soul.md".split()
)
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\w+")
_HEADING: Final = re.compile(r"^(?:#{1,6} |§|---$)")
_FEW: Final = 8
_GAP: Final = 3
_RARE: Final = 3
_TOGETHER: Final = 0.4


@record
class Thresholds:
    """Where ordinary ends: shares of words, from 0 to 1. Chosen on generated histories, see
    `docs/explanation/reliability.md`."""

    lost: float = 0.25
    """So much may go without a word said, wherever it stood."""
    head: float = 0.7
    """So much of the first words gone is a lost head."""
    told: float = 0.25
    """So much of what went is told again, in other or fewer words."""
    section: float = 0.4
    """So much may go in whole sections, if at most `ragged` goes besides."""
    ragged: float = 0.05
    whole: float = 0.9
    """Where more is lost than that, it is not the head alone."""
    shrunk: float = 0.75
    """A file that is longer than that is called rewritten, a shorter one shrunk."""


CHOSEN: Final = Thresholds()


@record
class Damage:
    """What kind of loss it looks like, and `lost`: the share of the old words that are gone."""

    loss: Loss
    lost: float

    @property
    def told(self) -> str:
        """For people: what happened to the file."""
        share = f"{self.lost:.0%} of its words are gone"
        return {
            "deleted": "was deleted",
            "emptied": "was emptied",
            "head-lost": f"lost its head: {share}",
            "shrunk": f"shrank: {share}",
            "rewritten": f"was rewritten: {share}",
            "soul-changed": "changed, and nobody said that it may",
            "reseeded": "is back: whoever reads it begins a new life",
        }[self.loss]


def kind_of(path: bytes) -> Kind | None:
    """What the guard takes a path for, relative to the workspace; None if it does not look at it."""
    if b"/" in path:
        return "daily" if _DAILY.fullmatch(path) else None
    folded = path.lower()
    if folded == b"soul.md":
        return "soul"
    if folded == b"bootstrap.md":
        return "bootstrap"
    if folded == b"now.md":
        return "now"
    return "core" if folded in _CORE else None


def judge(kind: Kind, before: bytes | None, after: bytes | None, limits: Thresholds = CHOSEN) -> Damage | None:
    """What a change from `before` to `after` lost; None if it is ordinary. None as bytes: there is no such file.

    A BOOTSTRAP that was not there, in a workspace that lives, is a loss in the making; a SOUL may change only as
    its owner says.
    """
    old, new = _words(_text(before or b"")), _words(_text(after or b""))
    if kind == "bootstrap":
        return Damage("reseeded", 0.0) if before is None and after is not None else None
    if not old:
        return None
    if not new:
        return Damage("deleted" if after is None else "emptied", 1.0)
    if kind == "now":  # written anew whenever the work goes on
        return None
    kept = _kept(old, new)
    lost = 1 - sum(kept) / len(old)
    if kind == "soul":
        return Damage("soul-changed", lost) if old != new else None
    if len(old) - sum(kept) < _FEW:
        return None
    return _of_text(_text(before or b""), _text(after or b""), kept, limits)


def _of_text(before: str, after: str, kept: Sequence[bool], limits: Thresholds) -> Damage | None:
    lost = 1 - sum(kept) / len(kept)
    headless = _is_headless(before, kept, limits)
    if lost <= limits.lost and not headless:
        return None
    if not headless and lost <= limits.section and lost - _in_sections(before, kept) <= limits.ragged:
        return None
    if _retold(before, after, kept) >= limits.told:
        return None
    shorter = len(_words(after)) <= limits.shrunk * len(kept)
    if headless and lost < limits.whole:
        return Damage("head-lost", lost)
    return Damage("shrunk" if shorter else "rewritten", lost)


def _is_headless(before: str, kept: Sequence[bool], limits: Thresholds) -> bool:
    """Whether the title went, and most of what follows it."""
    title = len(_words(before.lstrip().partition("\n")[0]))
    first = min(max(_FEW, len(kept) // 12), len(kept))
    return not any(kept[:title]) and 1 - sum(kept[:first]) / first >= limits.head


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _words(text: str) -> list[str]:
    """The words of `text`, in small letters; where a script has no spaces, pairs of signs."""
    found: list[str] = []
    for match in _WORD.finditer(text.lower()):
        word = match[0]
        if word[0] >= "\u3040" and len(word) > 1:
            found += [word[at : at + 2] for at in range(len(word) - 1)]
        else:
            found.append(word)
    return found


def _kept(old: Sequence[str], new: Sequence[str]) -> list[bool]:
    """Of each old word whether it stands in a run of three that the new text has too, as often."""
    if len(old) < 3:
        there = set(new)
        return [word in there for word in old]
    runs = Counter(zip(new, new[1:], new[2:], strict=False))
    kept = [False] * len(old)
    for at, run in enumerate(zip(old, old[1:], old[2:], strict=False)):
        if runs[run]:
            runs[run] -= 1
            kept[at] = kept[at + 1] = kept[at + 2] = True
    return kept


def _retold(before: str, after: str, kept: Sequence[bool]) -> float:
    """The share of the lines that went of which some line of the new text has several rare words: chance brings
    one of them back, only telling it again brings them together."""
    often = Counter(_words(before))
    where: dict[str, set[int]] = {}
    for number, line in enumerate(after.splitlines()):
        for word in _words(line):
            where.setdefault(word, set()).add(number)
    at = went = told = 0
    for line in before.splitlines():
        words = _words(line)
        stays = kept[at : at + len(words)]
        at += len(words)
        rare = {
            word
            for word in words
            if often[word] <= _RARE and (len(word) > 3 or not word.isascii() or word.isdigit())
        }
        if len(rare) > 1 and sum(stays) * 2 < len(stays):
            went += len(rare)
            together = Counter(number for word in rare for number in where.get(word, ()))
            if together and max(together.values()) >= max(2, _TOGETHER * len(rare)):
                told += len(rare)
    return told / went if went else 0.0


def _in_sections(text: str, kept: Sequence[bool]) -> float:
    """The share of the words that went with a whole section: from a heading on to the next one or the end, but not
    with the first. Nothing, where the text was cut off: within a section, and all that follows is gone."""
    sections: list[list[bool]] = [[]]
    at = 0
    for line in text.splitlines():
        if _HEADING.match(line):
            sections.append([])
        count = len(_words(line))
        sections[-1] += kept[at : at + count]
        at += count
    sections = [section for section in sections if section]
    whole = [sum(section) <= min(_GAP, len(section) // 4) for section in sections]
    last = max((at for at, gone in enumerate(whole) if not gone), default=0)
    if last + 1 < len(sections) and not any(sections[last][-_GAP:]):
        return 0.0
    return sum(len(section) for section, gone in zip(sections[1:], whole[1:], strict=True) if gone) / len(kept)
