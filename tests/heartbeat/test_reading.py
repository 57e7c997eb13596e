"""Goal: whatever a HEARTBEAT.md holds, every byte is prose or belongs to one task, and reading it ends.

Method: arbitrary bytes, and files put together from the pieces that the reader knows; hostile files by name, under
a limit of the processor's time; what single forms mean is said one by one.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.heartbeat.cadence import parse_every, read_heading
from antsmem.heartbeat.document import MAX_BYTES
from antsmem.heartbeat.plan import Plan, Task, Zone, text_of
from antsmem.heartbeat.reading import MOST_TASKS, read_plan
from antsmem.heartbeat.schedule import Once, Schedule, Tick, parse_duration, schedule_text
from antsmem.heartbeat.tags import PROSE_ID, split_tag

HOST = Zone("Europe/Lisbon", "host")

PIECES = [
    b"- a {id=a-2 every=1h}", b"- [done](link) x",
    b"# Title", b"## Every 4 hours", b"### Daily (9:00)", b"## A {id=a every=1h}", b"## A {id=a every=nope}",
    b"- [x] done", b"- item", b"  - deeper {every=2h}", b'- t {once at="2027-01-01 09:00"}', b"\ttabbed",
    b"```", b"~~~~", b"<!--", b"-->", b"- x <!-- y --> z", b"---", b"heartbeat: 1", b"tz: Asia/Tokyo",
    b"tasks:", b"- name: n", b"  interval: 30m", b"  prompt: p", b"## Active Tasks", b"## Completed",
    b"@heartbeat every=30m", b"\xff\xfe", b"\xef\xbb\xbf", b"#- off", b"## ~~gone~~", b"[paused] p",
    b"quiet: 22:00-07:00", b"| 9:00 | a |", b"- [paused] p", b"", b"\r", b"text",
]  # fmt: skip
PIECE = st.sampled_from(PIECES)
FILES = st.one_of(
    st.binary(max_size=400),
    st.lists(PIECE, max_size=25).map(b"\n".join),
    st.lists(PIECE, max_size=25).map(b"\r\n".join),
    st.lists(st.one_of(PIECE, st.text(max_size=20).map(str.encode)), max_size=20).map(b"\n".join),
)


def read(text: str | bytes) -> Plan:
    return read_plan(text.encode() if isinstance(text, str) else text, HOST)


def only(text: str) -> Task:
    """The one task of `text` besides its prose."""
    (task,) = [task for task in read(text).tasks if task.id != PROSE_ID]
    return task


@given(FILES)
def test_prose_and_tasks_are_the_file(data: bytes) -> None:
    plan = read(data)
    spans = [*plan.prose, *(span for task in plan.tasks if task.id != PROSE_ID for span in task.spans)]
    spans.sort(key=lambda span: span.start)
    assert b"".join(data[span.start : span.end] for span in spans) == data
    assert all(span.start < span.end for span in spans)


@given(FILES)
def test_ids_are_unique_and_readings_repeat(data: bytes) -> None:
    plan = read(data)
    ids = [task.id for task in plan.tasks]
    assert len(set(ids)) == len(ids)
    assert read(data) == plan and read(data).reading == plan.reading
    assert all(1 <= task.line <= data.count(b"\n") + 1 for task in plan.tasks)


@given(st.text(max_size=80))
def test_a_heading_is_read_or_left(said: str) -> None:
    reading = read_heading(said)
    if reading is not None:
        assert reading.title in said
        shown = schedule_text(reading.schedule)
        if not isinstance(reading.schedule, Tick | Once):
            assert parse_every(shown) == reading.schedule


@given(st.text(alphabet="{}= \"'abeinorvy0123:*/,-\\", max_size=60))
def test_a_tag_is_read_or_an_error_or_text(text: str) -> None:
    rest, tag = split_tag(text)
    assert rest == text if tag is None else text.startswith(rest)


@pytest.mark.parametrize(
    "text",
    ["every 4 hours", "30m", "1h30m", "weekdays 09:00", "mon, thu 18:00", "*/15 * * * *", "monthly", "每两小时"],
)
def test_a_schedule_is_shown_in_a_form_that_is_read_again(text: str) -> None:
    schedule: Schedule = parse_every(text)
    assert parse_every(schedule_text(schedule)) == schedule


@pytest.mark.parametrize("text", ["", "4", "0h", "h", "1x", "1h 2m", "1h1h", "-1h", "9999999d", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "now and then",
        "0m",
        "30s",
        "2y",
        "60 * * * *",
        "* * * *",
        "* * * * * *",
        "@daily",
        "31 2",
        "* * 31 2 mon#6",
        "500d",
        "-5m",
        "--1h",
        ".5h",
        ",5h",
        "-09:00",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_every(text)


PATIENCE_SECONDS = 20.0


class EndlessError(Exception):
    """It took far more of the processor than anything linear does."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Stop what needs more seconds of this process's own time: load on the machine does not count."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise EndlessError(f"more than {seconds} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


HOSTILE = {
    "braces": b"- " + b"{a=" * (MAX_BYTES // 3),
    "tags": b"- a {every=1h}\n" * (MAX_BYTES // 15),
    "done": b"- [x] a\n" * (MAX_BYTES // 8),
    "headings": b"# Every 4 hours\n" * (MAX_BYTES // 16),
    "blanks in a heading": b"# every " + b" " * (MAX_BYTES - 8),
    "times": b"# " + b"9:00, " * (MAX_BYTES // 6),
    "brackets": b"# " + b"(" * (MAX_BYTES - 2),
    "rare cron": b"".join(b'- a {every="%d %d 29 2 *"}\n' % (n % 60, n // 60 % 24) for n in range(4000)),
    "stars": b"# " + b"* " * (MAX_BYTES // 2),
    "dashes": b"- - " * (MAX_BYTES // 4),
    "backticks": b"`" * MAX_BYTES,
    "comments": b"<!-- -->" * (MAX_BYTES // 8),
    "open comments": b"<!--\n" * (MAX_BYTES // 5),
    "commas in a tag": b"- a {every=1h" + b"," * (MAX_BYTES - 20) + b"}",
    "indents": b"".join(b" " * n + b"- a {every=1h}\n" for n in range(600)),
    "lists": b"tasks:\n" + b"- name: a\n  interval: 1h\n  prompt: b\n" * (MAX_BYTES // 37),
    "front matter": b"---\nheartbeat: 1\n" + b"a: [" * 60000,
    "zones": b'- a {tz=A/B every="daily 09:00"}\n' * 500,
    "lines": b"\n" * MAX_BYTES,
    "directive": b"@heartbeat " * (MAX_BYTES // 11),
    "table": b"|" * MAX_BYTES,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_read_to_its_end(name: str) -> None:
    """Anything that grows with the square of 128 KiB would need hours."""
    with patience(PATIENCE_SECONDS):
        read(HOSTILE[name])


def test_no_more_tasks_run_than_a_wake_can_look_at() -> None:
    plan = read(b"- a {every=1h}\n" * (MOST_TASKS + 2))
    assert [task.runs for task in plan.tasks] == [True] * MOST_TASKS + [False] * 2
    assert "500" in plan.tasks[-1].error


def test_what_does_not_end_is_noticed() -> None:
    """The control of the one above: an expression that can read one character in two ways."""
    with pytest.raises(EndlessError), patience(0.05):
        while True:
            re.fullmatch("(a|a)+b", "a" * 16)


def test_the_task_gets_its_bytes_and_the_prose_the_rest() -> None:
    data = b"# T\n\nhello\n\n## Every 4 hours\n- a\n- b {id=b every=1d}\n  more\n- c\n"
    assert {task.title: text_of(data, task.spans) for task in read(data).tasks} == {
        "the text of the file": "# T\n\nhello\n\n",
        "Every 4 hours": "## Every 4 hours\n- a\n- c\n",
        "b": "- b {id=b every=1d}\n  more\n",
    }


def test_policies_are_read() -> None:
    options = only(
        "- x {id=x every=1h catchup=all grace=2h timeout=15m effect=pure budget=0.50USD tz=Asia/Tokyo urgent}"
    ).options
    assert (options.id, options.catchup, options.grace_seconds, options.timeout_seconds) == ("x", "all", 7200, 900)
    assert (options.effect, options.budget, options.tz, options.urgent) == ("pure", "0.50usd", "Asia/Tokyo", True)


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("{every=}", "no value"),
        ("{every=4h every=5h}", "twice"),
        ("{evry=4h}", "did you mean `every`"),
        ("{colour=red}", "there are id"),
        ("{once every=4h}", "exclude"),
        ("{at=tomorrow}", "2026-12-01 09:00"),
        ('{at="2026-13-01 09:00"}', "2026-12-01 09:00"),
        ("{every=4h catchup=some}", "latest, all, none"),
        ("{every=4h effect=maybe}", "hold, pure"),
        ("{every=4h effect=verify}", "belong together"),
        ("{every=4h effect=pure verify=x}", "belong together"),
        ("{every=4h grace=soon}", "`grace` is a time"),
        ("{every=4h timeout=2d}", "at most 1d"),
        ("{every=4h budget=5}", "0.50usd"),
        ("{every=4h tz=../etc}", "IANA"),
        ("{every=09:00 tz=Mars/Base}", "not known on this host"),
        ("{id=Upper every=4h}", "a-z"),
        ("{id=heartbeat every=4h}", "not `heartbeat`"),
        ("{every=4h urgent=yes}", "takes no value"),
        ("{every=4h", "`}` is missing"),
        ("{every=4h ; rm}", "cannot read the tag"),
        ('{every="0 0 31 4 *"}', "no schedule"),
    ],
)
def test_a_tag_that_cannot_be_read_is_an_error_of_its_task_alone(tag: str, says: str) -> None:
    plan = read(f"- before {{every=1h}}\n- x {tag}\n- after {{every=1h}}\n")
    before, broken, after = [task for task in plan.tasks if task.id != PROSE_ID]
    assert says in broken.error and not broken.runs
    assert before.runs and after.runs and not plan.errors
    assert [remark.line for remark in plan.all_errors] == [2]


@pytest.mark.parametrize(
    ("matter", "says"),
    [
        ("quiet: 22:00-22:00", "width"),
        ("quiet: all night", "22:00-07:00"),
        ("base: 1s", "`1m` to `1d`"),
        ("tz: ../x", "IANA"),
        ("tz: [a]", "IANA"),
        ("colour: red", "unknown key"),
        ("base: 5", "`1m` to `1d`"),
        ("a: b: c", "not YAML"),
    ],
)
def test_what_is_wrong_in_the_front_matter_is_said_and_the_rest_holds(matter: str, says: str) -> None:
    plan = read(f"---\nheartbeat: 1\n{matter}\n---\n- x\n")
    assert says in plan.errors[0].text
    assert [task.id for task in plan.tasks] == [PROSE_ID]


def test_front_matter_of_others_is_not_read() -> None:
    plan = read("---\ntitle: x\nbase: never\n---\n- x\n")
    assert not plan.errors and plan.tasks[0].line == 5


@pytest.mark.parametrize("top", ["---\nheartbeat: 1\n", "\ufeff---\r\ntz: UTC\r\nheartbeat: 1\r\n"])
def test_front_matter_that_never_ends_is_noticed(top: str) -> None:
    (warned,) = read(f"{top}quiet: 22:00-07:00\n\n- x\n").warnings
    assert warned.line == 1 and "never ends" in warned.text
    assert not read(f"{top}quiet: 22:00-07:00\n---\n- x\n").warnings
    assert not read("---\n# Notes on the heartbeat: 1\n- x\n").warnings


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_change_nothing(ends: str, mark: str) -> None:
    text = "---\nheartbeat: 1\nbase: 10m\n---\n# T\n## Every 4 hours\n- a\n"
    plan = read(mark + text.replace("\n", ends))
    assert plan.settings.base_seconds == 600
    assert [schedule_text(task.schedule) for task in plan.tasks] == ["every 4h"]


def test_what_is_odd_is_said_with_its_line() -> None:
    plan = read(b"- a\n#- off\n- \xff\n\nprose {every=1h}\n## Around 9:00\n```\n")
    warned = {remark.line: remark.text for remark in plan.warnings}
    assert warned.keys() == {2, 3, 5, 7}
    assert "commented out" in warned[2] and "UTF-8" in warned[3] and "behind a heading" in warned[5]
    assert "never ends" in warned[7] and [remark.line for remark in plan.offers] == [6]


def test_a_link_is_no_state() -> None:
    plan = read("- [done](https://example.org) read it\n- read [paused][1]\n- [paused] x\n")
    assert [(task.line, task.off) for task in plan.tasks] == [(1, ""), (3, "paused")]


def test_a_made_id_makes_way_for_given_ones() -> None:
    plan = read("- a {id=a every=1h}\n- b {id=a every=1h}\n- c {id=a-2 every=1h}\n- d {id=a every=1h}\n")
    assert [(task.id, bool(task.error)) for task in plan.tasks] == [
        ("a", False), ("a-3", True), ("a-2", False), ("a-4", True),
    ]  # fmt: skip


def test_no_time_zone_is_an_error_and_never_utc() -> None:
    plan = read_plan(b"- a {every=09:00}\n- b {every=4h}\n", Zone("", "nobody"))
    assert ["nobody says which time zone" in task.error for task in plan.tasks] == [True, False]


def test_the_nearest_time_zone_counts() -> None:
    plan = read("---\nheartbeat: 1\ntz: Asia/Tokyo\n---\n- a {every=09:00}\n- b {every=09:00 tz=America/Lima}\n")
    assert [(task.zone.name, task.zone.origin) for task in plan.tasks] == [
        ("Asia/Tokyo", "file"),
        ("America/Lima", "task"),
    ]
