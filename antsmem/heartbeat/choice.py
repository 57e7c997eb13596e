"""Choose what a wake does: what was interrupted first, then what is due, oldest first, and not too much at once.

Everything here only looks. What it finds is recorded in one write, by who asked, under the schedule's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from antsmem.core.errors import BusyError, UsageError
from antsmem.core.record import field, mutable_record, record
from antsmem.heartbeat.backoff import LONGEST_SECONDS, breaker
from antsmem.heartbeat.due import Decision, Slot, decide, key_of, limit_seconds, quiet_until
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry, mark_body
from antsmem.heartbeat.locks import run_lock
from antsmem.heartbeat.once import Effect
from antsmem.heartbeat.plan import Task
from antsmem.heartbeat.progress import Standing
from antsmem.heartbeat.schedule import Once
from antsmem.heartbeat.slots import NANO, parse_slot, slot_text
from antsmem.heartbeat.spend import exhausted
from antsmem.heartbeat.states import Kind, next_step, stricter
from antsmem.heartbeat.turn import Means, effect_of, gone_effect

MOST_STARTED: Final = 3
"""How many actions a wake starts."""

TRIED: Final = "tried:"
PAUSED: Final = "paused:"


@record
class Work:
    """Something to do: `effect` without its prompt; `task` None where HEARTBEAT.md does not have it any more."""

    effect: Effect
    task: Task | None
    slot: str


@record
class Skipped:
    """Slots that will not run: `count` of them up to `key`. `why`: `missed`, `grace`, `quiet`, `budget`,
    `breaker`, `superseded`."""

    key: str
    task: str
    slot: str
    why: str
    count: int = 1


@record
class Refused:
    """A task that cannot run as things are: not allowed, no agent, two `run:` lines."""

    task: str
    line: int
    error: UsageError


@mutable_record
class Choice:
    """What a wake found. `work` is in order; `settled` are open keys that are to be skipped, `skipped` slots that
    were never planned; `busy` keys that are being done; `until` the next instant at which that may change,
    seconds, None where nothing waits; `again`: it may change at any time."""

    work: list[Work] = field(default_factory=list)
    settled: list[Skipped] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unsure: list[Slot] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    quiet: list[str] = field(default_factory=list)
    until: int | None = None
    again: bool = False

    def wait(self, until: int) -> None:
        """Something waits for the instant `until`."""
        self.until = until if self.until is None else min(self.until, until)


@record
class Limits:
    """What keeps work from starting: `paused` tasks, the day that budgets count (`day` tells it where there are
    any), and whether only `pure` work may start, because nobody can say whether another host has taken over.
    `only`: this task alone."""

    paused: frozenset[str]
    day: Callable[[], str]
    pure_only: bool = False
    only: str = ""


class Chooser:
    """Looks through the journal and the plan once."""

    def __init__(self, journal: Journal, standing: Standing, data: bytes, means: Means, limits: Limits) -> None:
        self.journal, self.standing, self.data, self.means, self.limits = journal, standing, data, means, limits
        self.tasks: Mapping[str, Task] = {task.id: task for task in standing.plan.tasks}
        self.choice = Choice()

    def choose(self, now_ns: int) -> tuple[Choice, Decision]:
        """What to do at `now_ns`."""
        self.now_ns, self.now = now_ns, now_ns // NANO
        decision = decide(self.standing.plan, self.standing.progress, now_ns)
        due = [slot for slot in decision.due if self._wanted(slot.task.id)]
        for hold in decision.held:
            self.choice.wait(hold.until)
            self.choice.quiet.append(hold.slot.key)
        entries = open_entries(self.journal)
        newest = self._newest(entries, decision)
        for entry in entries:
            if self._wanted(entry.text("task")):
                self._open(entry, newest)
        for skip in decision.skipped:
            if self._wanted(skip.task.id) and skip.task.id not in self.limits.paused:
                key, slot = key_of(skip.task, skip.last), slot_text(skip.last)
                self.choice.skipped.append(Skipped(key, skip.task.id, slot, skip.why, skip.count))
        for each in due:
            self._due(each)
        return self.choice, decision

    def _wanted(self, task: str) -> bool:
        return not self.limits.only or task == self.limits.only

    def _newest(self, entries: list[Entry], decision: Decision) -> dict[str, str]:
        """Task → its newest slot that waits to be started."""
        newest: dict[str, str] = {}
        waiting = [(entry.text("task"), entry.text("slot")) for entry in entries if entry.state in _WAITING]
        slots = [*decision.due, *(hold.slot for hold in decision.held)]
        for task, at in [*waiting, *((slot.task.id, slot_text(slot.at)) for slot in slots)]:
            newest[task] = max(newest.get(task, ""), at)
        return newest

    def _open(self, entry: Entry, newest: Mapping[str, str]) -> None:
        """A key that was left open."""
        name, slot = entry.text("task"), entry.text("slot")
        task = self.tasks.get(name)
        gone = task is None or bool(task.off)
        hidden = bool(self.journal.hides(entry.key))
        over = gone or (bool(slot) and slot < newest.get(name, "") and task is not None and not _all(task))
        late = task is not None and self._is_late(task, entry)
        if (over or late) and not hidden and _replaceable(entry):
            self.choice.settled.append(Skipped(entry.key, name, slot, "superseded" if over else "grace"))
            return
        if entry.state in {"HELD", "BLOCKED"}:
            return
        if entry.state in {"STARTED", "UNKNOWN"} and self._is_busy(entry.key):
            return
        if task is not None and gone and entry.text("why") == "take-over":
            return  # asked about when it is to run again
        if task is None or gone:
            self.choice.work.append(Work(gone_effect(entry), None, slot))
            return
        if (effect := self._effect(task, entry.key, slot)) is None:
            return
        step = next_step(entry, effect.kind, hidden=hidden, now_ns=self.now_ns, patient=True)
        if step == "wait":
            self.choice.wait(_instant(entry.text("retry_at")))
        elif step != "start":
            self._add(Work(effect, task, slot))
        elif self._may_start(task, stricter(entry, effect.kind)):
            if why := self._stopped(task):
                if _replaceable(entry):
                    self.choice.settled.append(Skipped(entry.key, name, slot, why))
            else:
                self._add(Work(effect, task, slot))

    def _due(self, slot: Slot) -> None:
        """A slot that is due and was never planned."""
        task, at = slot.task, slot_text(slot.at)
        if any(key.startswith(f"{task.id}@") for key in self.choice.busy):
            return
        if task.id in self.standing.ambiguous:
            self.choice.unsure.append(slot)
            return
        if (effect := self._effect(task, slot.key, at)) is None or not self._may_start(task, effect.kind):
            return
        if why := self._stopped(task):
            self.choice.skipped.append(Skipped(slot.key, task.id, at, why))
        else:
            self._add(Work(effect, task, at))

    def _is_late(self, task: Task, entry: Entry) -> bool:
        """Whether a slot that was planned is too late to be started; what a person ordered never is."""
        limit = limit_seconds(task, self.standing.plan.settings.base_seconds)
        if limit is None or entry.state != "PLANNED" or entry.body.get("how") or not entry.text("slot"):
            return False
        return self.now - max(_slot(entry.text("slot")), _slot(f"{entry.at[:19]}Z")) > limit

    def _effect(self, task: Task, key: str, slot: str) -> Effect | None:
        if task.error:
            return None
        try:
            return effect_of(task, key, slot, self.data, self.means)
        except UsageError as error:
            self.choice.again = True
            if all(refused.task != task.id for refused in self.choice.refused):
                self.choice.refused.append(Refused(task.id, task.line, error))
            return None

    def _may_start(self, task: Task, kind: Kind) -> bool:
        """Whether the task may start now, or waits: paused, quiet hours, nobody to ask who works."""
        if task.id in self.limits.paused:
            return False
        if (until := quiet_until(self.standing.plan, task, self.now)) is not None:
            self.choice.wait(until)
            return False
        if self.limits.pure_only and kind != "pure":
            self.choice.again = True
            return False
        return True

    def _stopped(self, task: Task) -> str:
        """Why the task's slots are skipped, if they are."""
        match breaker(self.journal.mark(task.id).failures):
            case "off":
                return "breaker"
            case "open":
                tried = self.journal.fact(TRIED + task.id)
                if isinstance(tried, str) and 0 <= self.now - _slot(tried) < LONGEST_SECONDS:
                    return "breaker"
        return "budget" if exhausted(self.journal, self.means.config, task.id, self.limits.day()) else ""

    def _add(self, work: Work) -> None:
        if len(self.choice.work) < MOST_STARTED:
            self.choice.work.append(work)
        else:
            self.choice.again = True

    def _is_busy(self, key: str) -> bool:
        try:
            with run_lock(self.journal.places.locks, key):
                return False
        except BusyError:
            self.choice.busy.append(key)
            self.choice.again = True
            return True


