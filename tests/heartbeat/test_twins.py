"""Goal: files as people write them are read as those people mean them, and what is not plain stays prose.

Method: `twins/` holds HEARTBEAT.md files in the manner of public ones, in English, Spanish, Portuguese, German,
Chinese and Japanese; beside each `.md` its `.expected` says of every heading, and of every item that is a task,
what it must be: a schedule, `tick` and `prose` (given to the agent with every tick), `part` (of the section
above), `done`, `paused`, `empty` or `error`. Its last line says whether the prose asks for anything.
"""

from __future__ import annotations

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


def test_there_are_enough_of_them_in_every_language() -> None:
    languages = [path.name[:2] for path in TWINS]
    assert len(TWINS) >= 40
    assert all(languages.count(language) >= 2 for language in ("en", "es", "pt", "de", "zh", "ja"))
    assert all(path.with_suffix(".expected").exists() for path in TWINS)


def test_the_table_decides() -> None:
    """The control: with an empty table of phrases nothing gates, so the twins would fail."""
    gating = [path for path in TWINS if "every 4h" in path.with_suffix(".expected").read_text("utf-8")]
    assert gating
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antsmem.heartbeat.reading.read_heading", lambda _said: None)
        plan = read_plan(gating[0].read_bytes(), Zone("UTC", "host"))
    assert [task.id for task in plan.tasks if task.runs] == [PROSE_ID]
