"""Tell the daily log what became of each piece of work: one line a key, neither lost nor written twice.

The journal is the outbox: a record with `tell` owes a line, a `told` record says that it stands there. Between the
two the line is looked for by its marker before it is written.
"""

from __future__ import annotations

from antsmem.core.record import record
from antsmem.heartbeat.journal import Journal
from antsmem.workspace.layout import Layout


@record
class Told:
    """A line that stands in the log of `day` now; `written` by this call."""

    key: str
    day: str
    written: bool


def tell_daily(layout: Layout, journal: Journal, now_ns: int, zone: str) -> tuple[Told, ...]:
    """Write all lines that the journal says are owed, and record it. Nothing is written where none is.

    To be called when a wake begins (what was cut off) and whenever work has ended. Raises `DiskError`,
    `LockedError`; what was not told then is told by the next call.
    """
    return ()
