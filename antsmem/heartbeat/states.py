"""What may follow what: the rules by which an effect is started, asked about, held, or left alone.

PLANNED ──► STARTED ──► DONE                       it ended well
   ▲           ├─────► FAILED ──► STARTED …        it says, or cannot but mean, that nothing happened
   │           └─────► UNKNOWN                     cut off, out of time, or failed in the middle
   │                     ├─ pure, idempotent, retry ──► STARTED …
   ├──── did not happen ─┼─ verify ──► DONE
   │                     └─ hold ────► HELD        a person says
   └────────── redo ────────────────────┤
                                        └──► DONE, SKIPPED
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from antsmem.core.clock import utc_text
from antsmem.core.record import record
from antsmem.heartbeat.backoff import LONGEST_SECONDS
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.line import Entry

Kind: TypeAlias = Literal["pure", "idempotent", "verify", "hold", "retry"]
KINDS: Final[tuple[Kind, ...]] = ("pure", "idempotent", "verify", "hold", "retry")
REPEATABLE: Final = frozenset({"pure", "idempotent", "retry"})
"""Kinds that may run again when it is not known what a run did."""

Step: TypeAlias = Literal["start", "ask", "hold", "held", "wait", "settled"]
"""What to do next: start the action, ask the world, put it before a person, say that it waits for one, wait until
a time, or nothing because it is settled."""

TOLD: Final = frozenset({"DONE", "FAILED", "UNKNOWN", "HELD", "BLOCKED"})
"""States of a task that the daily log is told of."""

TEMPORARY: Final = 75
"""sysexits.h EX_TEMPFAIL: an action that ends so says that nothing happened and that it may be tried again."""

MOST_ATTEMPTS: Final = 3
"""How often a wake starts one slot that fails."""


@record
class Ended:
    """How an action ended: `code` is its exit code, None if it has none; `signal` killed it; `late`: it ran out of
    time; `started`: whether it ever ran. `survivors` are processes that it left."""

    code: int | None
    signal: int = 0
    late: bool = False
    started: bool = True
    survivors: tuple[int, ...] = ()


def next_step(last: Entry | None, kind: Kind, *, hidden: bool, now_ns: int, patient: bool) -> Step:
    """What to do about a key whose run lock is held (so nothing of it is running) and whose last record is `last`.

    `kind` is what the caller wants, `hidden` whether damage may hide a start. `patient`: obey back-off
    and the limit of attempts, as a wake does; a caller of its own has decided to try now.
    """
    if last is not None and last.state in SETTLED:
        return "settled"
    if last is not None and last.state in {"HELD", "BLOCKED"}:
        return "ask" if kind == "verify" and last.state == "HELD" else "held"
    if not hidden and (last is None or last.state == "PLANNED"):
        # What verify denies time and again, though it was done by all accounts, is a question too.
        denied = last is not None and last.text("how") == "verify"
        return _again(last, now_ns) if patient and last is not None and denied else "start"
    if not hidden and last is not None and last.state == "FAILED":
        return _again(last, now_ns) if patient else "start"
    # STARTED (its process is gone), UNKNOWN, a state of a later version, or damage.
    kind = stricter(last, kind)
    if kind == "verify":
        return "ask"
    if kind not in REPEATABLE:
        return "hold"
    return _again(last, now_ns) if patient and last is not None else "start"


def _again(last: Entry, now_ns: int) -> Step:
    """What a wake does about something that may run again."""
    if last.count("attempt") >= MOST_ATTEMPTS:
        return "hold"
    # What is further away than any back-off was written by a clock that was wrong.
    until = last.text("retry_at")
    waits = utc_text(now_ns) < until <= utc_text(now_ns + LONGEST_SECONDS * 1_000_000_000)
    return "wait" if waits else "start"


def stricter(last: Entry | None, kind: Kind) -> Kind:
    """The kind that counts for what was started before: a caller may be more careful than then, not less."""
    before = last.text("effect") if last is not None else ""
    if kind in {"verify", "hold"} or before in {"", kind}:
        return kind
    return next((known for known in KINDS if known == before and known != "verify"), "hold")


def outcome(ended: Ended, kind: Kind) -> str:
    """The state after a run. Out of time or killed: nobody knows.

    Another exit code than 0 says that it failed, not that nothing happened; it counts as that only where the
    action may run again, or where it is EX_TEMPFAIL.
    """
    if not ended.started:
        return "FAILED"
    if ended.late or ended.code is None:
        return "UNKNOWN"
    if ended.code == 0:
        return "DONE"
    return "FAILED" if kind in REPEATABLE or ended.code == TEMPORARY else "UNKNOWN"


def answered(code: int | None) -> str:
    """The state after `verify` ended with `code`: 0 it happened, 1 it did not, anything else says nothing."""
    return {0: "DONE", 1: "PLANNED"}.get(-1 if code is None else code, "HELD")
