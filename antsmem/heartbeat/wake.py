"""One wake: finish what was interrupted, do what is due, tell a person what needs one, and end.

    schedule lock   look at plan and journal, record every slot that is planned or passed over, in one write
    run lock        one a key: run it by `once`, which never repeats what may have happened

Any number of wakes may come at once, be killed at any instant, and come again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from antsmem.core.disk import locked
from antsmem.core.errors import BackendError, BusyError, ConfigError, LockedError, NotFoundError, UsageError
from antsmem.core.record import record, replace
from antsmem.heartbeat.backoff import breaker
from antsmem.heartbeat.choice import (
    PAUSED,
    TRIED,
    Choice,
    Chooser,
    Limits,
    Skipped,
    Work,
    open_entries,
    records,
    state_body,
)
from antsmem.heartbeat.due import Slot, key_of, next_slots
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import fact_body
from antsmem.heartbeat.locks import run_lock
from antsmem.heartbeat.notices import FAILED, HUMAN, Question, Trouble, questions, tell, troubles
from antsmem.heartbeat.once import Effect, Host, OnceResult, once
from antsmem.heartbeat.plan import Plan, Task
from antsmem.heartbeat.progress import Change, Standing, advanced, sha256, stand, was_over
from antsmem.heartbeat.schedule import Once
from antsmem.heartbeat.slots import NANO, slot_text
from antsmem.heartbeat.spend import charge, exceeds, exhausted, run_budget, spent_by
from antsmem.heartbeat.turn import Means, effect_of, with_prompt

if TYPE_CHECKING:
    from antsmem.workspace.layout import Layout

ORDER: Final = (2, 4, 3, 5)
"""Of several exit codes, the first of these counts."""


@record
class WakeRequest:
    """What a wake works on: the journal, HEARTBEAT.md as bytes and as plan, and what work is done with.

    `require` raises `RetiredError` where this host may not work as far as it knows itself. `approved`: the SHA-256
    of the file that the operator approved, where its trust is `pin`. `witness` is asked too: `RetiredError` where
    another host has taken over, `BackendError` where nobody can say. `working` is called before the first thing is
    done. `only`: this task alone; `now`: this task, whether it is due or not. `dry_run`: say what would be done.
    """

    journal: Journal
    data: bytes
    plan: Plan
    host: Host
    means: Means
    require: Callable[[], object] = lambda: None
    approved: str = ""
    witness: Callable[[], None] | None = None
    working: Callable[[], None] = lambda: None
    layout: Layout | None = None
    only: str = ""
    now: str = ""
    dry_run: bool = False


@record
class Done:
    """What became of a key in this wake. `ran`: its action was started; `exit_code` is the action's own."""

    key: str
    task: str
    state: str
    ran: bool
    why: str = ""
    exit_code: int | None = None
    retry_at: str = ""
    survivors: tuple[int, ...] = ()


