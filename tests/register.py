"""Whether a recorded history of reads and compare-and-sets could have happened one operation at a time.

The method of J. Wing and C. Gong ("Testing and verifying concurrent objects", 1993) with the memory of G. Lowe
("Testing for linearizability", 2017): take any operation that no other ended before, see whether the register
allows it, go on; what was seen to lead nowhere is not tried again. An operation without an answer may have
happened at any later time, or never.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

FOREVER = float("inf")


@dataclass(frozen=True)
class Operation:
    """From `start` to `end` by one clock. A read returned `new`; a write found `old` and put `new`; one that was
    `refused` found something else than `old`."""

    kind: str
    old: Any
    new: Any
    start: float
    end: float

    @property
    def optional(self) -> bool:
        return self.end == FOREVER

    def allowed(self, value: Any) -> tuple[bool, Any]:
        """Whether it can be done on a register that holds `value`, and what that holds then."""
        if self.kind == "read":
            return self.new == value, value
        if self.kind == "refused":
            return self.old != value, value
        return self.old == value, self.new


def linearizable(history: list[Operation], first: Any = None) -> bool:
    """Whether there is an order of `history` that one register holding `first` explains."""
    seen: set[tuple[frozenset[int], Any]] = set()
    todo: list[tuple[frozenset[int], Any]] = [(frozenset(range(len(history))), first)]
    while todo:
        left, value = todo.pop()
        if all(history[place].optional for place in left):
            return True
        if (left, value) in seen:
            continue
        seen.add((left, value))
        horizon = min(history[place].end for place in left)
        for place in left:
            if history[place].start <= horizon:
                fits, after = history[place].allowed(value)
                if fits:
                    todo.append((left - {place}, after))
    return False


class Recorder:
    """A history as several threads make it."""

    def __init__(self) -> None:
        self.history: list[Operation] = []
        self._lock = threading.Lock()

    def note(self, kind: str, old: Any, new: Any, start: float, end: float | None = None) -> None:
        """Add an operation that began at `start` and ended at `end`, or now."""
        done = Operation(kind, old, new, start, time.monotonic() if end is None else end)
        with self._lock:
            self.history.append(done)
