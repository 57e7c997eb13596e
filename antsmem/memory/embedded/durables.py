"""The durable store without a server: one SQLite file, in which rows, counters and outbox change together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from antsmem.core.errors import UsageError
from antsmem.memory.embedded.place import folder_of, open_database, our_errors, transaction
from antsmem.memory.embedded.wire import record_from_bytes, record_to_bytes
from antsmem.memory.roles import Change, LogRecord, Row, VersionConflict

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (stream TEXT, key TEXT, version INTEGER, value BLOB,
  PRIMARY KEY (stream, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (stream TEXT PRIMARY KEY, sequence INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (stream TEXT, sequence INTEGER, record BLOB,
  PRIMARY KEY (stream, sequence)) WITHOUT ROWID;
"""


class FileDurable:
    """A folder with `durable.db`. Processes of one machine may share it."""

    def __init__(self, root: Path) -> None:
        self._path = root / "durable.db"
        self._db = open_database(self._path, _SCHEMA)

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The store in the folder that `url` names; it need not exist. No options."""
        return cls(folder_of(url, options))

    def create(self) -> None:
        """Nothing to do: opening makes it."""

    def get(self, stream: str, key: str) -> Row | None:
        """The row, or None."""
        with our_errors(self._path):
            found = self._db.execute(
                "SELECT version, value FROM rows WHERE stream = ? AND key = ?", (stream, key)
            ).fetchone()
        return Row(*found) if found else None

    def rows(self, stream: str, after_key: str, limit: int) -> list[tuple[str, Row]]:
        """Rows by key, see `DurableStore.rows`."""
        with our_errors(self._path):
            found = self._db.execute(
                "SELECT key, version, value FROM rows WHERE stream = ? AND key > ? ORDER BY key LIMIT ?",
                (stream, after_key, limit),
            ).fetchall()
        return [(key, Row(version, value)) for key, version, value in found]

    def commit(self, stream: str, changes: Sequence[Change], outbox: Sequence[LogRecord]) -> int:
        """One transaction, see `DurableStore.commit`."""
        if not outbox:
            raise UsageError("a commit without a record would have no version of its own")
        with transaction(self._db, self._path) as db:
            before = self.sequence(stream)
            after = before + len(outbox)
            for change in changes:
                self._apply(stream, change, after)
            db.executemany(
                "INSERT INTO outbox VALUES (?, ?, ?)",
                [(stream, before + n, record_to_bytes(record)) for n, record in enumerate(outbox, 1)],
            )
            db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (stream, after))
        return after

    def _apply(self, stream: str, change: Change, version: int) -> None:
        if change.expected is not None:
            row = self.get(stream, change.key)
            current = row.version if row else 0
            if current != change.expected:
                raise VersionConflict(change.key, current)
        if change.value is None:
            self._db.execute("DELETE FROM rows WHERE stream = ? AND key = ?", (stream, change.key))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", (stream, change.key, version, change.value)
            )

    def sequence(self, stream: str) -> int:
        """The sequence of the newest commit."""
        with our_errors(self._path):
            found = self._db.execute("SELECT sequence FROM counters WHERE stream = ?", (stream,)).fetchone()
        return int(found[0]) if found else 0

    def pending(self, stream: str, limit: int) -> list[tuple[int, LogRecord]]:
        """What waits for the relay, see `DurableStore.pending`."""
        with our_errors(self._path):
            found = self._db.execute(
                "SELECT sequence, record FROM outbox WHERE stream = ? ORDER BY sequence LIMIT ?", (stream, limit)
            ).fetchall()
        return [(sequence, record_from_bytes(stream, data)) for sequence, data in found]

    def relayed(self, stream: str, through: int) -> None:
        """Forget what was relayed."""
        with transaction(self._db, self._path) as db:
            db.execute("DELETE FROM outbox WHERE stream = ? AND sequence <= ?", (stream, through))

    def close(self) -> None:
        """Close the database."""
        self._db.close()
