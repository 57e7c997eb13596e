"""The directory without a server: leases in one SQLite file; what ended stays for its fence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from antsmem.core.clock import now_ns
from antsmem.memory.embedded.place import folder_of, open_database, our_errors, transaction
from antsmem.memory.roles import Lease

_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (name TEXT PRIMARY KEY, owner TEXT, fence INTEGER, expires_ns INTEGER,
  started_ns INTEGER) WITHOUT ROWID;
"""
_SECOND_NS = 1_000_000_000


class FileDirectory:
    """A folder with `directory.db`. `clock` tells nanoseconds since 1970."""

    def __init__(self, root: Path, clock: Callable[[], int] = now_ns) -> None:
        self._path = root / "directory.db"
        self._clock = clock
        self._db = open_database(self._path, _SCHEMA)

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The directory in the folder that `url` names; it need not exist. No options."""
        return cls(folder_of(url, options))

    def acquire(self, name: str, owner: str, lease_seconds: float) -> Lease | None:
        """The lease, see `Directory.acquire`."""
        with transaction(self._db, self._path):
            before, now = self._lease(name), self._clock()
            live = before is not None and before.expires_ns > now
            if before is not None and live and before.owner != owner:
                return None
            fence = before.fence + (0 if live else 1) if before else 1
            return self._keep(Lease(name, owner, fence, now + int(lease_seconds * _SECOND_NS)), now)

    def renew(self, lease: Lease) -> Lease | None:
        """The lease with a new end, see `Directory.renew`."""
        with transaction(self._db, self._path):
            before, now = self._lease(lease.name), self._clock()
            if before is None or before.fence != lease.fence or before.expires_ns <= now:
                return None
            length = before.expires_ns - self._started(lease.name)
            return self._keep(Lease(lease.name, lease.owner, lease.fence, now + length), now)

    def release(self, lease: Lease) -> None:
        """Give it back."""
        with transaction(self._db, self._path) as db:
            db.execute(
                "UPDATE leases SET expires_ns = 0 WHERE name = ? AND fence = ? AND owner = ?",
                (lease.name, lease.fence, lease.owner),
            )

    def owner(self, name: str) -> Lease | None:
        """Who owns `name` now."""
        with our_errors(self._path):
            lease = self._lease(name)
        return lease if lease is not None and lease.expires_ns > self._clock() else None

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _lease(self, name: str) -> Lease | None:
        found = self._db.execute(
            "SELECT name, owner, fence, expires_ns FROM leases WHERE name = ?", (name,)
        ).fetchone()
        return Lease(*found) if found else None

    def _started(self, name: str) -> int:
        return int(self._db.execute("SELECT started_ns FROM leases WHERE name = ?", (name,)).fetchone()[0])

    def _keep(self, lease: Lease, now: int) -> Lease:
        row = (lease.name, lease.owner, lease.fence, lease.expires_ns, now)
        self._db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", row)
        return lease