@record
class WakeResult:
    """What a wake did. `code` is its exit code; `notices` what a person is told now; `questions` all that wait for
    one; `next_at` when the next thing is due (seconds since 1970 UTC, None: never), `again` whether something may
    change before, so that the next wake has to look. `sha256` is that of HEARTBEAT.md."""

    code: int
    sha256: str
    done: tuple[Done, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    busy: tuple[str, ...] = ()
    quiet: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    changes: tuple[Change, ...] = ()
    notices: tuple[str, ...] = ()
    next_at: int | None = None
    again: bool = False


def wake(request: WakeRequest) -> WakeResult:
    """Do what is to be done now.

    Raises `BusyError` while another wake is choosing, `RetiredError` where this host may not work, `NotFoundError`
    for a task that is not there, `DiskError` where the journal cannot be written: the next wake finds out then
    what became of what was started.
    """
    request = replace(request, host=replace(request.host, patient=not request.now))
    return _Wake(request).result()


class _Wake:
    """One wake under way."""

    def __init__(self, request: WakeRequest) -> None:
        self.request, self.journal = request, request.journal
        self.now_ns = request.host.now_ns()
        self.sha256 = sha256(request.data)
        self.done: list[Done] = []
        self.troubles: list[Trouble] = []
        self.stopped: list[Skipped] = []

    @cached_property
    def day(self) -> str:
        return day_of(self.now_ns, self.request.plan)  # only where it counts: time zones cost more than the rest

    def result(self) -> WakeResult:
        request = self.request
        self.journal.refresh()
        request.require()
        if request.means.config.trust == "pin" and request.approved != self.sha256:
            return self._unapproved()
        if request.dry_run:
            choice, standing, _ = self._chosen()
            return self._told(choice, standing, dry=True)
        with schedule_lock(self.journal):
            self.journal.refresh()
            choice, standing, bodies = self._chosen()
            if bodies:
                self._append(bodies)
        for skip in choice.settled:
            self._settle(skip)
        self._tell_daily()
        if choice.work:
            request.working()
        for work in choice.work:
            self._do(work)
        if self.done:
            from antsmem.heartbeat.sweep import sweep_runs

            self._tell_daily()
            sweep_runs(self.journal, request.host.now_ns())
        return self._told(choice, standing)

    def _chosen(self) -> tuple[Choice, Standing, list[Mapping[str, Any]]]:
        request = self.request
        standing = stand(self.journal, request.plan, request.data, self.now_ns)
        limits = Limits(paused(self.journal), lambda: self.day, self._pure_only(), request.only or request.now)
        known = {task.id for task in standing.plan.tasks}
        if limits.only and limits.only not in known:
            raise NotFoundError(f"HEARTBEAT.md has no task `{limits.only}`", hint="antsmem heartbeat plan")
        chooser = Chooser(self.journal, standing, request.data, request.means, limits)
        choice, decision = chooser.choose(self.now_ns)
        if request.now:
            choice = self._ordered(standing, choice, decision.due)
        for task in decision.ahead:
            text = f"`{task.id}` was last planned for a time that is yet to come: was the clock wrong?"
            self.troubles.append(Trouble(f"{task.id} clock", "ahead", text, HUMAN, "antsmem heartbeat log"))
        return choice, standing, [*standing.facts, *records(choice, self.journal)]

    def _ordered(self, standing: Standing, choice: Choice, due: tuple[Slot, ...]) -> Choice:
        """The one piece of work that a person ordered: what is open or due of the task, else one more."""
        task = next(task for task in standing.plan.tasks if task.id == self.request.now)
        if task.error:
            raise UsageError(f"`{task.id}` cannot run: {task.error}", hint="antsmem heartbeat plan")
        waits = [
            each for each in open_entries(self.journal) if each.text("task") == task.id and each.state in _STARTS
        ]
        slots = [slot for slot in due if slot.task.id == task.id]
        if waits:
            key, slot = waits[-1].key, waits[-1].text("slot")
        elif slots:
            key, slot = slots[-1].key, slot_text(slots[-1].at)
        elif isinstance(task.schedule, Once):
            key, slot = key_of(task, 0), self.journal.mark(task.id).slot or slot_text(self.now_ns // NANO)
            if was_over(self.journal, task.id, key):
                hint = f"antsmem heartbeat log {key}"
                raise UsageError(f"`{task.id}` happens once, and is over: nothing started", hint=hint)
        else:
            key, slot = f"{task.id}@run-{slot_text(self.now_ns // NANO)}", ""
        effect = effect_of(task, key, slot, self.request.data, self.request.means)
        return replace_work(choice, Work(effect, task, slot))

    def _pure_only(self) -> bool:
        """Whether nobody can say that no other host works."""
        if self.request.witness is None:
            return False
        try:
            self.request.witness()
        except BackendError as error:
            text = f"nobody can say whether another host has taken over: {error}"
            self.troubles.append(Trouble("witness", "witness", text, FAILED))
            return True
        return False

    def _settle(self, skip: Skipped) -> None:
        """Skip a key that was left open, unless it is being worked on."""
        try:
            with run_lock(self.journal.places.locks, skip.key), self.journal.deciding(self.now_ns):
                last = self.journal.last(skip.key)
                if last is not None and last.state not in SETTLED and not self.journal.hides(skip.key):
                    body = state_body(skip.key, "SKIPPED", skip.task, skip.slot, why=skip.why)
                    self.journal.append(self.now_ns, body)
        except BusyError:
            return

    def _do(self, work: Work) -> None:
        request, host = self.request, self.request.host
        effect = work.effect
        if not request.now and self._is_spent(effect):
            skip = Skipped(effect.key, effect.task, work.slot, "budget")
            self._settle(skip)
            self.stopped.append(skip)
            return
        if work.task is not None and request.means.agent is not None and self._will_start(effect):
            entries = self._ledger()
            effect = with_prompt(effect, work.task, request.data, request.means, entries, host.now_ns())
        began = time.monotonic()
        try:
            result = once(self.journal, effect, host)
        except BusyError:
            self.done.append(Done(effect.key, effect.task, "BUSY", False))
            return
        except BackendError as error:  # the witness fell silent in between
            self.done.append(Done(effect.key, effect.task, "PLANNED", False, "witness"))
            self.troubles.append(Trouble("witness", "witness", str(error), FAILED, error.hint))
            return
        self.done.append(_done(effect, result))
        if result.ran:
            self._spent(effect, work.task, time.monotonic() - began)

    def _is_spent(self, effect: Effect) -> bool:
        """Whether what this wake did before has used up what this would take; what was started is finished."""
        last = self.journal.last(effect.key)
        if last is not None and last.state not in _STARTS:
            return False
        return bool(exhausted(self.journal, self.request.means.config, effect.task, self.day))

    def _will_start(self, effect: Effect) -> bool:
        last = self.journal.last(effect.key)
        return last is None or last.state not in SETTLED

    def _ledger(self) -> list[Any]:
        from antsmem.heartbeat.context import ledger_entries

        return ledger_entries(self.journal, self.request.host.now_ns(), self.request.means.zone)

    def _spent(self, effect: Effect, task: Task | None, seconds: float) -> None:
        """Count what a run took, and remember when a task that keeps failing was tried last."""
        entry = self.journal.last(effect.key)
        if entry is None:
            return
        spent, config = spent_by(entry, seconds), self.request.means.config
        bodies = charge(self.journal, config, effect.task, self.day, spent)
        if breaker(self.journal.mark(effect.task).failures) != "closed":
            at = slot_text(self.request.host.now_ns() // NANO)
            bodies.append(fact_body(TRIED + effect.task, at))
        if bodies:
            self._append(bodies)
        if task is not None and exceeds(run_budget(config, task.options.budget), replace(spent, seconds=0)):
            text = f"`{effect.key}` took more than its budget"
            self.troubles.append(Trouble(f"{effect.task} budget", "budget", text, HUMAN))

    def _append(self, bodies: list[Mapping[str, Any]]) -> None:
        now_ns = self.request.host.now_ns()
        with self.journal.deciding(now_ns):
            for start in range(0, len(bodies), _AT_ONCE):
                self.journal.append(now_ns, *bodies[start : start + _AT_ONCE])
        self.request.host.started()

    def _tell_daily(self) -> None:
        if self.request.layout is not None and self.journal.untold():
            from antsmem.heartbeat.daily import tell_daily

            tell_daily(self.request.layout, self.journal, self.request.host.now_ns(), self.request.means.zone)

    def _unapproved(self) -> WakeResult:
        text = "HEARTBEAT.md is not the one that was approved: nothing started"
        trouble = Trouble("HEARTBEAT.md", self.sha256, text, HUMAN, "antsmem heartbeat approve")
        asked = questions(self.journal)
        plan = self.request.plan
        lines = self._tell([trouble, *troubles(self.journal, plan, Choice(), asked)], plan)
        return WakeResult(HUMAN, self.sha256, questions=asked, notices=lines, again=True)

    def _told(self, choice: Choice, standing: Standing, *, dry: bool = False) -> WakeResult:
        """Tell a person, and say when the next wake has something to do."""
        plan, asked = standing.plan, questions(self.journal)
        self.troubles += troubles(self.journal, plan, choice, asked)
        failed = [done for done in self.done if done.state in {"FAILED", "UNKNOWN"}]
        for done in failed:
            text = f"`{done.key}` failed ({_why(done)})" + (
                f", tried again {done.retry_at}" if done.retry_at else ""
            )
            self.troubles.append(Trouble(done.task, f"failed {done.why}", text, FAILED))
        wanted = self.request.only or self.request.now
        codes = {
            each.code
            for each in self.troubles
            if not wanted or each.subject.partition(" ")[0] in {wanted, "witness"}
        }
        lines = tuple(each.text for each in self.troubles) if dry else self._tell(self.troubles, plan)
        if dry:
            planned = [Done(work.effect.key, work.effect.task, "PLANNED", False) for work in choice.work]
            self.done = planned
        coming = next_slots(plan, advanced(self.journal, standing, self.now_ns), self.now_ns, 1)
        times = [slot.at for slot in coming] + ([] if choice.until is None else [choice.until])
        return WakeResult(
            code=next((code for code in ORDER if code in codes), 0),
            sha256=self.sha256,
            done=tuple(self.done),
            skipped=(*choice.settled, *choice.skipped, *self.stopped),
            busy=tuple(choice.busy),
            quiet=tuple(choice.quiet),
            questions=asked,
            changes=standing.changes,
            notices=tuple(lines),
            next_at=min(times, default=None),
            again=choice.again or bool(self.done) or bool(self.troubles) or bool(choice.settled),
        )

    def _tell(self, found: list[Trouble], plan: Plan) -> tuple[str, ...]:
        wanted = self.request.only or self.request.now
        lines, facts = tell(self.journal, found, self.day if found else "", plan, wanted)
        if facts and not self.request.dry_run:
            self._append(facts)
        return tuple(lines)


_STARTS: Final = frozenset({"PLANNED", "FAILED"})
_AT_ONCE: Final = 64
_BUSY: Final = "another wake is choosing what to do: nothing started"


@contextmanager
def schedule_lock(journal: Journal) -> Iterator[None]:
    """Hold the lock under which a wake chooses; `BusyError` while another does."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(journal.places.locks / "schedule.lock", _BUSY))
        except LockedError:
            raise BusyError(_BUSY, hint="the next wake finds what this one would have done") from None
        yield


def day_of(now_ns: int, plan: Plan) -> str:
    """The day that budgets and notices count, on the file's clock, else on UTC's."""
    from antsmem.core.clock import utc_text

    if not plan.zone.name or plan.zone.name == "UTC":
        return utc_text(now_ns)[:10]
    from antsmem.workspace.humantime import human_time

    try:
        return human_time(now_ns, plan.zone.name).day
    except ConfigError:
        return utc_text(now_ns)[:10]


def paused(journal: Journal) -> frozenset[str]:
    """The tasks that a person paused."""
    names = (name for name in journal.facts if name.startswith(PAUSED))
    return frozenset(name.removeprefix(PAUSED) for name in names if journal.fact(name) is not None)


def replace_work(choice: Choice, work: Work) -> Choice:
    """A choice of one piece of work alone."""
    return Choice(work=[work], skipped=choice.skipped, refused=choice.refused)


def _done(effect: Effect, result: OnceResult) -> Done:
    return Done(
        effect.key, effect.task, result.state, result.ran, result.why, result.exit_code, result.retry_at,
        result.survivors,
    )  # fmt: skip


def _why(done: Done) -> str:
    code = "" if done.exit_code is None else f" {done.exit_code}"
    return f"{done.why}{code}".strip() or done.state
