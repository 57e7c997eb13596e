"""Goal: what is appended is there for everybody, in every month, with or without the cache.

Method: journals are written by several processes and read by others; the cache is lost, damaged, or of another
journal; months pass and the clock goes back.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_journals import DAY, FRIDAY, add, history, month_of, places, state

from antsmem.core import disk
from antsmem.core.errors import BusyError, DiskError, UsageError
from antsmem.heartbeat import journal as module
from antsmem.heartbeat import locks
from antsmem.heartbeat.backoff import breaker, delay_seconds
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import MAX_LINE_BYTES, decode, encode
from antsmem.heartbeat.locks import file_system, run_lock


def known(journal: Journal) -> dict[str, str]:
    """The last state of every key."""
    found = {}
    for key in {entry.key for entry in journal.entries() if entry.key}:
        last = journal.last(key)
        found[key] = last.state if last else ""
    return found


def test_what_is_appended_is_there_for_others(tmp_path: Path) -> None:
    early = Journal(places(tmp_path))
    add(Journal(places(tmp_path)), state("k", "PLANNED"), state("k", "STARTED"))
    assert early.last("k") is None
    early.refresh()
    last = early.last("k")
    assert last is not None and (last.state, last.number) == ("STARTED", 3)
    assert dict(early.open) == {"k": "STARTED"}
    assert [entry.state for entry in early.entries("k")] == ["PLANNED", "STARTED"]


def test_twenty_processes_append_and_nothing_is_lost_or_broken(tmp_path: Path) -> None:
    children = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                journal = Journal(places(tmp_path))
                for turn in range(10):
                    add(journal, state(f"{number}-{turn}", "PLANNED"), state(f"{number}-{turn}", "STARTED"))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 20
    journal = Journal(places(tmp_path))
    assert (journal.number, journal.health.bad, journal.health.missing) == (1 + 400, 0, 0)


def test_a_new_month_knows_what_still_counts(tmp_path: Path) -> None:
    journal = Journal(places(tmp_path))
    slot = {"task": "news", "slot": "2026-11-20T15:00:00Z"}
    add(journal, state("once", "DONE"), state("held", "HELD"), state("news@1", "DONE", **slot))
    add(journal, state("news@2", "FAILED", task="news", slot="2026-11-20T16:00:00Z"))
    add(journal, {"kind": "fact", "fact": "anchor", "value": ["x", 1]})
    name, number = journal.name, journal.number
    add(journal, state("new", "PLANNED"), now_ns=FRIDAY + 12 * DAY)
    month_of(tmp_path).with_name("2026-11.jsonl").unlink()
    again = Journal(places(tmp_path))
    assert again.name == name and again.number > number and again.health.missing == 0
    assert known(again) == {"new": "PLANNED"} and again.last("news@1") is None
    assert [(again.last(key) or decode(b"")).state for key in ("once", "held", "news@2")] == [
        "DONE",
        "HELD",
        "FAILED",
    ]  # type: ignore[union-attr]
    assert (again.mark("news").slot, again.mark("news").failures) == ("2026-11-20T16:00:00Z", 1)
    assert again.fact("anchor") == ["x", 1] and again.fact("none") is None


def test_a_clock_that_goes_back_goes_on_in_the_newest_month(tmp_path: Path) -> None:
    journal = Journal(places(tmp_path))
    for days in (0, 400, -400, 0):
        add(journal, state(f"k{days}", "PLANNED"), now_ns=FRIDAY + days * DAY)
    assert month_of(tmp_path).name == "2027-12.jsonl"
    assert Journal(places(tmp_path)).health.missing == 0
    assert len(Journal(places(tmp_path)).open) == 3


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a journal and a cache of it."""
    monkeypatch.setattr(module, "_INDEX_BYTES", 1000)
    history(tmp_path, 60)
    Journal(places(tmp_path))
    assert places(tmp_path).index.exists()
    return tmp_path


def test_the_cache_changes_nothing(cached: Path) -> None:
    journal = Journal(places(cached))
    with_cache, number = known(journal), journal.number
    places(cached).index.unlink()
    assert known(Journal(places(cached))) == with_cache and Journal(places(cached)).number == number


def test_who_asks_for_no_key_unpacks_none_and_a_new_month_takes_over_all(cached: Path) -> None:
    expected = known(Journal(places(cached)))
    journal = Journal(places(cached))
    assert journal._fold.packed and journal.open and journal.health.bad == 0
    add(journal, state("new", "PLANNED"), now_ns=FRIDAY + 12 * DAY)
    assert known(Journal(places(cached))) == {**expected, "new": "PLANNED"}
    assert len(Journal(places(cached)).open) == len(journal.open)


def test_a_damaged_cache_is_not_believed(cached: Path) -> None:
    index, expected = places(cached).index, known(Journal(places(cached)))
    data = index.read_bytes()
    for at in random.sample(range(len(data)), 60):
        index.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert known(Journal(places(cached))) == expected
        index.write_bytes(data[:at])
        assert known(Journal(places(cached))) == expected