_WAITING: Final = frozenset({"PLANNED", "FAILED"})


def open_entries(journal: Journal) -> list[Entry]:
    """The last records of all open keys that a schedule asked for, oldest slot first."""
    found = [
        entry for key in list(journal.open) if (entry := journal.last(key)) is not None and entry.text("task")
    ]
    return sorted(found, key=lambda entry: (entry.text("slot"), entry.number))


def records(choice: Choice, journal: Journal) -> list[Mapping[str, Any]]:
    """What to record of a choice before anything is started: every slot that was passed over or planned, so that
    none of them ever comes again."""
    bodies: list[Mapping[str, Any]] = []
    for skip in choice.skipped:
        if journal.last(skip.key) is None:
            bodies.append(state_body(skip.key, "SKIPPED", skip.task, skip.slot, why=skip.why, count=skip.count))
        else:
            bodies.append(_mark(journal, skip.task, skip.slot))
    for slot in choice.unsure:
        bodies.append(state_body(slot.key, "HELD", slot.task.id, slot_text(slot.at), why="renamed"))
    for work in choice.work:
        if work.task is not None and journal.last(work.effect.key) is None and not journal.hides(work.effect.key):
            bodies.append(state_body(work.effect.key, "PLANNED", work.task.id, work.slot))
        elif work.task is not None and work.slot > journal.mark(work.task.id).slot:
            bodies.append(_mark(journal, work.task.id, work.slot))
    return bodies


def state_body(key: str, state: str, task: str, slot: str, **more: Any) -> dict[str, Any]:
    """A record of the state of a task's key."""
    return {"kind": "state", "key": key, "state": state, "task": task, "slot": slot, **more}


def _mark(journal: Journal, task: str, slot: str) -> Mapping[str, Any]:
    before = journal.mark(task)
    return mark_body(task, max(slot, before.slot), before.failures)


def _replaceable(entry: Entry) -> bool:
    """Whether nothing is lost if a later slot runs in the place of this one."""
    if entry.state in _WAITING or (entry.state == "HELD" and entry.text("why") == "attempts"):
        return True
    return entry.state in {"STARTED", "UNKNOWN"} and entry.text("effect") == "pure"


def _all(task: Task) -> bool:
    return task.options.catchup == "all" or isinstance(task.schedule, Once)


def _slot(text: str) -> int:
    try:
        return parse_slot(text)
    except ValueError:
        return -1 << 60


def _instant(text: str) -> int:
    """An instant of a record, whole seconds, rounded up."""
    return _slot(f"{text[:19]}Z") + 1
