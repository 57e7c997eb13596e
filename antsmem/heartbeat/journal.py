"""The journal: what was started and what became of it, in lines that are only ever appended.

    journal/2026-11.jsonl    one file a month, begun with all of the month before that still counts
    locks/journal.lock       held while one process looks and appends: shortly
    index                    a cache of the newest month, see `index.py`

Any number of processes read without a lock. Who wants to append holds the lock, sees all that is there, decides,
and appends: `with journal.deciding(now_ns): …`. Format: docs/spec/journal-v1.md.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from antsmem.core.clock import utc_text
from antsmem.core.disk import append_file, disk_error, locked, make_private_dir, write_file
from antsmem.core.errors import AntsmemError, LockedError
from antsmem.core.record import record
from antsmem.heartbeat.fold import SETTLED, Fold, Mark
from antsmem.heartbeat.index import load_index, save_index
from antsmem.heartbeat.line import FIRST, MAX_LINE_BYTES, Entry, decode, encode, fact_body, mark_body
from antsmem.heartbeat.schedule import ONCE

SCHEMA: Final = "antsmem.journal/1"
_MONTH: Final = re.compile(r"\d{4}-\d{2}\.jsonl")
_WAIT_SECONDS: Final = 20.0
_INDEX_BYTES: Final = 64 << 10
_PART_BYTES: Final = 1 << 20


@record
class Places:
    """Where the work of one agent is kept: everything below `root`, but for the cache `index`."""

    root: Path
    index: Path

    @property
    def months(self) -> Path:
        """The directory of the journal's files."""
        return self.root / "journal"

    @property
    def runs(self) -> Path:
        """The directory of outputs, one directory a run."""
        return self.root / "runs"

    @property
    def locks(self) -> Path:
        """The directory of run locks."""
        return self.root / "locks"


@record
class Health:
    """How sound the newest month is: `bad` lines do not verify, `missing` records are known to be gone."""

    records: int
    bad: int
    missing: int


