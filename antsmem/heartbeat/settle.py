"""A person's word on an effect of which nobody else knows what became of it."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from antsmem.core.clock import utc_text
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.locks import run_lock
from antsmem.heartbeat.states import TOLD

Word: TypeAlias = Literal["done", "redo", "drop"]
MAX_NOTE: Final = 2000
WORDS: Final[tuple[Word, ...]] = ("done", "redo", "drop")
_STATES: Final = {"done": "DONE", "redo": "PLANNED", "drop": "SKIPPED"}


@record
class Resolved:
    """What a key was, and what it is by a person's word."""

    key: str
    before: str
    state: str


def resolve_effect(journal: Journal, key: str, word: Word, now_ns: int, note: str = "") -> Resolved:
    """Record `word` about `key`: `done` it happened, `redo` it did not and may run, `drop` it shall not run. The
    `note` is what a person has to say about it: the answer, where the agent has asked.

    Raises `NotFoundError` for a key of which nothing is known, `UsageError` if it is settled, `BusyError` if it is
    being worked on.
    """
    with run_lock(journal.places.locks, key), journal.deciding(now_ns):
        last = journal.last(key)
        if last is None and not journal.hides(key):
            raise NotFoundError(f"nothing is known of `{key}`", hint="antsmem heartbeat log")
        before = last.state if last is not None else "UNKNOWN"
        if before in SETTLED:
            raise UsageError(f"`{key}` is settled already ({before}): left as it is", hint="take another key")
        body = {"kind": "state", "key": key, "state": _STATES[word], "how": "person"}
        if last is not None and last.text("task"):
            body |= {"task": last.text("task"), "slot": last.text("slot")}
            body |= {"tell": utc_text(now_ns)} if _STATES[word] in TOLD else {}
        if note.strip():
            body["note"] = " ".join(note.split())[:MAX_NOTE]
        if word == "drop":
            body["why"] = "dropped"
        journal.append(now_ns, body)
    return Resolved(key, before, _STATES[word])
