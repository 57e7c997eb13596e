"""Journals with a known history, and what the state machine would do about each of their keys."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antsmem.heartbeat.fold import Fold
from antsmem.heartbeat.journal import Journal, Places
from antsmem.heartbeat.line import Entry, decode
from antsmem.heartbeat.states import KINDS, next_step

FRIDAY = 1_795_188_211_000_000_000
"""2026-11-20T15:23:31Z."""
DAY = 86_400_000_000_000

ENDS = ("DONE", "FAILED", "HELD", "UNKNOWN", "")


def places(root: Path) -> Places:
    return Places(root, root / "index")


def state(key: str, what: str, **more: Any) -> dict[str, Any]:
    """A record's body."""
    return {"kind": "state", "key": key, "state": what, **more}


def add(journal: Journal, *bodies: Mapping[str, Any], now_ns: int = FRIDAY) -> None:
    """Append records as a run does."""
    with journal.deciding(now_ns):
        journal.append(now_ns, *bodies)


def history(root: Path, records: int, seed: int = 1) -> Journal:
    """A journal of at least so many records: keys in every state, started as `once` starts them."""
    rng = random.Random(seed)
    journal = Journal(places(root))
    number = 0
    while journal.number < records:
        key = f"post-{number}"
        number += 1
        kind = rng.choice(KINDS)
        add(journal, state(key, "PLANNED"), state(key, "STARTED", effect=kind, attempt=1, run=f"{number:024x}"))
        end = rng.choice(ENDS)
        if end:
            add(journal, state(key, end, effect=kind, attempt=1))
        if end == "UNKNOWN" and rng.random() < 0.5:
            add(journal, state(key, "HELD", effect=kind, attempt=1))
        if end == "FAILED" and rng.random() < 0.5:
            add(journal, state(key, "STARTED", effect=kind, attempt=2, run=f"{number:024x}"))
    return journal


def month_of(root: Path) -> Path:
    """The newest file."""
    return max((root / "journal").glob("*.jsonl"))


def truth(data: bytes) -> dict[str, list[Entry]]:
    """All records of each key in an undamaged file."""
    found: dict[str, list[Entry]] = {}
    for line in data.splitlines():
        entry = decode(line)
        assert entry is not None
        if entry.key:
            found.setdefault(entry.key, []).append(entry)
    return found


def steps(last: Entry | None, hidden: bool) -> list[str]:
    """What would be done for a caller of each kind, in their order."""
    return [next_step(last, kind, hidden=hidden, now_ns=FRIDAY, patient=False) for kind in KINDS]


def last_of(fold: Fold, data: bytes, key: str) -> Entry | None:
    """What a journal with these bytes gives for `key`."""
    known = fold.keys.get(key)
    return None if known is None else decode(data[known[0] : data.find(b"\n", known[0])], quick=True)


def wrong(whole: Mapping[str, list[Entry]], fold: Fold, data: bytes) -> list[str]:
    """Where `fold`, made of the damaged `data`, would do something that the whole history forbids."""
    found = []
    for key, records in whole.items():
        last, true = last_of(fold, data, key), records[-1]
        if last is not None and last.body not in [each.body for each in records if each.number == last.number]:
            found.append(f"{key}: {last} was never written")
        if last is not None and last.state == "DONE" and true.state != "DONE":
            found.append(f"{key}: falsely DONE")
        for kind, now, meant in zip(KINDS, steps(last, fold.hides(key)), steps(true, False), strict=True):
            if now == "start" and meant != "start" and kind in {"verify", "hold"}:
                found.append(f"{key}: would be started ({kind}), should {meant}")
    return found
