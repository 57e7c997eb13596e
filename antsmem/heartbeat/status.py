"""How the heartbeat does, seen from outside of a wake: whether one comes by, and what waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from antsmem.core.clock import utc_text
from antsmem.core.errors import RetiredError
from antsmem.core.record import record
from antsmem.heartbeat.backoff import breaker
from antsmem.heartbeat.epoch import Standing
from antsmem.heartbeat.journal import Health, Journal
from antsmem.heartbeat.lastwake import LastWake
from antsmem.heartbeat.states import REPEATABLE

Trouble: TypeAlias = Literal["fenced", "silent", "failed", "question", "breaker", "damage"]

_NS: Final = 1_000_000_000
_ASKED: Final = frozenset({"HELD", "BLOCKED", "UNKNOWN"})
_SKEW_SECONDS: Final = 60.0
_WENT_ON: Final = frozenset({0, 3, 4, 5, 75, 129, 130, 143})
"""Exit codes of wakes that did what they could, or were ended; what they found is looked at by itself."""


@record
class Question:
    """A key of which a person has to say what became of it, since when, and why."""

    key: str
    state: str
    why: str
    since: str


@record
class Breaker:
    """A task that failed `failures` times in a row: `open`, tried now and then, or `off` until a person acts."""

    task: str
    state: str
    failures: int


@record
class WakeStatus:
    """What there is to see. `began` and `ended` (None: it has not) are the last wake's, `next` is when something
    is due, all UTC; `age_seconds` since it was last heard of. `troubles` say what is wrong, worst first."""

    standing: str
    epoch: int
    began: str | None
    ended: str | None
    exit: int | None
    age_seconds: float | None
    started: tuple[str, ...]
    next: str | None
    questions: tuple[Question, ...]
    breakers: tuple[Breaker, ...]
    health: Health
    troubles: tuple[Trouble, ...]


def look(
    journal: Journal,
    last: LastWake | None,
    standing: tuple[Standing, int],
    now_ns: int,
    max_age_seconds: float | None = None,
) -> WakeStatus:
    """What there is to see at `now_ns`. Silence is a trouble where `max_age_seconds` is given: no wake began or
    ended within it, or the last one lies in the future, so that nothing would be noticed until then."""
    age = None if last is None else (now_ns - max(last.began_ns, last.ended_ns)) / _NS
    questions = tuple(_questions(journal, utc_text(now_ns)))
    breakers = tuple(_breakers(journal))
    found: Mapping[Trouble, bool] = {
        "fenced": standing[0] != "active" or (last is not None and last.code == RetiredError.exit_code),
        "silent": max_age_seconds is not None and (age is None or not -_SKEW_SECONDS <= age <= max_age_seconds),
        "failed": last is not None and bool(last.ended_ns) and last.code not in _WENT_ON,
        "question": bool(questions),
        "breaker": any(each.state == "off" for each in breakers),
        "damage": bool(journal.health.bad or journal.health.missing),
    }
    return WakeStatus(
        standing=standing[0],
        epoch=standing[1],
        began=None if last is None else utc_text(last.began_ns),
        ended=utc_text(last.ended_ns) if last is not None and last.ended_ns else None,
        exit=last.code if last is not None and last.ended_ns else None,
        age_seconds=age,
        started=() if last is None else last.started,
        next=None if last is None or last.next_ns is None else utc_text(last.next_ns),
        questions=questions,
        breakers=breakers,
        health=journal.health,
        troubles=tuple(name for name, wrong in found.items() if wrong),
    )


def _questions(journal: Journal, now: str) -> list[Question]:
    """The open keys that do not go on by themselves: what was started counts when its time is over."""
    found = []
    for key, state in sorted(journal.open.items()):
        if state not in _ASKED and state != "STARTED":
            continue
        entry = journal.last(key)
        if entry is None or entry.state not in {*_ASKED, "STARTED"}:
            continue
        if entry.state == "UNKNOWN" and entry.text("task") and entry.text("effect") in REPEATABLE:
            continue  # a wake runs it again
        if entry.state == "STARTED":
            if now <= entry.text("lease"):
                continue
            found.append(Question(key, "UNKNOWN", "died", entry.at))
        else:
            found.append(Question(key, entry.state, entry.text("why"), entry.at))
    return found


def _breakers(journal: Journal) -> list[Breaker]:
    marks = ((task, journal.mark(task).failures) for task in sorted(journal.marked))
    return [Breaker(task, state, count) for task, count in marks if (state := breaker(count)) != "closed"]
