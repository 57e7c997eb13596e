"""What the lines of one month say together: the last record of every key, and what damage may hide.

A line that does not verify is passed over, never repaired. Records are numbered, so the gap that it leaves tells
how many are missing. A start is always two records (planned, started), so one missing record can hide the start of
a key that is known, but not that of a key that is not.
"""

from __future__ import annotations

import hashlib
import marshal
import os
from typing import Any, Final

from antsmem.core.record import field, mutable_record
from antsmem.heartbeat.line import Entry, decode

SETTLED: Final = frozenset({"DONE", "SKIPPED"})
"""States that stay."""


@mutable_record
class Mark:
    """Of a task: the newest slot that was ever planned, and how often it failed since it last succeeded."""

    slot: str = ""
    failures: int = 0


@mutable_record
class Fold:
    """The state after `size` bytes of a month.

    `keys` gives for each key the place of its last line and its record's number, but for those that are still
    `packed`, as the cache had them: see `place`. `open` are the states that are not settled; `facts` the places of
    their last lines; `untold` place and number of the newest record of each key of which the daily log has still
    to be told. `head` is the SHA-256 of the last good line, `last` that line; `carried` the last number that was
    taken over from the month before.

    `gaps` are missing records: first number, how many, and whether even a key that no record names may have been
    started in them. `doubt`: this is a copy that ends earlier than what was done. `bad` are the places of bad
    lines, `trailing` how many records may be in those at the end.
    """

    size: int = 0
    number: int = 0
    head: str = ""
    last: bytes = b""
    name: str = ""
    carried: int = 0
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    untold: dict[str, tuple[int, int]] = field(default_factory=dict)
    gaps: list[tuple[int, int, bool]] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    trailing: int = 0
    doubt: bool = False
    packed: bytes = b""

    def place(self, key: str) -> tuple[int, int] | None:
        """Where the last line of `key` stands, and its record's number."""
        if self.packed and key not in self.keys:
            self.unpack()
        return self.keys.get(key)

    def unpack(self) -> None:
        """Have all of `keys`. There may be thousands, and a wake with nothing to do asks for none."""
        if self.packed:
            self.keys, self.packed = {**marshal.loads(self.packed), **self.keys}, b""  # noqa: S302 - see `index.py`

    def feed(self, data: bytes) -> bytes:
        """Take in `data`, which follows what is known; what stands behind its last line feed is given back."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._line(data[start:end])
            self.size += end + 1 - start
            start = end + 1
        return data[start:]

    def skip(self, data: bytes) -> bytes:
        """Pass over `data`, the beginning of something too long for a line, but for its last byte."""
        self.bad.append(self.size)
        self.trailing += 1
        self.size += len(data) - 1
        return data[-1:]

    def stands_in(self, fd: int) -> bool:
        """Whether the open file `fd` still has the last line where it was seen."""
        if not self.last:
            return os.fstat(fd).st_size >= self.size
        if self.trailing:
            return False  # read again what is at the end: it may have been closed in the meantime
        wanted = self.last + b"\n"
        return os.pread(fd, len(wanted), self.size - len(wanted)) == wanted

    def mark(self, task: str) -> Mark:
        """What is known of `task`."""
        return Mark(*self.marks.get(task, ("", 0)))

    def hides(self, key: str) -> str:
        """What may hide that `key` was started since its last record: `damage`, or a `take-over` from a host that
        went on; empty if nothing does."""
        if not self.trailing and not self.gaps:
            return ""
        since = (self.place(key) or (0, 0))[1]
        if self.trailing > (0 if since else 1):
            return "damage"
        found = [gap for gap in self.gaps if gap[0] > since and (gap[2] or since > 0)]
        if not found:
            return ""
        return "damage" if any(count or whole for _, count, whole in found) else "take-over"

    def _line(self, line: bytes) -> None:
        entry = decode(line, quick=True) if line else None
        if entry is None:
            if line:
                self.bad.append(self.size)
                self.trailing += max(1, line.count(b'"kind":"'))
            return
        if not self.number:
            self._first(entry)
        missing = entry.number - self.number - 1
        prev = entry.body["prev"]
        if missing > 0:
            self._gap(self.number + 1, missing, missing > 1 or self.number < self.carried)
        elif missing < 0 or prev != self.head:
            self._gap(entry.number, 0, True)  # not what followed here: another history
        self.number = max(self.number, entry.number)
        self.last, self.head = line, hashlib.sha256(line).hexdigest()
        self.trailing = 0
        self._take(entry)

    def _first(self, entry: Entry) -> None:
        """The first good line of the month: the header, or what is left without it."""
        if entry.kind == "month":
            self.name, self.carried = entry.text("journal"), entry.number + entry.count("carried")
            self.number, self.head = entry.number - 1, entry.text("prev")
            self.doubt = entry.body.get("doubt") is True
            self.gaps += [gap for gap in map(_gap_of, _list(entry.body.get("gaps"))) if gap]
            return
        self.number, self.head = entry.number - 1, entry.text("prev")
        self._gap(max(1, entry.number - 1), 1, True)

    def _gap(self, first: int, count: int, whole: bool) -> None:
        self.gaps.append((first, count, whole))

    def _take(self, entry: Entry) -> None:
        if entry.kind == "state" and entry.key:
            self._state(entry)
        elif entry.kind == "fact" and entry.text("fact"):
            self.facts[entry.text("fact")] = self.size
        elif entry.kind == "told" and entry.key:
            if self.untold.get(entry.key, (0, 0))[1] <= entry.count("told"):
                self.untold.pop(entry.key, None)
        elif entry.kind == "take-over" and entry.body.get("doubt") is not False:
            self._gap(entry.number, 0, False)  # another host may have gone on with what was open
            self.doubt = True
        elif entry.kind == "mark" and entry.text("task"):
            self.marks[entry.text("task")] = (entry.text("slot"), entry.count("failures"))

    def _state(self, entry: Entry) -> None:
        key, state, task = entry.key, entry.state, entry.text("task")
        self.keys[key] = (self.size, entry.number)
        if state in SETTLED:
            self.open.pop(key, None)
        else:
            self.open[key] = state
        if entry.text("tell"):
            self.untold[key] = (self.size, entry.number)
        if task:
            slot, failures = self.marks.get(task, ("", 0))
            failures = 0 if state == "DONE" else failures + (state in {"FAILED", "UNKNOWN"})
            self.marks[task] = (max(slot, entry.text("slot")), failures)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _gap_of(value: Any) -> tuple[int, int, bool] | None:
    match value:
        case [int(first), int(count), bool(whole)]:
            return first, count, whole
    return None
