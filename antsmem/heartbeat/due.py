"""Decide what is due: a pure function of the plan, of what was done, and of the instant.

A slot that was once passed on as due or skipped lies at or below its task's high-water mark and never comes again:
not when the clock jumps, not when daylight saving changes, not on a restored copy that has the journal.
All instants are whole seconds since 1970 UTC unless their name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Final

from antsmem.core.record import record, replace
from antsmem.heartbeat.plan import Plan, Task, grace_seconds
from antsmem.heartbeat.schedule import DAY, MINUTE, ONCE, Days, Every, Once, Tick
from antsmem.heartbeat.slots import (
    NANO,
    instant_of,
    latest_slot,
    next_slot,
    slot_text,
    slots_between,
    utc_offset,
    zone_of,
)

MOST_CAUGHT_UP: Final = 10
"""How many missed slots `catchup=all` makes up for; older ones are skipped."""

MOST_COUNTED: Final = 1000
"""A count of missed slots that is this high means `or more`."""

_LONG_AGO: Final = -(1 << 62)


@record
class Progress:
    """What was done of a task: when it was first seen, and its high-water slot, None before the first."""

    anchor: int
    high: int | None = None


@record
class Slot:
    """A task at one of its slots. `key` names this piece of work for ever."""

    task: Task
    at: int
    key: str


@record
class Skip:
    """Slots of a task that will not run, `count` of them up to `last`: `missed` (nobody was awake), `quiet` (the
    last of them fell into quiet hours), `grace` (too late). Recording them raises the task's high-water mark to
    `last`."""

    task: Task
    last: int
    count: int
    why: str


@record
class Hold:
    """A slot that is due and waits until the quiet hours end at `until`."""

    slot: Slot
    until: int


@record
class Decision:
    """What to do at an instant. `due` is oldest first; `anchors` are the tasks seen for the first time, to be
    recorded as progress; `ahead` those whose high-water mark lies in the future: the clock was once wrong."""

    due: tuple[Slot, ...] = ()
    skipped: tuple[Skip, ...] = ()
    held: tuple[Hold, ...] = ()
    anchors: Mapping[str, int] = {}
    ahead: tuple[Task, ...] = ()


def decide(plan: Plan, progress: Mapping[str, Progress], now_ns: int) -> Decision:
    """What is due at `now_ns`, given the progress by task id. Reads no clock and no file."""
    now = now_ns // NANO
    due: list[Slot] = []
    skipped: list[Skip] = []
    held: list[Hold] = []
    anchors: dict[str, int] = {}
    ahead: list[Task] = []
    for task in plan.tasks:
        if not task.runs:
            continue
        mark = progress.get(task.id)
        if mark is None:
            mark = Progress(now // MINUTE * MINUTE)  # whole minutes are easier to read in keys
            anchors[task.id] = mark.anchor
        if mark.high is not None and mark.high > now + DAY:
            ahead.append(task)
        slots, skips = _one(plan, task, mark, now)
        skipped += skips
        until = quiet_until(plan, task, now)
        due += slots if until is None else ()
        held += [Hold(slot, until) for slot in slots] if until is not None else ()
    due.sort(key=lambda slot: (slot.at, slot.task.line))
    return Decision(tuple(due), tuple(skipped), tuple(held), anchors, tuple(ahead))


def key_of(task: Task, at: int) -> str:
    """The name of a task's slot: `moltbook@2026-11-20T09:00:00Z`, or `post-4@#once`."""
    return f"{task.id}{ONCE}" if isinstance(task.schedule, Once) else f"{task.id}@{slot_text(at)}"


