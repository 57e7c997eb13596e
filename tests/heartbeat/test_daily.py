"""Goal: the daily log says what became of each key, once, on the right day; the same trouble once a day.

Method: journals with drawn histories, told in one go or after each record, by one process or by several at once,
with writers of other entries beside; then the lines are counted. Kills: tests/faults/test_daily_kills.py.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_journals import DAY, FRIDAY, add, places, state

from antsmem.core.clock import utc_text
from antsmem.heartbeat.daily import daily_line, mark_of, tell_daily
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry
from antsmem.workspace.dailylog import ANCHOR, append_entry, append_line
from antsmem.workspace.layout import Layout

MARK = re.compile(r"<!-- (hb:\S+) -->$", re.MULTILINE)
HOUR = DAY // 24


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "memory").mkdir()
    return Layout(tmp_path)


def owed(key: str, what: str, now_ns: int = FRIDAY, **more: object) -> dict[str, object]:
    task = key.partition("@")[0]
    return state(key, what, task=task, slot=key.partition("@")[2], tell=utc_text(now_ns), **more)


def journal_of(layout: Layout) -> Journal:
    return Journal(places(layout.home / "heartbeat"))


def marks(layout: Layout, day: str = "2026-11-20") -> list[str]:
    return MARK.findall(layout.daily_log(day).read_text())


def test_a_line_a_key_under_one_heading(layout: Layout) -> None:
    journal = journal_of(layout)
    add(journal, owed("post@1", "DONE", note="two answers"), owed("mail@1", "HELD", why="died"))
    told = tell_daily(layout, journal, FRIDAY, "UTC")
    assert [(each.key, each.written) for each in told] == [("post@1", True), ("mail@1", True)]
    assert layout.daily_log("2026-11-20").read_text() == (
        "# 2026-11-20\n\n## Heartbeat\n\n"
        "- 15:23:31 post: two answers <!-- hb:post@1 -->\n"
        "- 15:23:31 mail: nobody knows whether it happened (died); antsmem heartbeat resolve mail@1 done|redo|drop"
        " <!-- hb:mail@1!held -->\n"
    )
    assert (
        tell_daily(layout, journal, FRIDAY, "UTC") == () == tell_daily(layout, journal_of(layout), FRIDAY, "UTC")
    )


def test_the_heading_comes_again_behind_another_one(layout: Layout) -> None:
    journal, log = journal_of(layout), layout.daily_log("2026-11-20")
    for at in range(2):
        add(journal, owed(f"a@{at}", "DONE"))
        tell_daily(layout, journal, FRIDAY, "UTC")
    assert log.read_text().count("## Heartbeat") == 1
    log.write_text(log.read_text() + "\n## Evening\n\na torn li")
    append_entry(layout, "## no heading, but a text", FRIDAY, "UTC", "laptop")
    add(journal, owed("a@2", "DONE"))
    tell_daily(layout, journal, FRIDAY, "UTC")
    text = log.read_text()
    assert text.count("\n## Heartbeat\n") == 2 and marks(layout) == ["hb:a@0", "hb:a@1", "hb:a@2"]
    assert "\na torn li\n" in text and len(ANCHOR.findall(text.encode())) == 1


def test_the_same_failure_is_told_once_a_day_and_that_it_works_again(layout: Layout) -> None:
    journal = journal_of(layout)
    for hour in range(6):
        now = FRIDAY + hour * HOUR
        add(journal, owed(f"post@{hour}", "FAILED", now, why="exit", exit=7), now_ns=now)
        tell_daily(layout, journal, now, "UTC")
    assert marks(layout) == ["hb:post!exit"]
    now = FRIDAY + DAY
    add(journal, owed("post@9", "FAILED", now, why="exit", exit=7), now_ns=now)
    add(journal, owed("post@9", "UNKNOWN", now, why="timeout"), now_ns=now)
    tell_daily(layout, journal, now, "UTC")
    add(journal, owed("post@9", "DONE", now, failures=8), now_ns=now)
    tell_daily(layout, journal, now, "UTC")
    assert marks(layout, "2026-11-21") == ["hb:post!timeout", "hb:post@9"]
    assert "post: done (works again after 8 failures)" in layout.daily_log("2026-11-21").read_text()


def test_the_day_is_that_of_the_record_and_of_the_agent(layout: Layout) -> None:
    journal = journal_of(layout)
    add(journal, owed("post@1", "DONE", FRIDAY))
    (told,) = tell_daily(layout, journal, FRIDAY + 3 * DAY, "Asia/Tokyo")
    assert told.day == "2026-11-21", "00:23 there, three days before it is told"


def test_what_is_owed_is_carried_into_a_new_month(layout: Layout) -> None:
    journal, later = journal_of(layout), FRIDAY + 20 * DAY
    add(journal, owed("post@1", "DONE"), owed("post@2", "DONE"))
    add(journal, {"kind": "fact", "fact": "x", "value": 1}, now_ns=later)
    told = tell_daily(layout, journal_of(layout), later, "UTC")
    assert [(each.key, each.day) for each in told] == [("post@1", "2026-11-20"), ("post@2", "2026-11-20")]
    assert tell_daily(layout, journal_of(layout), later, "UTC") == ()


def test_a_newer_record_stays_owed_when_an_older_one_was_told(layout: Layout) -> None:
    journal = journal_of(layout)
    add(journal, owed("post@1", "HELD"))
    (old,) = journal.untold()
    add(journal, owed("post@1", "DONE"))
    add(journal, {"kind": "told", "key": "post@1", "told": old.number})
    assert [entry.state for entry in journal.untold()] == ["DONE"]


KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=40)


@given(KEYS, st.sampled_from(["DONE", "HELD", "FAILED"]), st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_key_and_no_note_breaks_out_of_its_line(key: str, what: str, note: str) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        layout = Layout(root)
        (root / "memory").mkdir()
        body = {"key": key, "state": what, "task": key, "note": note, "why": note}
        entry = Entry(1, utc_text(FRIDAY), "state", body)
        mark, line = mark_of(entry), daily_line(entry)
        for written in (True, False):
            assert append_line(layout, "2026-11-20", "Heartbeat", line, mark) is written
        lines = layout.daily_log("2026-11-20").read_bytes().split(b"\n")
        assert len(lines) == 6 and lines[4].endswith(f" <!-- {mark} -->".encode()) and lines[5] == b""
        assert lines[4].count(b"<!--") == 1 and b"--" not in mark.encode() and b">" not in mark.encode()
    finally:
        shutil.rmtree(root)


def test_marks_of_different_keys_differ() -> None:
    keys = ["a@1", "a%401", "a--1", "a-%2D1", "a!x", "a%21x", "a<1", "a>1", "a%3E1"]
    entries = [Entry(1, "", "state", {"key": key, "state": "DONE", "task": "t"}) for key in keys]
    assert len({mark_of(entry) for entry in entries}) == len(keys)


def test_several_who_tell_at_once_write_each_line_once(layout: Layout) -> None:
    journal = journal_of(layout)
    for at in range(20):
        add(journal, owed(f"post@{at}", "DONE"))
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for at in range(5):
                    append_entry(layout, f"note {number} {at}", FRIDAY, "UTC", "laptop")
                    tell_daily(layout, journal_of(layout), FRIDAY, "UTC")
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    found = marks(layout)
    assert sorted(found) == sorted({f"hb:post@{at}" for at in range(20)}), "none lost, none doubled"
    assert len(ANCHOR.findall(layout.daily_log("2026-11-20").read_bytes())) == 20
    assert journal_of(layout).untold() == []
