"""Goal: files as people write them are read as those people mean them, and what is not plain stays prose.

Method: `twins/` holds HEARTBEAT.md files in the manner of public ones, in English, Spanish, Portuguese, German,
Chinese and Japanese; beside each `.md` its `.expected` says of every heading, and of every item that is a task,
what it must be: a schedule, `tick` and `prose` (given to the agent with every tick), `part` (of the section
above), `done`, `paused`, `empty` or `error`. Its last line says whether the prose asks for anything.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from antsmem.heartbeat.cadence import read_heading
from antsmem.heartbeat.document import Kind, read_document
from antsmem.heartbeat.plan import Plan, Zone
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.schedule import Tick, schedule_text
from antsmem.heartbeat.tags import PROSE_ID

TWINS = sorted((Path(__file__).parent / "twins").glob("*.md"))


def found(data: bytes, plan: Plan) -> list[tuple[str, str]]:
    """(line, what it is) of every heading and every task."""
    tasks = {task.line: task for task in plan.tasks if task.id != PROSE_ID}
    rows = []
    for line in read_document(data).lines:
        task = tasks.get(line.number)
        if task is not None:
            rows.append((line.text.strip(), "error" if task.error else task.off or schedule_text(task.schedule)))
        elif line.kind is Kind.HEADING:
            inside = any(span.start <= line.start < span.end for each in tasks.values() for span in each.spans)
            reading = read_heading(line.said)
            tick = reading is not None and isinstance(reading.schedule, Tick)
            rows.append((line.text.strip(), "part" if inside else "tick" if tick else "prose"))
    return rows


@pytest.mark.parametrize("path", TWINS, ids=lambda path: path.stem)
def test_a_file_is_read_as_it_is_meant(path: Path) -> None:
    *rows, ticks = path.with_suffix(".expected").read_text("utf-8").splitlines()
    data = path.read_bytes()
    plan = read_plan(data, Zone("Europe/Lisbon", "host"))
    expected = [tuple(row.rsplit(" => ", 1)) for row in rows]
    actual = found(data, plan)
    shown = [
        (meant[0] if line.startswith(meant[0]) else line, what)
        for (line, what), meant in zip(actual, expected, strict=False)
    ]
    assert shown + actual[len(expected) :] == expected
    assert any(task.id == PROSE_ID for task in plan.tasks) == (ticks == "ticks: yes")
    assert not plan.errors


def test_bytes_that_are_no_text_change_nothing_else() -> None:
    """Some editors still write GBK: the word is lost, the times are not."""
    path = next(path for path in TWINS if path.stem == "zh-01-every")
    data = path.read_bytes()
    broken = data.replace("邮箱".encode(), "邮箱".encode("gbk"))
    assert broken != data
    plans = [read_plan(each, Zone("UTC", "host")) for each in (data, broken)]
    assert plans[0].reading == plans[1].reading
    assert [remark.line for remark in plans[1].warnings] == [4]


def test_there_are_enough_of_them_in_every_language() -> None:
    languages = [path.name[:2] for path in TWINS]
    assert len(TWINS) >= 40
    assert all(languages.count(language) >= 2 for language in ("en", "es", "pt", "de", "zh", "ja"))
    assert all(path.with_suffix(".expected").exists() for path in TWINS)


def test_the_examples_of_the_reference_page_are_read() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/heartbeat.md").read_text("utf-8")
    rows = page.partition("| form | examples |")[2].partition("\n\n")[0].splitlines()[2:]
    examples = [found for row in rows for found in re.findall(r"``(.+?)``|`([^`]+)`", row.split("|", 2)[2])]
    assert len(examples) > 20
    assert [each for each in examples if read_heading(each[0] or each[1]) is None and each[1] != "*"] == []


def test_the_table_decides() -> None:
    """The control: with an empty table of phrases nothing gates, so the twins would fail."""
    gating = [path for path in TWINS if "every 4h" in path.with_suffix(".expected").read_text("utf-8")]
    assert gating
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antsmem.heartbeat.reading.read_heading", lambda _said: None)
        plan = read_plan(gating[0].read_bytes(), Zone("UTC", "host"))
    assert [task.id for task in plan.tasks if task.runs] == [PROSE_ID]


@pytest.mark.parametrize(
    "said",
    [
        "Segunda", "Quarta", "Sun", "Revisión (segunda)", "The sun (sun)", "* * * * *", "Hotel (* * * * *)",
        "9:00 18:00", "Last check (14:30)", "Every m", "9:00-17:00", "Daily (except Sunday)", "Daily (Sunday)",
        "Sunday (daily)", "Weekdays (every 2 hours)", "Daily at 8", "Every 2-3 days",
        "1:1 9:00", "25:00", "9:60", "9:00ish", "(4h)",
        "Week 3", "2026-11-20", "Every so often", "Monthly report (1st)", "Once", "Now", "3 veces al día", "Alle",
        "毎", "每", "每天三次", "週に2〜3回", "Stand-up @ 9:00", "Every 4 hours at 9:00",
        "Every 400 days", "every 4 hours or so",
    ],
)  # fmt: skip
def test_what_may_mean_something_else_stays_prose(said: str) -> None:
    assert read_heading(said) is None


@pytest.mark.parametrize(
    ("said", "schedule"),
    [
        ("toda segunda", "mon"), ("segunda 9:00", "mon 09:00"), ("Sun 9:00", "sun 09:00"),
        ("segunda e quarta", "mon, wed"),
        ("EVERY 4 HOURS", "every 4h"), ("*Every* **4 hours**:", "every 4h"), ("1. Daily", "daily"),
        ("Daily tasks", "daily"),
        ("🌙 Nightly clean-up (2am)", "daily 02:00"), ("Ｅｖｅｒｙ ４ ｈｏｕｒｓ", "every 4h"),
        ("Cada media hora", "every 30m"),
        ("9:00, 14:00 y 21:00", "daily 09:00, 14:00, 21:00"), ("12am", "daily 00:00"), ("12:30 pm", "daily 12:30"),
        ("Every 24 hours", "every 1d"), ("Every day", "daily"), ("每天 9:00、21:00", "daily 09:00, 21:00"),
    ],
)  # fmt: skip
def test_one_thing_is_read_in_all_its_spellings(said: str, schedule: str) -> None:
    reading = read_heading(said)
    assert reading is not None and schedule_text(reading.schedule) == schedule
