"""What was spent today, of time, turns, tokens and money, and whether more may be.

fact used          {"day", "seconds", "turns", "tokens", "cost_micros"}: all tasks
fact used:TASK     the same of one task
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from antsmem.core.record import members, record, replace
from antsmem.core.wakeconfig import Budget, WakeConfig, parse_budget
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry, fact_body

USED: Final = "used"


@record
class Spent:
    """What a run took: wall time (started seconds count whole), turns, tokens and millionths of a US dollar, as
    far as its program tells."""

    seconds: int = 0
    turns: int = 0
    tokens: int = 0
    cost_micros: int = 0


def run_budget(config: WakeConfig, tag: str | None) -> Budget:
    """What one run may take: the operator's budget, or less where the task's tag asks for less."""
    if tag is None:
        return config.run
    asked = parse_budget(tag)
    return Budget(**{name: _least(getattr(config.run, name), getattr(asked, name)) for name in members(Budget)})


def _least(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


def spent_by(entry: Entry, seconds: float) -> Spent:
    """What the run took whose end `entry` records."""
    tokens = entry.count("input_tokens") + entry.count("output_tokens")
    return Spent(int(seconds) + 1, 1, tokens, entry.count("cost_microusd"))


def exceeds(budget: Budget, spent: Spent) -> bool:
    """Whether more than the budget was taken."""
    return any(
        (most := getattr(budget, name)) is not None and getattr(spent, name) > most for name in members(Spent)
    )


def exhausted(journal: Journal, config: WakeConfig, task: str, day: str) -> str:
    """Whose budget of `day` (`YYYY-MM-DD`) is used up: `task`, `day`, or nobody's."""
    for scope, name in (("day", USED), ("task", f"{USED}:{task}")):
        budget = getattr(config, scope)
        if budget != Budget() and _used_up(budget, used(journal, name, day)):
            return scope
    return ""


def _used_up(budget: Budget, spent: Spent) -> bool:
    return any(
        (most := getattr(budget, name)) is not None and getattr(spent, name) >= most for name in members(Spent)
    )


def used(journal: Journal, name: str, day: str) -> Spent:
    """What the fact `name` counts for `day`."""
    found = journal.fact(name)
    if not isinstance(found, dict) or found.get("day") != day:
        return Spent()
    counts = {each: found.get(each) for each in members(Spent)}
    return replace(Spent(), **{each: count for each, count in counts.items() if isinstance(count, int)})


def charge(journal: Journal, config: WakeConfig, task: str, day: str, spent: Spent) -> list[Mapping[str, Any]]:
    """The records that add `spent` to what was used on `day`; none where there is no budget to watch."""
    bodies: list[Mapping[str, Any]] = []
    for budget, name in ((config.day, USED), (config.task, f"{USED}:{task}")):
        if budget != Budget():
            before = used(journal, name, day)
            sums = {each: getattr(before, each) + getattr(spent, each) for each in members(Spent)}
            bodies.append(fact_body(name, {"day": day, **sums}))
    return bodies
