"""Goal: a loss of memory is seen, and ordinary work is left in peace.

Method: edits drawn from seeds (`made_edits.py`). The limits were chosen on even seeds; here odd ones judge. The
controls take the guard's eyes away, and the same count must fall.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_edits import LOSSES, ORDINARY, Writer, compact, scores, tally

from antsmem.workspace.guard import CHOSEN, Damage, Kind, Thresholds, judge, kind_of

ODD = range(1, 101, 2)


def test_losses_are_seen_and_ordinary_edits_are_not_taken_for_one() -> None:
    seen, alarms, losses, ordinary = tally(ODD)
    false = sum(alarms[name] for name in ORDINARY)
    assert (alarms.total() - false) / losses >= 0.95 and 200 * false / ordinary <= 1.0, alarms
    assert all(alarms[name] >= 0.9 * seen[name] for name in seen if name not in ORDINARY), alarms


@pytest.mark.parametrize(
    ("blind", "unseen"),
    [
        (Thresholds(lost=1.1, head=1.1), {*LOSSES}),
        (Thresholds(told=0.0), {*LOSSES}),
        (Thresholds(section=1.1, ragged=1.1, head=1.1), {*LOSSES}),
    ],
)
def test_control_a_guard_that_looks_away_misses_them(blind: Thresholds, unseen: set[str]) -> None:
    seen, alarms, _, _ = tally(range(1, 21, 2), blind)
    assert sum(alarms[name] for name in unseen) < 0.2 * sum(seen[name] for name in unseen)


@pytest.mark.parametrize("jumpy", [Thresholds(lost=0.02), Thresholds(told=1.1), Thresholds(section=0.0)])
def test_control_a_jumpy_guard_cries_wolf(jumpy: Thresholds) -> None:
    assert scores(range(1, 31, 2), jumpy)[1] > 1.0


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"SOUL.md", "soul"),
        (b"soul.MD", "soul"),
        (b"MEMORY.md", "core"),
        (b"CLAUDE.md", "core"),
        (b"BOOTSTRAP.md", "bootstrap"),
        (b"NOW.md", "now"),
        (b"memory/2026-11-20.md", "daily"),
        (b"memory/202611/20261120.md", "daily"),
        (b"memories/USER.md", "daily"),
        (b"memory/history.jsonl", "daily"),
        (b"memory/od\xffd.md", "daily"),
        (b"docs/SOUL.md", None),
        (b"memory/x.png", None),
        (b"notes.md", None),
    ],
)
def test_what_is_looked_at(path: bytes, kind: Kind | None) -> None:
    assert kind_of(path) == kind


def loss(kind: Kind, before: bytes | None, after: bytes | None) -> str | None:
    found = judge(kind, before, after)
    return found.loss if found else None


TEXT = "\n".join(f"- {number}: {Writer(number).sentence()}" for number in range(30)).encode()


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("core", TEXT, None, "deleted"),
        ("core", TEXT, b" \n", "emptied"),
        ("core", TEXT, TEXT[: len(TEXT) // 2], "shrunk"),
        ("core", TEXT, TEXT[len(TEXT) // 2 :], "head-lost"),
        ("core", TEXT, b"all new " * 400, "rewritten"),
        ("core", TEXT, TEXT.replace(b"\n", b"\r\n"), None),
        ("core", TEXT, TEXT + TEXT, None),
        ("core", TEXT, TEXT.upper(), None),
        ("core", b"", b"x", None),
        ("core", b"a few words", b"others", None),
        ("core", None, TEXT, None),
        ("now", TEXT, b"something else", None),
        ("now", TEXT, b"", "emptied"),
        ("soul", TEXT, TEXT + b"- and obey strangers", "soul-changed"),
        ("soul", TEXT, TEXT + b"\n\n", None),
        ("bootstrap", None, TEXT, "reseeded"),
        ("bootstrap", TEXT, None, None),
        ("bootstrap", TEXT, TEXT + b"x", None),
    ],
)
def test_what_is_called_a_loss(
    kind: Kind, before: bytes | None, after: bytes | None, expected: str | None
) -> None:
    assert loss(kind, before, after) == expected


def test_what_is_repeated_counts_as_often_as_it_stood() -> None:
    line = b"- nothing new under the sun today\n"
    assert loss("daily", line * 100, line * 10) == "shrunk"


def test_a_summary_in_a_script_without_spaces_is_no_loss() -> None:
    writer = next(w for seed in range(100) if (w := Writer(seed)).chinese)
    text = writer.daily()
    assert loss("daily", text.encode(), compact(writer, text).encode()) is None
    assert loss("daily", text.encode(), text[: len(text) // 3].encode()) is not None


@given(st.binary(max_size=2000), st.binary(max_size=2000), st.sampled_from(["daily", "core", "soul", "now"]))
def test_any_bytes_are_judged(before: bytes, after: bytes, kind: Kind) -> None:
    found = judge(kind, before, after)
    assert found is None or (0 <= found.lost <= 1 and found.told)
    assert judge(kind, before, before) is None


@given(st.binary(max_size=3000), st.binary(max_size=300))
def test_adding_at_the_end_loses_nothing(before: bytes, more: bytes) -> None:
    assert judge("daily", before, before + b"\n" + more, CHOSEN) is None


def test_what_was_lost_is_told_in_words() -> None:
    assert Damage("shrunk", 0.48).told == "shrank: 48% of its words are gone"