class Journal:
    """The journal at `places`, read as far as it is there. Nothing is made before something is appended."""

    def __init__(self, places: Places, born: Callable[[str], None] = lambda _name: None) -> None:
        """`born` is told the name of a journal that begins, before it does."""
        self.places = places
        self.sealed = ""
        """What was closed at the end of the journal by this run: `torn` (a record cut short) or `damage`."""
        self._fold = Fold()
        self._born = born
        self._month = ""
        self._rest = b""
        self._held = False
        self._cached = 0
        self.refresh()

    @property
    def name(self) -> str:
        """The random name of this journal, the same in all its copies; empty before the first record."""
        return self._fold.name

    @property
    def number(self) -> int:
        """The number of the last record."""
        return self._fold.number

    @property
    def open(self) -> Mapping[str, str]:
        """The state of every key that is not settled."""
        return self._fold.open

    @property
    def retired(self) -> bool:
        """Whether it ends with the word of a host that starts nothing any more."""
        last = decode(self._fold.last) if self._fold.last and not self._fold.trailing else None
        return last is not None and last.kind == "retire"

    @property
    def doubt(self) -> bool:
        """Whether another host may have done things that no record here tells of."""
        return self._fold.doubt

    @property
    def health(self) -> Health:
        """What is damaged."""
        missing = sum(count for _, count, _ in self._fold.gaps)
        return Health(self._fold.number, len(self._fold.bad), missing)

    def last(self, key: str) -> Entry | None:
        """The last record of `key`."""
        known = self._fold.place(key)
        if known is None:
            return None
        entry = self._entry(known[0])
        if entry is None or (entry.key, entry.number) != (key, known[1]):  # cache or disk are not what they were
            self._start_over()
            known = self._fold.place(key)
            entry = None if known is None else self._entry(known[0])
        return entry

    def fact(self, name: str) -> Any:
        """The last value given to the fact `name`; None before."""
        place = self._fold.facts.get(name)
        entry = None if place is None else self._entry(place)
        return None if entry is None else entry.body.get("value")

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of all facts."""
        return tuple(self._fold.facts)

    @property
    def marked(self) -> Mapping[str, object]:
        """The tasks of which any slot was ever planned."""
        return self._fold.marks

    def mark(self, task: str) -> Mark:
        """The newest slot of `task` that was ever planned, and its failures since it last succeeded."""
        return self._fold.mark(task)

    def hides(self, key: str) -> str:
        """What may hide that `key` was started since its last record: `damage`, `take-over`, or nothing."""
        return self._fold.hides(key)

    def refresh(self) -> None:
        """See what others have appended."""
        month = self._newest()
        if month != self._month:
            self._month, self._rest = month, b""
            self._fold, self._cached = Fold(), 0
            if month:
                self._fold = load_index(self.places.index, self._path) or Fold()
                self._cached = self._fold.size
        if not month:
            return
        self._rest = self._read()
        if self._fold.size - self._cached > _INDEX_BYTES:
            with suppress(AntsmemError):
                save_index(self.places.index, self._path, self._fold)
            self._cached = self._fold.size

    def untold(self) -> list[Entry]:
        """The records of which the daily log has still to be told, oldest first."""
        found = (self._entry(place) for place, _ in sorted(self._fold.untold.values()))
        return [entry for entry in found if entry is not None and entry.text("tell")]

    def entries(self, key: str | None = None, *, carried: bool = False) -> Iterator[Entry]:
        """All records that are there, in all months, oldest first; those of `key` alone. `carried`: those too that
        a month took over from the one before."""
        for name in self._months():
            with open(self.places.months / name, "rb") as lines:
                while line := lines.readline(MAX_LINE_BYTES):
                    entry = decode(line.removesuffix(b"\n"), quick=True)
                    if entry is None or (entry.body.get("carried_from") and not carried):
                        continue
                    if key is None or entry.key == key:
                        yield entry

    @contextmanager
    def deciding(self, now_ns: int) -> Iterator[None]:
        """Hold the journal's lock, with all that is there read and its end closed. Waits up to 20 s for others."""
        make_private_dir(self.places.months)
        with ExitStack() as stack:
            until = time.monotonic() + _WAIT_SECONDS
            while True:
                try:
                    stack.enter_context(locked(self.places.locks / "journal.lock", "the journal is being written"))
                    break
                except LockedError:
                    if time.monotonic() > until:
                        raise
                time.sleep(0.005)
            self._held = True
            try:
                self.refresh()
                self._close_end(now_ns)
                yield
            finally:
                self._held = False

    def append(self, now_ns: int, *bodies: Mapping[str, Any]) -> Entry:
        """Append records in one write, durable when this returns; the last one. Only inside `deciding`.

        Each body has `kind` and what belongs to it. `DiskError` where the disk is full: nothing of it counts then.
        """
        assert self._held
        month = f"{utc_text(now_ns)[:7]}.jsonl"
        if month > self._month:
            self._begin(month, now_ns)
        data, number, prev = [], self._fold.number, self._fold.head
        for body in bodies:
            number += 1
            data.append(encode({**body, "number": number, "prev": prev, "at": utc_text(now_ns)}))
            prev = _digest(data[-1])
        self._write(b"".join(data))
        entry = decode(data[-1][:-1])
        assert entry is not None
        return entry

    @property
    def _path(self) -> Path:
        return self.places.months / self._month

    def _months(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.places.months) if _MONTH.fullmatch(name))
        except FileNotFoundError:
            return []

    def _newest(self) -> str:
        return max(self._months(), default="")

    def _read(self) -> bytes:
        """Take in what is there; what follows the last line feed is given back."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise disk_error("read", self._path, error) from error
        try:
            if not self._fold.stands_in(fd):  # cut short behind our back: a write that did not fit was taken back
                self._fold, self._cached = Fold(), 0
            rest, at = b"", self._fold.size
            while part := os.pread(fd, _PART_BYTES, at):
                at += len(part)
                rest = self._fold.feed(rest + part)
                if len(rest) > MAX_LINE_BYTES:  # no line of ours: never more in memory than that
                    rest = self._fold.skip(rest)
            return rest
        except OSError as error:
            raise disk_error("read", self._path, error) from error
        finally:
            os.close(fd)

    def _entry(self, place: int) -> Entry | None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                return decode(os.pread(fd, MAX_LINE_BYTES, place).partition(b"\n")[0])
            finally:
                os.close(fd)
        except OSError as error:
            raise disk_error("read", self._path, error) from error

    def _start_over(self) -> None:
        """Read the whole month again."""
        with suppress(OSError):
            os.unlink(self.places.index)
        self._month = ""
        self.refresh()

    def _close_end(self, now_ns: int) -> None:
        """Close an end that is no line feed, and number the records that bad lines at the end may have held."""
        rest = self._rest
        if not rest and not self._fold.trailing:
            return
        if decode(rest) is not None:
            self._write(b"\n")
        elif decode(rest[:-1]) is not None:  # its line feed alone is damaged
            self._write(b"\n" + rest[:-1] + b"\n")
        else:
            self.sealed = "damage" if self._fold.trailing else "torn"
            number = self._fold.number + self._fold.trailing + 1
            body = {"kind": "seal", "what": self.sealed, "number": number, "prev": self._fold.head}
            self._write((b"\n" if rest else b"") + encode({**body, "at": utc_text(now_ns)}))

    def _write(self, data: bytes) -> None:
        try:
            append_file(self._path, data)
        finally:
            self._rest = self._read()

    def _begin(self, month: str, now_ns: int) -> None:
        """Begin `month` with all that still counts, and go on in it."""
        carried = list(self._carried())
        before = self._fold
        name, number, prev = before.name or os.urandom(16).hex(), before.number, before.head or FIRST
        if not number:
            self._born(name)
        gaps = [[first, count, True] for first, count, whole in before.gaps if whole]
        header = {"kind": "month", "schema": SCHEMA, "journal": name, "carried": len(carried), "gaps": gaps[-64:]}
        header |= {"doubt": True} if before.doubt else {}
        data = []
        for body in ({**header}, *carried):
            number += 1
            data.append(encode({**body, "number": number, "prev": prev, "at": utc_text(now_ns)}))
            prev = _digest(data[-1])
        write_file(self.places.months / month, data, new=True)
        self.refresh()

    def _carried(self) -> Iterator[Mapping[str, Any]]:
        """What a new month takes over: keys that are open or belong to no slot, marks, facts; and that what
        happens once is over, which damage, of then or to come, would hide."""
        self._fold.unpack()
        for key in list(self._fold.keys):
            entry = self.last(key)
            if entry is None:
                continue
            body = {**entry.body, "carried_from": entry.number}
            if entry.state in SETTLED and entry.text("task") and key not in self._fold.untold:
                if not key.endswith(ONCE):
                    continue
                body.pop("tell", None)
            if entry.state not in SETTLED and (why := self.hides(key)):
                body |= {"state": "UNKNOWN", "why": why}
            yield body
        for task, (slot, failures) in self._fold.marks.items():
            yield mark_body(task, slot, failures)
        for fact, place in self._fold.facts.items():
            entry = self._entry(place)
            if entry is not None and entry.body.get("value") is not None:
                yield fact_body(fact, entry.body.get("value"))


def _digest(line: bytes) -> str:
    import hashlib

    return hashlib.sha256(line[:-1]).hexdigest()
