"""What is known of events and files, in one SQLite file: made again from the device log whenever it is lost.

`events` says where each event is, `revisions` what it did to which file, `held` keeps what came too early, `known`
is how every file stood when it was last looked at, `dirty` which paths have news that the workspace lacks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from antsmem.core.disk import make_private_dir
from antsmem.core.record import record, replace
from antsmem.memory.clocks import START
from antsmem.memory.embedded.place import our_errors
from antsmem.memory.event import FIRST, Event
from antsmem.memory.eventfiles import Spot
from antsmem.memory.kinds import revision_beside

VERSION: Final = "2"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (device TEXT, sequence INTEGER, id TEXT, hash TEXT, clock TEXT, type TEXT,
  signer BLOB, segment INTEGER, start INTEGER, size INTEGER, PRIMARY KEY (device, sequence)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_id ON events (id);
CREATE TABLE IF NOT EXISTS seen (device TEXT, other TEXT, sequence INTEGER,
  PRIMARY KEY (device, other)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revisions (id TEXT PRIMARY KEY, path TEXT, device TEXT, sequence INTEGER, clock TEXT,
  sha256 TEXT, size INTEGER, executable INTEGER, bases TEXT, blob TEXT, shredded INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_path ON revisions (path);
CREATE TABLE IF NOT EXISTS held (device TEXT, sequence INTEGER, line BLOB,
  PRIMARY KEY (device, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (path TEXT PRIMARY KEY, sha256 TEXT, size INTEGER, mtime INTEGER, inode INTEGER,
  executable INTEGER, heads TEXT, origin TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS beside ON known (origin) WHERE origin != '';
CREATE TABLE IF NOT EXISTS dirty (path TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@record
class Head:
    """The newest event of a device."""

    sequence: int
    hash: str
    signer: bytes


@record
class Known:
    """How the file at `path` stood when it was last looked at: its content came from the revisions `heads`.
    `origin` is the path whose other version it is, empty for a file of its own."""

    path: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int
    executable: bool
    heads: tuple[str, ...]
    origin: str = ""


@record
class Past:
    """A revision as the history knows it. `shredded`: its content is destroyed; `sha256` empty: a deletion."""

    id: str
    path: str
    device: str
    sequence: int
    clock: str
    sha256: str
    size_bytes: int
    executable: bool
    bases: tuple[str, ...]
    blob: str
    shredded: bool


NOTHING: Final = Head(0, FIRST, b"")


class Index:
    """The index at `path`; it is made if it is missing or damaged, and gets what an older version lacks."""

    def __init__(self, path: Path) -> None:
        make_private_dir(path.parent)
        self._path = path
        try:
            self._db = self._opened()
        except sqlite3.DatabaseError:
            for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                each.unlink(missing_ok=True)
            with our_errors(path):
                self._db = self._opened()

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")  # made again if it is lost
        if db.execute("PRAGMA user_version").fetchone()[0] != int(VERSION):
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version={VERSION}")
        return db

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All that is changed in the block is changed together; may be nested."""
        if self._db.in_transaction:
            yield
            return
        with our_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def meta(self, name: str) -> str:
        """A remembered text; empty if there is none."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def remember(self, name: str, value: str) -> None:
        """Remember a text under `name`."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def forget_device(self, device: str) -> None:
        """Forget where the events of `device` are, and what followed from them; but not what is destroyed, which
        another device may have said."""
        with self.changing():
            self._db.execute("DELETE FROM revisions WHERE device = ? AND NOT shredded", (device,))
            self._db.execute("DELETE FROM events WHERE device = ?", (device,))
            self._db.execute("DELETE FROM seen WHERE device = ?", (device,))
            self._db.execute("DELETE FROM held WHERE device = ? AND substr(line, 1, 1) <> x'7b'", (device,))

    # events

    def heads(self) -> dict[str, Head]:
        """Device → its newest event."""
        rows = self._db.execute(  # from one device to the next by the key, not through all events
            "WITH RECURSIVE each (device) AS (SELECT min(device) FROM events UNION ALL SELECT "
            "(SELECT min(device) FROM events WHERE device > each.device) FROM each WHERE device IS NOT NULL) "
            "SELECT e.device, e.sequence, e.hash, e.signer FROM each JOIN events e ON e.device = each.device "
            "AND e.sequence = (SELECT max(sequence) FROM events WHERE device = each.device)"
        )
        return {device: Head(sequence, digest, signer) for device, sequence, digest, signer in rows}

    def hash_of(self, device: str, sequence: int) -> str:
        """The hash of an event; empty if it is not known."""
        row = self._db.execute(
            "SELECT hash FROM events WHERE device = ? AND sequence = ?", (device, sequence)
        ).fetchone()
        return str(row[0]) if row else ""

    def latest_clock(self, limit: str) -> str:
        """The highest clock of all events up to `limit`; `START` if there is none."""
        row = self._db.execute("SELECT max(clock) FROM events WHERE clock <= ?", (limit,)).fetchone()
        return str(row[0] or START)

    def add_event(self, event: Event, digest: str, signer: bytes, spot: Spot) -> None:
        """Enter an event that counts, its hash, who signed it, and where it is."""
        self._db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(event.device, event.sequence, event.id, digest, event.clock, event.type, signer),
                *(spot.segment, spot.start, spot.size),
            ),
        )
        for parent in event.parents:
            self._db.execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, max(?, coalesce("
                "(SELECT sequence FROM seen WHERE device = ? AND other = ?), 0)))",
                (event.device, parent.device, parent.sequence, event.device, parent.device),
            )

    def seen(self, device: str) -> dict[str, int]:
        """What `device` has told to have seen: device → sequence."""
        rows = self._db.execute("SELECT other, sequence FROM seen WHERE device = ?", (device,))
        return dict(rows.fetchall())

    def spots(self, device: str, after: int, limit: int) -> list[tuple[int, Spot]]:
        """Where the events of `device` behind number `after` are."""
        rows = self._db.execute(
            "SELECT sequence, segment, start, size FROM events WHERE device = ? AND sequence > ? "
            "ORDER BY sequence LIMIT ?",
            (device, after, limit),
        )
        return [(row[0], Spot(*row[1:])) for row in rows]

    def spot(self, event_id: str) -> tuple[str, int, Spot] | None:
        """Device, number and place of the event `event_id`."""
        row = self._db.execute(
            "SELECT device, sequence, segment, start, size FROM events WHERE id = ?", (event_id,)
        ).fetchone()
        return (row[0], row[1], Spot(*row[2:])) if row else None

    def by_clock(self, last: int) -> list[tuple[str, Spot]]:
        """The `last` newest events, oldest first."""
        rows = self._db.execute(
            "SELECT device, segment, start, size FROM events ORDER BY clock DESC, id DESC LIMIT ?", (last,)
        ).fetchall()
        return [(row[0], Spot(*row[1:])) for row in reversed(rows)]

    # held

    def hold(self, device: str, sequence: int, line: bytes) -> None:
        """Keep the line of an event that came early, or its place in the device log: segment, start, size."""
        self._db.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", (device, sequence, line))

    def held(self) -> list[tuple[str, int, bytes]]:
        """Device, number and line (or place) of every event that is held."""
        return self._db.execute("SELECT device, sequence, line FROM held ORDER BY device, sequence").fetchall()

    def release(self, device: str, sequence: int) -> None:
        """Hold an event no longer."""
        self._db.execute("DELETE FROM held WHERE device = ? AND sequence = ?", (device, sequence))

    # revisions

    def add_revision(self, past: Past) -> None:
        """Enter a revision; its path has news."""
        self._db.execute(
            "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(past.id, past.path, past.device, past.sequence, past.clock, past.sha256, past.size_bytes),
                *(int(past.executable), json.dumps(past.bases), past.blob, int(past.shredded)),
            ),
        )
        self._db.execute("INSERT OR IGNORE INTO dirty VALUES (?)", (past.path,))
        parts = past.path.split("/")
        for count in range(1, len(parts)):  # a file of such a name gives way, see `outcome`
            self._db.execute(
                "INSERT OR IGNORE INTO dirty SELECT path FROM revisions WHERE path = ?", ("/".join(parts[:count]),)
            )
        if ending := revision_beside(past.path):  # what stood there gives way, or comes back
            self._db.execute(
                "INSERT OR IGNORE INTO dirty SELECT path FROM revisions WHERE substr(id, -10) = ?", (ending,)
            )

    def history(self, path: str) -> dict[str, Past]:
        """Every revision of `path` by its id."""
        rows = self._db.execute("SELECT * FROM revisions WHERE path = ?", (path,))
        return {row[0]: _past(row) for row in rows}

    def revision(self, event_id: str) -> Past | None:
        """The revision that the event `event_id` made, or None."""
        row = self._db.execute("SELECT * FROM revisions WHERE id = ?", (event_id,)).fetchone()
        return _past(row) if row else None

    def revisions_after(self, device: str, sequence: int) -> list[Past]:
        """What the events of `device` behind number `sequence` did to files, in order."""
        rows = self._db.execute(
            "SELECT * FROM revisions WHERE device = ? AND sequence > ? ORDER BY sequence", (device, sequence)
        )
        return [_past(row) for row in rows]

    def paths(self) -> list[str]:
        """Every path that ever had a revision."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT path FROM revisions")]

    def blobs(self) -> list[str]:
        """The digests of all blobs that hold the content of a revision."""
        rows = self._db.execute("SELECT DISTINCT blob FROM revisions WHERE blob != '' AND NOT shredded")
        return [row[0] for row in rows]

    def below(self, path: str) -> list[str]:
        """Every path that ever had a revision in the directory `path`."""
        rows = self._db.execute(
            "SELECT DISTINCT path FROM revisions WHERE path > ? AND path < ?", (f"{path}/", f"{path}0")
        )
        return [row[0] for row in rows]

    def move_spots(self, device: str, spots: Iterable[tuple[int, Spot]]) -> None:
        """The events of `device` (by number) stand elsewhere now."""
        moved = [(spot.segment, spot.start, spot.size, device, sequence) for sequence, spot in spots]
        self._db.executemany(
            "UPDATE events SET segment = ?, start = ?, size = ? WHERE device = ? AND sequence = ?", moved
        )
        self._db.executemany(
            "UPDATE held SET line = ? WHERE device = ? AND sequence = ? AND substr(line, 1, 1) <> x'7b'",
            [(b"%d %d %d" % row[:3], *row[3:]) for row in moved],
        )

    # the workspace

    def dirty(self) -> list[str]:
        """The paths of which there are news, in order."""
        return [row[0] for row in self._db.execute("SELECT path FROM dirty ORDER BY path")]

    def touch(self, path: str) -> None:
        """There are news of `path`."""
        self._db.execute("INSERT OR IGNORE INTO dirty VALUES (?)", (path,))

    def clean(self, path: str) -> None:
        """The workspace has the news of `path`."""
        self._db.execute("DELETE FROM dirty WHERE path = ?", (path,))

    def known(self) -> dict[str, Known]:
        """Every file as it was last seen, by path."""
        return {row[0]: _known(row) for row in self._db.execute("SELECT * FROM known")}

    def known_at(self, path: str) -> Known | None:
        """How the file at `path` was last seen, or None."""
        row = self._db.execute("SELECT * FROM known WHERE path = ?", (path,)).fetchone()
        return _known(row) if row else None

    def copies_of(self, path: str) -> list[Known]:
        """The other versions that stand beside `path`."""
        rows = self._db.execute("SELECT * FROM known WHERE origin = ? AND origin != ''", (path,))
        return [_known(row) for row in rows]

    def several(self) -> list[Known]:
        """The files that came from more than one revision, and the other versions beside files."""
        rows = self._db.execute("SELECT * FROM known WHERE origin != '' OR heads LIKE '%,%' ORDER BY path")
        return [_known(row) for row in rows]

    def know(self, items: Iterable[Known]) -> None:
        """Remember how files were seen."""
        self._db.executemany(
            "INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(item.path, item.sha256, item.size_bytes, item.mtime_ns, item.inode),
                    *(int(item.executable), json.dumps(item.heads), item.origin),
                )
                for item in items
            ],
        )

    def doubt(self, known: Known) -> None:
        """Remember, before the disk is touched, that another version may stand where `known` does: after a death
        nobody can tell from which of both an edit was made, so it has to supersede neither."""
        with our_errors(self._path):
            self._db.execute("PRAGMA synchronous=FULL")  # as durable as what is written next
            self.know([replace(known, mtime_ns=-1, heads=())])
            self._db.execute("PRAGMA synchronous=NORMAL")

    def unfounded(self) -> list[str]:
        """The files that came from a revision of which nothing is known any more."""
        ids = {row[0] for row in self._db.execute("SELECT id FROM revisions")}
        return [path for path, known in self.known().items() if not ids.issuperset(known.heads)]

    def unknow(self, paths: Sequence[str]) -> None:
        """Forget files that are not there any more."""
        self._db.executemany("DELETE FROM known WHERE path = ?", [(path,) for path in paths])


def _past(row: tuple[object, ...]) -> Past:
    values = list(row)
    values[7], values[8], values[10] = bool(row[7]), tuple(json.loads(str(row[8]))), bool(row[10])
    return Past(*values)  # type: ignore[arg-type]


def _known(row: tuple[object, ...]) -> Known:
    values = list(row)
    values[5], values[6] = bool(row[5]), tuple(json.loads(str(row[6])))
    return Known(*values)  # type: ignore[arg-type]
