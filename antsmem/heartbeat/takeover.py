"""What the host before may have done that this copy of the files does not know: nothing of it starts by itself.

A copy ends where it was made; the host before went on. What recurs goes on with the next slot after the take-over.
What happens once, and may have happened already, becomes unknown: `verify` is asked, else a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from antsmem.heartbeat.due import key_of
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import mark_body
from antsmem.heartbeat.plan import Plan, Task
from antsmem.heartbeat.progress import was_over
from antsmem.heartbeat.schedule import Once
from antsmem.heartbeat.slots import NANO, once_slot, slot_text

SKEW_SECONDS: Final = 60
"""By how much the clocks of two hosts may differ."""


def doubts(plan: Plan, journal: Journal, now_ns: int) -> Iterator[Mapping[str, Any]]:
    """The bodies of records that say so, for a take-over at `now_ns` of a copy with the work of `plan`.

    For a host that was not `alone` (see `epoch.Post`): a clean move leaves no doubt.
    """
    now = now_ns // NANO + SKEW_SECONDS
    for task in plan.tasks:  # those too that are held back now: they ran there, perhaps, and may run here again
        mark = journal.mark(task.id)
        if isinstance(task.schedule, Once):
            key = key_of(task, now)
            if journal.last(key) is None and not was_over(journal, task.id, key) and _may_have_come(task, now):
                slot = {"task": task.id, "slot": slot_text(now)}
                yield {"kind": "state", "key": key, "state": "UNKNOWN", "why": "take-over", **slot}
        elif mark.slot < slot_text(now):
            yield mark_body(task.id, slot_text(now), mark.failures)


def _may_have_come(task: Task, now: int) -> bool:
    assert isinstance(task.schedule, Once)
    return task.schedule.at is None or once_slot(task.schedule, task.zone.name, now) <= now
