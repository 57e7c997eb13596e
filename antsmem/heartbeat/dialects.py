"""Forms of other runtimes: OpenClaw's `tasks:`, ZeroClaw's `[high|paused]`, nanobot's `## Active Tasks`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from antsmem.core.record import record
from antsmem.heartbeat.cadence import plain
from antsmem.heartbeat.document import Kind, Line
from antsmem.heartbeat.schedule import LONGEST_SECONDS, SHORTEST_SECONDS, Every, parse_duration

ACTIVE: Final = frozenset(
    (
        "active tasks",
        "tareas activas",
        "tarefas ativas",
        "aktive aufgaben",
        "活动任务",
        "当前任务",
        "アクティブなタスク",
    )
)
FINISHED: Final = frozenset(
    ("completed", "completed tasks", "done", "completadas", "concluidas", "erledigt", "已完成", "完了")
)
"""Headings of nanobot's: only what is below the first kind is asked for, what is below the second is done."""

_STATES: Final = {
    **dict.fromkeys(("paused", "pausado", "pausada", "pausiert", "暂停", "一時停止"), "paused"),
    **dict.fromkeys(("done", "completed", "hecho", "feito", "erledigt", "完成", "已完成", "完了"), "done"),
}
_PRIORITIES: Final = {"high", "medium", "low", "active"}
_STATE: Final = re.compile(r"\[([^\[\]]{1,40})\](?![(\[:])")  # not a link
_ENTRY: Final = re.compile(r"[ \t]*-[ \t]+(?:name|interval|prompt)[ \t]*:")
_FIELD: Final = re.compile(r"[ \t]*(?:-[ \t]+)?(name|interval|prompt)[ \t]*:[ \t]*(.*)")


@record
class Entry:
    """An entry of a `tasks:` list: the lines `first` to `last` (indices), what it is called, when it runs."""

    first: int
    last: int
    name: str
    prompt: str
    schedule: Every | None
    error: str


def state_of(said: str, box: str = "") -> str:
    """Why a heading or an item does not run: `done`, `paused`, or '' if it does. Read are `[x]`, `~~struck out~~`,
    and states in brackets at either end, such as `[paused]` or `[high|paused]`."""
    text = said.strip()
    if box in {"x", "X"} or text[:4] in {"[x] ", "[X] "}:
        return "done"
    if len(text) > 4 and text.startswith("~~") and text.endswith("~~") and "~~" not in text[2:-2]:
        return "done"
    brackets = [found for found in _STATE.finditer(text) if found.start() == 0 or found.end() == len(text)]
    for found in brackets:
        for part in found[1].split("|"):
            if (state := _STATES.get(plain(part))) is not None:
                return state
    return ""


def without_state(said: str) -> str:
    """`said` without what `state_of` reads, and without a priority: pausing a task does not rename it."""
    text = said.strip()
    for found in reversed(list(_STATE.finditer(text))):
        parts = {plain(part) for part in found[1].split("|")}
        if parts <= _STATES.keys() | _PRIORITIES and (found.start() == 0 or found.end() == len(text)):
            text = (text[: found.start()] + text[found.end() :]).strip()
    return text.removeprefix("[x] ").removeprefix("[X] ").removeprefix("[ ] ")


def task_list(lines: Sequence[Line]) -> tuple[Entry, ...]:
    """The entries of the file's `tasks:` list; none where there is no line `tasks:` with entries below it.

    The list ends with the first line that is neither indented nor an entry, nor blank.
    """
    start = next(
        (i for i, line in enumerate(lines) if line.kind is Kind.TEXT and line.text.rstrip() == "tasks:"), -1
    )
    if start < 0:
        return ()
    bounds = []
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if _ENTRY.match(line.text) and line.kind is Kind.ITEM:
            bounds.append([index, index])
        elif line.kind in {Kind.BLANK, Kind.COMMENT}:
            continue
        elif bounds and line.kind is not Kind.HEADING and line.text[:1] in {" ", "\t"}:
            bounds[-1][1] = index
        else:
            break
    return tuple(_entry(lines, first, last) for first, last in bounds)


def _entry(lines: Sequence[Line], first: int, last: int) -> Entry:
    fields: dict[str, str] = {}
    key = ""
    for line in lines[first : last + 1]:
        if found := _FIELD.fullmatch(line.text):
            key = found[1]
            if key in fields:
                return Entry(first, last, fields.get("name", ""), "", None, f"`{key}` stands there twice")
            fields[key] = found[2].strip()
        elif key == "prompt":
            fields[key] = f"{fields[key]} {line.text.strip()}"
    name, interval, prompt = (_unquoted(fields.get(each, "")) for each in ("name", "interval", "prompt"))
    prompt = prompt.lstrip("|>- ").strip()
    try:
        seconds = parse_duration(interval)
    except ValueError:
        seconds = 0
    error = "" if SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS else "`interval` is a time such as `30m` or `2h`"
    if not name:
        error = "has no `name`"
    elif not prompt:
        error = "has no `prompt`"
    return Entry(first, last, name, prompt, None if error else Every(seconds), error)


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text.partition(" #")[0].strip()
