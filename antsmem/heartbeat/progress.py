"""What the journal knows of the tasks of a plan: since when each is there, how far it is, and what it was called.

fact task:ID    {"anchor": first seen, "path": headings, "title", "when": its schedule, "gone": since when}
fact name:ID    the name under which the work of a task goes on whose text was edited
fact file       {"sha256": of HEARTBEAT.md, "reading": SHA-256 of how it was understood}
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from antsmem.core.record import record, replace
from antsmem.heartbeat.due import Progress
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import fact_body
from antsmem.heartbeat.naming import Known, find_renames
from antsmem.heartbeat.plan import Plan, Task
from antsmem.heartbeat.schedule import DAY, MINUTE, Once, schedule_text
from antsmem.heartbeat.slots import NANO, parse_slot, slot_text

FILE: Final = "file"
_TASK, _NAME = "task:", "name:"
_TITLE, _HEADING = 200, 100
_FORGOTTEN_SECONDS: Final = 35 * DAY


@record
class Change:
    """How the reading of the file changed: `what` is `new`, `gone`, `back`, `edited`, `renamed` or `changed`."""

    task: str
    what: str


@record
class _Recorded:
    """A task as it was recorded."""

    anchor: int
    known: Known
    when: str
    gone: int | None


@record
class Standing:
    """The plan with the names that the journal has for its tasks, their progress, and what is to be recorded.

    `ambiguous` are tasks that happen once and may be an edited one that was done: id → which. `facts` are the
    bodies of records; empty where nothing changed.
    """

    plan: Plan
    progress: Mapping[str, Progress]
    ambiguous: Mapping[str, tuple[str, ...]]
    facts: tuple[Mapping[str, Any], ...]
    changes: tuple[Change, ...]


def stand(journal: Journal, plan: Plan, data: bytes, now_ns: int) -> Standing:
    """Where the work of `plan` stands, which the file `data` was read as. Writes nothing."""
    names = journal.facts
    recorded = {name[len(_TASK) :]: known for name in names if (known := _known(journal, name))}
    aliases = {name[len(_NAME) :]: journal.fact(name) for name in names if name.startswith(_NAME)}
    plan = _named(plan, {new: old for new, old in aliases.items() if isinstance(old, str)})
    here = {task.id for task in plan.tasks}
    left = [each.known for each in recorded.values() if each.gone is None]
    ambiguous: dict[str, tuple[str, ...]] = {}
    facts: list[Mapping[str, Any]] = []
    changes: list[Change] = []
    if any(known.id not in here for known in left) and any(name not in recorded for name in here):
        given = [task.options.id for task in plan.tasks if task.options.id]
        renames = find_renames(left, [_short(task) for task in plan.tasks], given)
        facts += [fact_body(_NAME + new, old) for new, old in renames.same.items()]
        changes += [Change(old, "renamed") for old in renames.same.values()]
        plan = _named(plan, renames.same)
        once = {task.id for task in plan.tasks if isinstance(task.schedule, Once)}
        ambiguous = {new: old for new, old in renames.ambiguous.items() if new in once}
    now = now_ns // NANO
    facts += _differences(plan, recorded, now, changes)
    whole = {"sha256": sha256(data), "reading": sha256(plan.reading.encode())}
    if journal.fact(FILE) != whole:
        facts.append(fact_body(FILE, whole))
    progress = {task.id: made for task in plan.tasks if (made := _progress(journal, recorded, task.id))}
    return Standing(plan, progress, ambiguous, tuple(facts), tuple(changes))


def advanced(journal: Journal, standing: Standing, now_ns: int) -> Mapping[str, Progress]:
    """The progress of the tasks of `standing` after what was recorded since."""
    fresh = Progress(now_ns // NANO // MINUTE * MINUTE)
    return {
        task.id: replace(standing.progress.get(task.id, fresh), high=high_of(journal, task.id))
        for task in standing.plan.tasks
    }


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def high_of(journal: Journal, task: str) -> int | None:
    """The high-water slot of a task; None before its first."""
    slot = journal.mark(task).slot
    try:
        return parse_slot(slot) if slot else None
    except ValueError:  # written by somebody else
        return None


def was_over(journal: Journal, task: str, key: str) -> bool:
    """Whether the only `key` of a task that happens once was settled in an earlier month: it was planned, and this
    month does not know it."""
    return bool(journal.mark(task).slot) and journal.last(key) is None and not journal.hides(key)


def _progress(journal: Journal, recorded: Mapping[str, _Recorded], task: str) -> Progress | None:
    high = high_of(journal, task)
    if task in recorded:
        return Progress(recorded[task].anchor, high)
    # A fact may be lost by damage; what was done stays done.
    return None if high is None else Progress(high, high)


def _named(plan: Plan, names: Mapping[str, str]) -> Plan:
    """`plan` with other ids, where nobody else has those."""
    taken = {task.id for task in plan.tasks}
    tasks = []
    for task in plan.tasks:
        wanted = names.get(task.id, task.id) if task.options.id is None else task.id
        if wanted != task.id and wanted not in taken:
            taken.add(wanted)
            tasks.append(replace(task, id=wanted))
        else:
            tasks.append(task)
    return replace(plan, tasks=tuple(tasks))


def _differences(
    plan: Plan, recorded: Mapping[str, _Recorded], now: int, changes: list[Change]
) -> list[Mapping[str, Any]]:
    """The facts to record about tasks that are new, gone, back or changed."""
    facts = []
    for task in plan.tasks:
        before, when, short = recorded.get(task.id), schedule_text(task.schedule), _short(task)
        if before is None and not task.runs:
            continue
        if before is not None and (before.known, before.when, before.gone) == (short, when, None):
            continue
        anchor = before.anchor if before is not None else now // MINUTE * MINUTE
        facts.append(fact_body(_TASK + task.id, _value(anchor, short, when)))
        if before is None or before.gone is not None:
            what = "new" if before is None else "back"
        else:
            what = "edited" if before.when == when else "changed"
        changes.append(Change(task.id, what))
    here = {task.id for task in plan.tasks}
    for name, each in recorded.items():
        if name in here:
            continue
        if each.gone is None:
            value = _value(each.anchor, each.known, each.when) | {"gone": slot_text(now)}
            facts.append(fact_body(_TASK + name, value))
            changes.append(Change(name, "gone"))
        elif now - each.gone > _FORGOTTEN_SECONDS:
            facts.append(fact_body(_TASK + name, None))
    return facts


def _short(task: Task) -> Known:
    """What is recorded of a task."""
    return Known(task.id, tuple(part[:_HEADING] for part in task.path), task.title[:_TITLE])


def _value(anchor: int, known: Known, when: str) -> dict[str, Any]:
    return {"anchor": slot_text(anchor), "path": list(known.path), "title": known.title, "when": when}


def _known(journal: Journal, name: str) -> _Recorded | None:
    if not name.startswith(_TASK):
        return None
    match journal.fact(name):
        case {"anchor": str(anchor), "path": [*path], "title": str(title), "when": str(when), **rest}:
            try:
                since = rest.get("gone")
                gone = parse_slot(since) if isinstance(since, str) else None
                known = Known(name[len(_TASK) :], tuple(map(str, path)), title)
                return _Recorded(parse_slot(anchor), known, when, gone)
            except ValueError:  # written by somebody else
                return None
    return None
