"""The event log without a server: records in segment files, and a SQLite catalogue that says where each one is.

The catalogue's commit is what makes a record part of the log: bytes behind the last catalogued one are those of a
run that died, and are never read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from antsmem.core.disk import append_file, disk_error, write_file
from antsmem.core.errors import IntegrityError, naming
from antsmem.memory.embedded.place import aside, folder_of, open_database, our_errors, transaction
from antsmem.memory.embedded.wire import record_from_bytes, record_to_bytes
from antsmem.memory.roles import LogRecord

SEGMENT_BYTES: Final = 64 << 20
_POLL_SECONDS: Final = 0.02
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (stream TEXT, number INTEGER, segment INTEGER, start INTEGER, size INTEGER,
  PRIMARY KEY (stream, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (segment INTEGER PRIMARY KEY, size INTEGER);
"""


class FileLog:
    """A folder with `log.db` and `log-<number>.seg`. A position is the number of a record in its stream."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "log.db"
        self._db = open_database(self._path, _SCHEMA)

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The log in the folder that `url` names; it need not exist. No options."""
        return cls(folder_of(url, options))

    def create(self) -> None:
        """Nothing to do: opening makes it."""

    def append(self, records: Sequence[LogRecord]) -> None:
        """Append `records`, see `EventLog.append`."""
        if not records:
            return
        with transaction(self._db, self._path) as db:
            segment, start = self._place()
            numbers: dict[str, int] = {}
            rows, parts, place = [], [], start
            for record in records:
                number = numbers.get(record.stream) or self._last(record.stream)
                numbers[record.stream] = number + 1
                part = record_to_bytes(record)
                rows.append((record.stream, number + 1, segment, place, len(part)))
                parts.append(part)
                place += len(part)
            append_file(self._segment(segment), b"".join(parts))
            db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
            db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (segment, place))

    def _place(self) -> tuple[int, int]:
        """The segment to write to and its size: a new one where the last is full, or longer than catalogued."""
        found = self._db.execute("SELECT segment, size FROM segments ORDER BY segment DESC LIMIT 1").fetchone()
        segment, size = found or (0, SEGMENT_BYTES)
        last = self._segment(segment)
        if size < SEGMENT_BYTES and last.exists() and last.stat().st_size == size:
            return segment, size
        while True:
            segment += 1
            if not self._segment(segment).exists():
                write_file(self._segment(segment), [], new=True)
                return segment, 0

    def _last(self, stream: str) -> int:
        found = self._db.execute("SELECT max(number) FROM records WHERE stream = ?", (stream,)).fetchone()
        return found[0] or 0

    def read(self, stream: str, after: str | None, limit: int) -> list[tuple[str, LogRecord]]:
        """Records behind a position, see `EventLog.read`."""
        with our_errors(self._path):
            rows = self._db.execute(
                "SELECT number, segment, start, size FROM records WHERE stream = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (stream, int(after or 0), limit),
            ).fetchall()
        found, opened, fd = [], -1, -1
        try:
            for number, segment, start, size in rows:
                if segment != opened:
                    if fd >= 0:
                        os.close(fd)
                    fd, opened = self._open(segment), segment
                data = os.pread(fd, size, start)
                if len(data) != size:
                    raise IntegrityError(
                        f"`{self._segment(segment)}` is shorter than its catalogue says", hint=aside(self._path)
                    )
                with naming(f"`{self._segment(segment)}`, byte {start}", aside(self._path)):
                    found.append((str(number), record_from_bytes(stream, data)))
        finally:
            if fd >= 0:
                os.close(fd)
        return found

    def tail(self, stream: str, after: str | None, timeout_seconds: float) -> list[tuple[str, LogRecord]]:
        """Records, waited for, see `EventLog.tail`."""
        deadline = time.monotonic() + timeout_seconds
        while not (found := self.read(stream, after, 1000)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return found

    def close(self) -> None:
        """Close the catalogue."""
        self._db.close()

    def _segment(self, number: int) -> Path:
        return self._root / f"log-{number:08d}.seg"

    def _open(self, segment: int) -> int:
        path = self._segment(segment)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise IntegrityError(f"segment `{path}` of the log is gone", hint=aside(self._path)) from None
        except OSError as error:
            raise disk_error("read", path, error) from error
