"""Goal: a damaged journal never raises, never says DONE of what is not, and never lets an effect be started again.

Method: a journal of 200 records is cut at every byte, and bytes of it are flipped (some of them in a CI run, all
with ANTSMEM_SOAK=1). What the state machine would do with what can still be
read is compared with what it would do with the whole. Control: a reader that does not know of gaps is noticed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from made_journals import FRIDAY, add, history, month_of, places, state, truth, wrong

from antsmem.heartbeat.fold import Fold
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry

RECORDS = 200
SOAK = os.environ.get("ANTSMEM_SOAK") == "1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("whole")
    history(root, RECORDS)
    return month_of(root).read_bytes()


def folded(data: bytes) -> Fold:
    fold = Fold()
    fold.feed(data)
    return fold


def read(root: Path, data: bytes) -> Journal:
    """A journal of these bytes."""
    (root / "journal").mkdir(exist_ok=True, parents=True)
    (root / "journal" / "2026-11.jsonl").write_bytes(data)
    (root / "index").unlink(missing_ok=True)
    return Journal(places(root))


def test_a_journal_cut_at_any_byte_loses_at_most_its_torn_record(whole: bytes) -> None:
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    previous, before = 0, Fold()
    for end in ends:
        known = truth(whole[:previous])
        for cut in range(previous, end):
            fold = Fold()
            assert fold.feed(whole[previous:cut]) == whole[previous:cut], "a torn line is not believed"
        assert wrong(known, before, whole[:previous]) == []
        before.feed(whole[previous:end])
        previous = end
    assert (before.gaps, before.bad, before.number) == ([], [], whole.count(b"\n"))


def test_the_journal_goes_on_after_any_cut(whole: bytes, tmp_path: Path) -> None:
    header = whole.index(b"\n")
    cuts = random.sample(range(header, len(whole)), 3000 if SOAK else 100)
    for cut in [0, 9, *cuts]:
        journal = read(tmp_path, whole[:cut])
        add(journal, state("next", "PLANNED"))
        again = Journal(places(tmp_path))
        last = again.last("next")
        assert last is not None and last.state == "PLANNED"
        if cut < header:  # what the month was begun with is gone: nothing is sure
            assert again.hides("any")
            continue
        assert again.health.missing == 0 and again.health.bad <= 1
        complete = cut if whole[cut : cut + 1] == b"\n" else whole.rindex(b"\n", 0, cut) + 1
        known = truth(whole[:complete])
        assert {key: again.last(key) for key in known} == {key: records[-1] for key, records in known.items()}


def flips(whole: bytes) -> list[int]:
    """The places that this run tries."""
    if SOAK:
        return list(range(len(whole)))
    near = [at for at, byte in enumerate(whole) if byte == 10]
    return sorted({*random.sample(range(len(whole)), 200), *near[-3:], *random.sample(near, 20)})


def judged(whole: bytes, known: Mapping[str, list[Entry]], at: int, mask: int) -> list[str]:
    data = whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
    fold = folded(data)
    lost = whole.count(b"\n") - fold.number
    problems = wrong(known, fold, data)
    if lost > 2 or len(fold.bad) > 2:
        problems.append(f"lost {lost}")
    return [f"byte {at} ^ {mask}: {problem}" for problem in problems]


def test_no_flipped_byte_lets_anything_happen_twice(whole: bytes) -> None:
    known = truth(whole)
    problems = []
    for at in flips(whole):
        problems += judged(whole, known, at, 1 << random.randrange(8))
        problems += judged(whole, known, at, whole[at] ^ 10 if whole[at] != 10 else 255)
    assert problems[:5] == []


def test_a_damaged_journal_is_written_on_and_stays_safe(whole: bytes, tmp_path: Path) -> None:
    known = truth(whole)
    for at in [*random.sample(range(len(whole)), 2000 if SOAK else 40), len(whole) - 1, len(whole) - 2]:
        journal = read(tmp_path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        add(journal, state("next", "PLANNED"), state("next", "STARTED"))
        again = Journal(places(tmp_path))
        data = month_of(tmp_path).read_bytes()
        assert wrong(known, folded(data), data) == []
        assert not again.hides("next")
        last = again.last("next")
        assert last is not None and last.state == "STARTED"


def test_damage_is_carried_into_the_next_month(whole: bytes, tmp_path: Path) -> None:
    known = truth(whole)
    lines = whole.splitlines(keepends=True)
    for number in random.sample(range(1, len(lines)), len(lines) - 1 if SOAK else 5):
        bad = lines[number][:40] + b"#" + lines[number][41:]
        journal = read(tmp_path, b"".join([*lines[:number], bad, *lines[number + 1 :]]))
        add(journal, state("next", "PLANNED"), now_ns=FRIDAY + 30 * 86_400_000_000_000)
        data = month_of(tmp_path).read_bytes()
        assert month_of(tmp_path).name == "2026-12.jsonl"
        carried = {key: [*records, *truth(data).get(key, [])] for key, records in known.items()}
        for key, records in carried.items():  # the truth stays what it was
            records.append(known[key][-1])
        found = [line for line in wrong(carried, folded(data), data) if "never written" not in line]
        assert found == [], number
        month_of(tmp_path).unlink()


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_happened_once_is_still_over_in_the_next_months_whenever_there_was_damage(
    whole: bytes, tmp_path: Path, when: str
) -> None:
    lines = whole.splitlines(keepends=True)
    journal = read(tmp_path, b"".join([*lines[:20], *lines[25:]]) if when == "before" else whole)
    slot = {"task": "letter", "slot": "2026-11-20T09:00:00Z"}
    add(journal, state("letter@#once", "PLANNED", **slot), state("letter@#once", "STARTED", **slot))
    add(journal, state("letter@#once", "DONE", tell="2026-11-20T09:00:00.000Z", **slot))
    add(journal, {"kind": "told", "key": "letter@#once", "told": journal.number})
    for month in (1, 2):
        add(journal, state("next", "PLANNED"), now_ns=FRIDAY + month * 31 * 86_400_000_000_000)
        if when == "after" and month == 1:
            add(journal, state("hidden", "PLANNED"), state("hidden", "STARTED"), state("hidden", "DONE"))
            path = places(tmp_path).months / "2026-12.jsonl"
            damaged = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join([*damaged[:-3], damaged[-1]]))
            journal = Journal(places(tmp_path))
        last = Journal(places(tmp_path)).last("letter@#once")
        assert last is not None and last.state == "DONE"
        assert journal.hides("a-key-that-the-lost-lines-may-have-started")
        assert all(entry.key != "letter@#once" for entry in journal.untold())


def test_two_lines_lost_stop_even_keys_that_no_record_names(whole: bytes) -> None:
    lines = whole.splitlines(keepends=True)
    at = next(at for at in range(50, len(lines)) if b'"PLANNED"' in lines[at])
    fold = folded(b"".join([*lines[:at], *lines[at + 2 :]]))
    assert fold.hides("post-of-which-both-records-are-gone")
    assert not folded(b"".join([*lines[:at], *lines[at + 1 :]])).hides("never-planned")


def test_control_a_reader_that_does_not_know_of_gaps_is_noticed(
    whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fold, "hides", lambda _self, _key: False)
    known = truth(whole)
    starts = [whole.index(line) + 30 for line in whole.splitlines() if b'"STARTED"' in line]
    assert any(judged(whole, known, at, 1) for at in starts)


def test_control_a_reader_that_believes_every_line_is_noticed(whole: bytes, tmp_path: Path) -> None:
    line = next(line for line in whole.splitlines() if b'"state":"HELD"' in line)
    forged = line.replace(b'"state":"HELD"', b'"state":"DONE"')
    fold = folded(whole.replace(line, forged))
    assert fold.bad and not wrong(truth(whole), fold, whole.replace(line, forged))
    believed = truth(whole)
    key = next(key for key, records in believed.items() if records[-1].state == "HELD")
    shown = folded(whole)
    shown.keys[key] = next(place for other, place in shown.keys.items() if believed[other][-1].state == "DONE")
    assert wrong(believed, shown, whole)