def next_slots(plan: Plan, progress: Mapping[str, Progress], now_ns: int, count: int) -> tuple[Slot, ...]:
    """The first `count` slots from `now_ns` on, of all tasks that run, soonest first. What is due already has its
    own slot, which lies before."""
    now = now_ns // NANO
    decision = decide(plan, progress, now_ns)
    waiting = [*decision.due, *(replace(hold.slot, at=hold.until) for hold in decision.held)]
    fresh = Progress(now // MINUTE * MINUTE)
    soon = (_coming(plan, task, progress.get(task.id, fresh), now) for task in plan.tasks if task.runs)
    every = merge(sorted(waiting, key=_order), *soon, key=_order)
    return tuple(islice(every, count))


def next_of(plan: Plan, task: Task, progress: Mapping[str, Progress], now_ns: int) -> int | None:
    """When the task runs next: now or earlier where it is due, None for never."""
    only = replace(plan, tasks=(task,))
    return next((slot.at for slot in next_slots(only, progress, now_ns, 1)), None)


def _order(slot: Slot) -> tuple[int, int]:
    return slot.at, slot.task.line


def _coming(plan: Plan, task: Task, mark: Progress, now: int) -> Iterator[Slot]:
    """The slots of a task later than `now`, without end where it has none."""
    after = now if mark.high is None else max(now, mark.high)
    base = plan.settings.base_seconds
    while (at := next_slot(task.schedule, task.zone.name, after, mark.anchor, base)) is not None:
        yield Slot(task, _shifted(plan, task, at), key_of(task, at))
        after = at


def _one(plan: Plan, task: Task, mark: Progress, now: int) -> tuple[list[Slot], list[Skip]]:
    """The slots of one task that are due, oldest first, and those that are passed over."""
    base = plan.settings.base_seconds
    after = _before_first(task, mark.anchor, base) if mark.high is None else mark.high
    if isinstance(task.schedule, Once) and mark.high is not None:
        return [], []
    latest = latest_slot(task.schedule, task.zone.name, after, now, mark.anchor, base)
    if latest is None:
        return [], []
    most = MOST_CAUGHT_UP if task.options.catchup == "all" and not isinstance(task.schedule, Tick) else 1
    found = [latest]
    while len(found) < most:
        older = latest_slot(task.schedule, task.zone.name, after, found[0] - 1, mark.anchor, base)
        if older is None:
            break
        found.insert(0, older)
    limit = limit_seconds(task, base)
    good = [at for at in found if limit is None or now - _shifted(plan, task, at) <= limit]
    late = [at for at in found if at not in good]
    skips = []
    if missed := _count(task, after, found[0] - 1, mark.anchor):
        last = latest_slot(task.schedule, task.zone.name, after, found[0] - 1, mark.anchor, base)
        last = found[0] - 1 if last is None else last
        skips.append(Skip(task, last, missed, "missed" if quiet_until(plan, task, last) is None else "quiet"))
    if late:
        why = "missed" if task.options.catchup == "none" else "grace"
        skips.append(Skip(task, late[-1], len(late), why))
    return [Slot(task, at, key_of(task, at)) for at in good], skips


def limit_seconds(task: Task, base: int) -> int | None:
    """How late a slot may run; None for however late."""
    if isinstance(task.schedule, Tick):
        return None
    if task.options.catchup == "none":
        return base
    if task.options.catchup == "all" and task.options.grace_seconds is None:
        return None
    return grace_seconds(task, base)


def _before_first(task: Task, anchor: int, base: int) -> int:
    """The instant after which the first slot of a task may lie that was first seen at `anchor`."""
    schedule = task.schedule
    if isinstance(schedule, Once):
        return _LONG_AGO
    if isinstance(schedule, Tick):
        return anchor // base * base - 1
    if isinstance(schedule, Every):
        return anchor - 1
    if isinstance(schedule, Days) and not schedule.minutes:  # the day, week or month that has begun counts
        begun = latest_slot(schedule, task.zone.name, anchor - schedule.span_seconds, anchor, anchor, base)
        if begun is not None:
            return begun - 1
    return anchor - MINUTE  # the wake that first saw it may have been the one for its slot


def _count(task: Task, after: int, until: int, anchor: int) -> int:
    """How many slots there are with `after` < slot <= `until`: those of ticks are not worth counting."""
    if isinstance(task.schedule, Every):
        step = task.schedule.seconds
        first = max((after - anchor) // step + 1, 0)
        return max((until - anchor) // step - first + 1, 0)
    if isinstance(task.schedule, Tick | Once):
        return 0
    return sum(1 for _ in islice(slots_between(task.schedule, task.zone.name, after, until), MOST_COUNTED))


def _shifted(plan: Plan, task: Task, at: int) -> int:
    """`at`, or the end of the quiet hours in which it lies."""
    until = quiet_until(plan, task, at)
    return at if until is None else until


def quiet_until(plan: Plan, task: Task, at: int) -> int | None:
    """When the quiet hours end that hold the task at `at`; None where none do."""
    if plan.settings.quiet is None or task.options.urgent:
        return None
    start, end = (minute * MINUTE for minute in plan.settings.quiet)
    zone = zone_of(plan.zone.name)
    wall = at + utc_offset(zone, at)
    since_start = (wall - start) % DAY
    if since_start >= (end - start) % DAY:
        return None
    return instant_of(zone, wall - since_start + (end - start) % DAY)
