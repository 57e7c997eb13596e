"""Tell the daily log what became of each piece of work: one line a key, neither lost nor written twice.

    ## Heartbeat

    - 09:00:41 moltbook: answered two comments <!-- hb:moltbook@2026-11-20T09:00:00Z -->

The journal is the outbox: a record with `tell` owes a line to the log of that instant's day, a `told` record says
that it stands there. In between, the line is looked for by its marker before it is written. What went wrong is
told once a day for each task and reason, and once that it works again.
"""

from __future__ import annotations

from typing import Final

from antsmem.core.clock import parse_utc
from antsmem.core.errors import legible
from antsmem.core.record import record
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry
from antsmem.workspace.dailylog import append_line
from antsmem.workspace.humantime import human_time
from antsmem.workspace.layout import Layout

SECTION: Final = "Heartbeat"
MARK: Final = "hb:"
_LONGEST: Final = 400
_ESCAPED: Final = {"%": "%25", "<": "%3C", ">": "%3E", "!": "%21"}


@record
class Told:
    """A line that stands in the log of `day` now; `written` by this call."""

    key: str
    day: str
    written: bool


def tell_daily(layout: Layout, journal: Journal, now_ns: int, zone: str) -> tuple[Told, ...]:
    """Write all lines that the journal says are owed, and record it. Nothing is written where none is.

    To be called when a wake begins (what was cut off) and whenever work has ended, not inside `deciding`. Raises
    `DiskError`, `LockedError`; what was not told then is told by the next call.
    """
    told, bodies = [], []
    for entry in journal.untold():
        moment = human_time(_instant(entry, now_ns), zone)
        line = f"{moment.clock} {daily_line(entry)}"
        written = append_line(layout, moment.day, SECTION, line, mark_of(entry))
        told.append(Told(entry.key, moment.day, written))
        bodies.append({"kind": "told", "key": entry.key, "told": entry.number})
    if bodies:
        with journal.deciding(now_ns):
            journal.append(now_ns, *bodies)
    return tuple(told)


def mark_of(entry: Entry) -> str:
    """By what the line of a record is known again: `hb:KEY` for what is done, `hb:KEY!STATE` for what a person has
    to look at, `hb:TASK!WHY` for what failed, the same all day. No text closes the comment that it stands in."""
    if entry.state == "DONE":
        return f"{MARK}{_escaped(entry.key)}"
    if entry.state in {"HELD", "BLOCKED"}:
        return f"{MARK}{_escaped(entry.key)}!{entry.state.lower()}"
    return f"{MARK}{_escaped(entry.text('task'))}!{_escaped(entry.text('why') or entry.state.lower())}"


def daily_line(entry: Entry) -> str:
    """What the line says, without its time."""
    who, note = entry.text("task") or entry.key, entry.text("note")
    why = f"{entry.text('why')} {entry.count('exit')}" if entry.count("exit") else entry.text("why")
    match entry.state:
        case "DONE":
            again = f" (works again after {entry.count('failures')} failures)" if entry.count("failures") else ""
            said = f"{note or 'done'}{again}"
        case "BLOCKED":
            said = f"asks: {note} (answer: antsmem heartbeat resolve {entry.key} done|redo|drop --note …)"
        case "HELD":
            said = (
                f"nobody knows whether it happened ({why}); antsmem heartbeat resolve {entry.key} done|redo|drop"
            )
        case _:
            said = f"failed ({why}), will be tried again"
    text = legible(f"{who}: {said}")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _instant(entry: Entry, now_ns: int) -> int:
    try:
        return parse_utc(entry.text("tell"))
    except ValueError:
        return now_ns


def _escaped(text: str) -> str:
    text = "".join(_ESCAPED.get(character, character) for character in text).replace("--", "-%2D")
    return legible("".join("%20" if character.isspace() else character for character in text))
