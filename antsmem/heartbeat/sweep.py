"""Remove the outputs of old runs: of those that a schedule asked for and that are over.

What `antsmem once` replays stays, and so does the run of every key that is open.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.schedule import DAY
from antsmem.heartbeat.slots import NANO

KEPT_SECONDS: Final = 30 * DAY
KEPT: Final = 2000
_WORTH_IT: Final = 50
"""So many must be old before the journal is read for them."""


def sweep_runs(journal: Journal, now_ns: int) -> int:
    """Remove the runs that are older than 30 days, and the oldest beyond 2,000; how many they were."""
    old = _old(journal.places.runs, now_ns // NANO)
    if len(old) < _WORTH_IT:
        return 0
    kept = _needed(journal)
    gone = [name for name in old if name not in kept]
    for name in gone:
        shutil.rmtree(journal.places.runs / name, ignore_errors=True)
    return len(gone)


def _old(runs: Path, now: int) -> list[str]:
    try:
        with os.scandir(runs) as found:
            ages = sorted((int(item.stat(follow_symlinks=False).st_mtime), item.name) for item in found)
    except OSError:
        return []
    beyond = len(ages) - KEPT
    return [name for place, (at, name) in enumerate(ages) if place < beyond or now - at > KEPT_SECONDS]


def _needed(journal: Journal) -> set[str]:
    """The runs that somebody may still ask for: by key, the last one of it."""
    runs: dict[str, str] = {}
    for entry in journal.entries(carried=True):
        if entry.kind != "state" or not entry.text("run"):
            continue
        if entry.text("task") and entry.state in SETTLED:
            runs.pop(entry.key, None)
        else:
            runs[entry.key] = entry.text("run")
    return set(runs.values())
