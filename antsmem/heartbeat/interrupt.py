"""What this process leaves behind when it is asked to end in the middle of its work."""

from __future__ import annotations

from contextlib import suppress

from antsmem.core.errors import AntsmemError, BusyError
from antsmem.core.record import record
from antsmem.heartbeat.action import survivors
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.locks import run_lock
from antsmem.heartbeat.once import this_process


@record
class Interruption:
    """A key that this process had started: HELD where a person has to say what became of it, else STARTED: whoever
    comes next finds out."""

    key: str
    state: str


def interrupted(journal: Journal, now_ns: int) -> tuple[Interruption, ...]:
    """Hold what this process had started and nobody can ask about, so that the question stands there at once.

    To be called when its actions have been ended. Never fails: what cannot be written is found out later.
    """
    found = []
    with suppress(AntsmemError):
        journal.refresh()
        for key in list(journal.open):
            entry = journal.last(key)
            if entry is None or entry.state != "STARTED":
                continue
            if any(entry.body.get(name) != value for name, value in this_process().items()):
                continue
            state = entry.state
            if entry.text("effect") == "hold":
                with suppress(BusyError):
                    state = _held(journal, key, now_ns)
            found.append(Interruption(key, state))
    return tuple(found)


def _held(journal: Journal, key: str, now_ns: int) -> str:
    with run_lock(journal.places.locks, key), journal.deciding(now_ns):
        last = journal.last(key)
        if last is None or last.state != "STARTED" or survivors(last.text("run")):
            return "" if last is None else last.state
        names = ("task", "slot", "attempt", "run", "effect")
        kept = {name: last.body[name] for name in names if name in last.body}
        body = {"kind": "state", "key": key, "state": "HELD", **kept, "why": "interrupted"}
        return journal.append(now_ns, body).state
