"""A person's hand on a task: hold it back, let it go on."""

from __future__ import annotations

from antsmem.core.clock import utc_text
from antsmem.heartbeat.choice import PAUSED, TRIED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import fact_body, mark_body


def pause_task(journal: Journal, task: str, now_ns: int) -> None:
    """Start nothing of `task` any more. What is under way goes on."""
    with journal.deciding(now_ns):
        journal.append(now_ns, fact_body(PAUSED + task, utc_text(now_ns)))


def resume_task(journal: Journal, task: str, now_ns: int) -> None:
    """Let `task` go on, with its failures forgotten."""
    with journal.deciding(now_ns):
        bodies = [
            fact_body(name, None)
            for name in (PAUSED + task, TRIED + task, f"told:{task} off")
            if journal.fact(name)
        ]
        mark = mark_body(task, journal.mark(task).slot, 0)
        journal.append(now_ns, *bodies, mark)