def test_a_cache_of_another_history_is_not_believed(cached: Path, tmp_path: Path) -> None:
    index = places(cached).index.read_bytes()
    other = tmp_path / "other"
    history(other, 70, seed=2)
    places(other).index.write_bytes(index.replace(os.fsencode(cached), os.fsencode(cached)))
    month = month_of(other)
    os.replace(month, month_of(cached))
    expected = {key: entry for key, entry in known(Journal(places(cached))).items() if entry}
    places(cached).index.unlink(missing_ok=True)
    assert known(Journal(places(cached))) == expected


def test_a_line_that_rots_under_the_cache_is_noticed(cached: Path) -> None:
    journal = Journal(places(cached))
    key = next(key for key, what in known(journal).items() if what == "DONE")
    last = journal.last(key)
    assert last is not None
    month = month_of(cached)
    data = month.read_bytes()
    month.write_bytes(data.replace(encode(last.body)[:-1], encode(last.body)[:-2] + b"#"))
    again = Journal(places(cached)).last(key)
    assert again is not None and again.state == "STARTED"


def test_reading_waits_for_no_disk(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise AssertionError("fsync")

    monkeypatch.setattr(os, "fsync", refuse)
    assert known(Journal(places(cached)))


@pytest.mark.parametrize("written", [0, 1, 30])
def test_a_write_that_does_not_fit_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    journal = Journal(places(tmp_path))
    add(journal, state("k", "PLANNED"))
    before, write = month_of(tmp_path).read_bytes(), os.write

    def short(fd: int, data: bytes) -> int:
        if not written:
            raise OSError(errno.ENOSPC, "no space")
        return write(fd, bytes(data)[:written])

    with monkeypatch.context() as patched:
        patched.setattr(disk.os, "write", short)
        with pytest.raises(DiskError):
            add(journal, state("k", "STARTED"))
    assert month_of(tmp_path).read_bytes() == before
    add(journal, state("k", "STARTED"))
    assert journal.health.bad == 0 and journal.number == 3


def test_a_record_that_is_too_long_is_refused(tmp_path: Path) -> None:
    journal = Journal(places(tmp_path))
    with pytest.raises(UsageError):
        add(journal, state("k", "PLANNED", why="x" * MAX_LINE_BYTES))
    assert journal.number <= 1


def test_a_line_without_end_costs_no_memory_and_stops_nobody(tmp_path: Path) -> None:
    journal = Journal(places(tmp_path))
    add(journal, state("k", "HELD"))
    with open(month_of(tmp_path), "ab") as lines:
        lines.write(b"x" * (5 << 20))
    journal = Journal(places(tmp_path))
    add(journal, state("new", "PLANNED"))
    last = Journal(places(tmp_path)).last("new")
    assert last is not None and Journal(places(tmp_path)).last("k") is not None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.integers(1, 1 << 39))
def test_a_line_reads_back_as_it_was(value: object, number: int) -> None:
    try:
        line = encode({"number": number, "at": "now", "kind": "fact", "prev": "", "fact": "f", "value": value})
    except UsageError:  # a lone surrogate
        return
    entry = decode(line[:-1])
    assert entry is not None and entry.body["value"] == value and entry.number == number
    assert decode(line[:-1], quick=True) == entry


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    module.Fold().feed(data)
    assert decode(data) is None or data


def test_the_run_lock_keeps_others_out(tmp_path: Path) -> None:
    with run_lock(tmp_path, "k"), run_lock(tmp_path, "other"), pytest.raises(BusyError), run_lock(tmp_path, "k"):
        pass
    with run_lock(tmp_path, "k"):
        pass


def test_a_file_system_without_reliable_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    row = "36 35 98:0 / {} rw - {} server:/x rw\n"
    mounts.write_text(
        row.format("/", "ext4") + row.format(tmp_path, "nfs4") + row.format(tmp_path / "in", "tmpfs")
    )
    assert file_system(tmp_path / "x", str(mounts)) == "nfs4"
    assert file_system(tmp_path / "in" / "x", str(mounts)) == "tmpfs"
    assert file_system(Path("/usr"), str(mounts)) == "ext4"
    assert file_system(tmp_path, "/nowhere") == ""
    monkeypatch.setattr(locks, "file_system", lambda _path: "nfs4")
    with pytest.raises(UsageError, match="nfs4"), run_lock(tmp_path, "k"):
        pass


def test_locks_that_do_not_hold_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)
    with pytest.raises(UsageError), run_lock(tmp_path, "k"):
        pass


def test_back_off_grows_to_six_hours_and_never_beyond() -> None:
    assert [delay_seconds(attempt, lambda: 1.0) for attempt in (1, 2, 3, 9, 10, 99)] == [
        60,
        120,
        240,
        15360,
        21600,
        21600,
    ]
    assert delay_seconds(5, lambda: 0.0) == 0
    assert [breaker(failures) for failures in (0, 4, 5, 9, 10)] == ["closed", "closed", "open", "open", "off"]
