"""Goal: a text in which the same block stands thousands of times is merged too, and nobody's words are lost.

Method: texts of as many blocks as are merged at all, of one and of few sorts, edited in two places; the pairs that
are compared are counted. Control: without the bound there are too many to compare.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import pytest

from antsmem.memory import blocks
from antsmem.memory.blocks import MAX_BLOCKS, merge_texts

BASES = {
    "one": b"- same\n" * (MAX_BLOCKS - 1),
    "few": b"".join(b"- sort %d\n" % (place % 7) for place in range(MAX_BLOCKS - 1)),
}


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each comparison has to look at, once for the whole of the two texts."""
    seen: list[int] = []

    class Counted(SequenceMatcher[bytes]):
        def __init__(self, junk: Any, one: list[bytes], other: list[bytes], autojunk: bool) -> None:
            super().__init__(junk, one, other, autojunk)
            seen.append(sum(len(self.b2j.get(key, ())) for key in one))

    monkeypatch.setattr(blocks, "SequenceMatcher", Counted)
    return seen


@pytest.mark.parametrize("sort", BASES)
def test_thousands_of_the_same_block_are_merged(pairs: list[int], sort: str) -> None:
    base = BASES[sort]
    ours, theirs = b"- ours is first\n" + base, base + b"- theirs is last\n"
    merged = merge_texts(base, ours, theirs)
    assert merged.text == b"- ours is first\n" + base + b"- theirs is last\n" and merged.clashes == 0
    assert len(pairs) == 2 and max(pairs) <= 1_000_000


def test_control_without_the_bound_too_many_pairs_are_compared(
    pairs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_MOST_PAIRS", 1 << 60)
    base = b"- same\n" * 1500
    merge_texts(base, b"- ours\n" + base, base + b"- theirs\n")
    assert max(pairs) > 2_000_000


def test_what_is_seldom_is_still_found_among_what_is_frequent() -> None:
    base = b"".join(b"- same\n" * 500 + b"- day %d\n" % day for day in range(20))
    ours, theirs = base.replace(b"- day 3\n", b"- day three\n"), base.replace(b"- day 12\n", b"")
    merged = merge_texts(base, ours, theirs)
    assert b"- day three\n" in merged.text and b"- day 3\n" not in merged.text and b"- day 12\n" not in merged.text
    assert merged.text.count(b"- same\n") == 500 * 20 and merged.clashes == 0
