"""What a relay keeps: agents with their logs and keys, handles, slots and inboxes, in one SQLite file.

Every change is one transaction, on disk before it is acknowledged (WAL, `synchronous=FULL`). Used nonces lie in a
file of their own, which need not wait for the disk: a machine that lost power is not back within their minute.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from antsmem.core.disk import make_private_dir
from antsmem.core.errors import DiskError, IntegrityError
from antsmem.core.record import field, record
from antsmem.identity.log import IdentityLog

MAX_AGENTS: Final = 20_000
MAX_ITEMS: Final = 1_000
MAX_FROM_ONE: Final = 100
"""Unread messages in one inbox: of everybody, and of one sender."""
MAX_INBOX_BYTES: Final = 16 << 20

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS agents (
    scid TEXT PRIMARY KEY, log BLOB NOT NULL, head TEXT NOT NULL, relays TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
    scid TEXT NOT NULL, key BLOB NOT NULL, revoked INTEGER NOT NULL, PRIMARY KEY (scid, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS handles (name TEXT PRIMARY KEY, scid TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS handles_of ON handles (scid);
CREATE TABLE IF NOT EXISTS slots (
    scid TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (scid, name)
) STRICT;
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT, scid TEXT NOT NULL, kind TEXT NOT NULL, sender TEXT NOT NULL,
    message TEXT NOT NULL, body BLOB NOT NULL, time TEXT NOT NULL, UNIQUE (scid, kind, sender, message)
) STRICT;
CREATE INDEX IF NOT EXISTS items_of ON items (scid, number);
"""
_NONCES: Final = "CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, until INTEGER) STRICT, WITHOUT ROWID"


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """The relay answers no: HTTP status, a code for programs, one line for people, and what else it tells."""

    def __init__(self, status: int, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more


@record
class Kept:
    """One agent as the relay has it."""

    scid: str
    head: str
    relays: tuple[str, ...]
    handles: tuple[str, ...]


@record
class Item:
    """One thing in an inbox."""

    kind: str
    sender: str
    message: str
    body: bytes = field(repr=False)
    time: str


class RelayStore:
    """The data in directory `folder`, made if missing. Safe for threads; one process at a time is the caller's
    care."""

    def __init__(self, folder: Path) -> None:
        make_private_dir(folder)
        self._turn = threading.Lock()
        self._nonce_turn = threading.Lock()
        try:
            self._db = _opened(folder / "relay.db", "FULL", _TABLES)
            self._nonces = _opened(folder / "nonces.db", "NORMAL", _NONCES)
        except sqlite3.DatabaseError as error:
            raise _trouble(error) from error

    def close(self) -> None:
        """End it. What was acknowledged is on disk already."""
        for db, turn in ((self._db, self._turn), (self._nonces, self._nonce_turn)):
            with turn, suppress(sqlite3.Error):
                db.close()

    def spend_nonce(self, nonce: str, now: int, until: int) -> bool:
        """Whether `nonce` is used for the first time; kept until second `until`."""
        try:
            with self._nonce_turn, self._nonces as db:
                db.execute("DELETE FROM nonces WHERE until < ?", (now,))
                return db.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, until)).rowcount == 1
        except sqlite3.DatabaseError as error:
            raise _trouble(error) from error

    def key_state(self, scid: str, public: bytes) -> bool | None:
        """Whether the key is revoked; None if the agent's log never named it. 404 for an agent that is not
        here."""
        with self._change() as db:
            row = db.execute("SELECT revoked FROM keys WHERE scid = ? AND key = ?", (scid, public)).fetchone()
            if row is None:
                _require(db, scid)
        return None if row is None else bool(row[0])

    def keep_log(self, log: IdentityLog, relays: Collection[str], names: Collection[str]) -> bool:
        """Take a verified log: new, or longer than the one here; whether anything changed. `names` are the handles
        that it claims here; those it gave up are free again, those of others stay theirs."""
        with self._change() as db:
            row = db.execute("SELECT log FROM agents WHERE scid = ?", (log.scid,)).fetchone()
            if row is None and db.execute("SELECT count(*) FROM agents").fetchone()[0] >= MAX_AGENTS:
                raise Refusal(507, "full", "this relay takes no more agents")
            if row is not None and row[0] == log.text:
                return False
            if row is not None and not log.text.startswith(row[0]):
                if row[0].startswith(log.text):
                    raise Refusal(409, "log-older", "a longer log is here")
                raise Refusal(409, "log-fork", "another log of this identity is here")
            db.execute(
                "INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?)",
                (log.scid, log.text, log.head, json.dumps(list(relays))),
            )
            db.executemany(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?)",
                [(log.scid, public, int(key.revoked)) for public, key in log.operational_keys.items()],
            )
            held = {name for (name,) in db.execute("SELECT name FROM handles WHERE scid = ?", (log.scid,))}
            db.executemany("DELETE FROM handles WHERE name = ?", [(name,) for name in held - set(names)])
            db.executemany("INSERT OR IGNORE INTO handles VALUES (?, ?)", [(name, log.scid) for name in names])
        return True

    def agent(self, scid: str) -> Kept:
        """What is known of an agent."""
        with self._change() as db:
            head, relays = _require(db, scid)
            names = db.execute("SELECT name FROM handles WHERE scid = ? ORDER BY name", (scid,)).fetchall()
        return Kept(scid, head, tuple(json.loads(relays)), tuple(name for (name,) in names))

    def knows(self, scid: str) -> bool:
        """Whether the agent is registered."""
        with self._change() as db:
            return db.execute("SELECT 1 FROM agents WHERE scid = ?", (scid,)).fetchone() is not None

    def log(self, scid: str) -> tuple[bytes, str]:
        """(log, its head)."""
        with self._change() as db:
            row = db.execute("SELECT log, head FROM agents WHERE scid = ?", (scid,)).fetchone()
        if row is None:
            raise _unknown()
        return row[0], row[1]

    def holder(self, name: str) -> str:
        """The SCID that has the handle `name`."""
        with self._change() as db:
            row = db.execute("SELECT scid FROM handles WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Refusal(404, "not-found", "nobody has this handle here")
        return str(row[0])

    def slot(self, scid: str, name: str) -> tuple[bytes, int] | None:
        """(bytes, version) of a slot."""
        with self._change() as db:
            row = db.execute(
                "SELECT data, version FROM slots WHERE scid = ? AND name = ?", (scid, name)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def put_slot(self, scid: str, name: str, data: bytes, expected: str | None) -> int:
        """Replace a slot whose bytes have the SHA-256 `expected` (hex; None: there are none); its new version."""
        with self._change() as db:
            row = db.execute(
                "SELECT data, version FROM slots WHERE scid = ? AND name = ?", (scid, name)
            ).fetchone()
            found = None if row is None else hashlib.sha256(row[0]).hexdigest()
            if found != expected:
                raise Refusal(412, "changed", "the slot holds something else", etag=found)
            version = 1 if row is None else int(row[1]) + 1
            db.execute("INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?)", (scid, name, version, data))
        return version

    def put_item(self, scid: str, item: Item) -> str:
        """Put something into an inbox; the time when it came. The same again is the same one."""
        with self._change() as db:
            _require(db, scid)
            row = db.execute(
                "SELECT body, time FROM items WHERE scid = ? AND kind = ? AND sender = ? AND message = ?",
                (scid, item.kind, item.sender, item.message),
            ).fetchone()
            if row is not None:
                if row[0] != item.body:
                    raise Refusal(409, "taken", "another message has this id")
                return str(row[1])
            _refuse_full(db, scid, item.sender)
            _insert(db, scid, item)
        return item.time

    def items(self, scid: str, after: int, most: int, size_bytes: int) -> list[tuple[int, Item]]:
        """(number, thing) of the oldest things in an inbox with a number above `after`: `most` at most, and
        together not much more than `size_bytes`."""
        found: list[tuple[int, Item]] = []
        with self._change() as db:
            query = """SELECT number, kind, sender, message, body, time FROM items
                       WHERE scid = ? AND number > ? ORDER BY number LIMIT ?"""
            for number, *row in db.execute(query, (scid, after, most)):
                found.append((number, Item(*row)))
                size_bytes -= len(row[3])
                if size_bytes <= 0:
                    break
        return found

    def settle(self, scid: str, gone: Collection[tuple[str, str, str]], told: Collection[tuple[str, Item]]) -> int:
        """Take items (kind, sender, message) off an inbox; those of `told` (scid, item) that answer one that was
        still there go into the inbox of that agent. How many went."""
        count = 0
        with self._change() as db:
            answers = {(to, item.message): item for to, item in told}
            for kind, sender, message in gone:
                done = db.execute(
                    "DELETE FROM items WHERE scid = ? AND kind = ? AND sender = ? AND message = ?",
                    (scid, kind, sender, message),
                ).rowcount
                count += done
                answer = answers.get((sender, message))
                if done and kind == "message" and answer is not None:
                    with suppress(
                        Refusal
                    ):  # an inbox that is full of unread words loses this one, not its message
                        _refuse_full(db, sender, scid)
                        _insert(db, sender, answer)
        return count

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk afterwards, or none."""
        try:
            with self._turn, self._db as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
        except sqlite3.DatabaseError as error:
            raise _trouble(error) from error


def _opened(path: Path, synchronous: str, tables: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.executescript(tables)
    return db


def _require(db: sqlite3.Connection, scid: str) -> Any:
    row = db.execute("SELECT head, relays FROM agents WHERE scid = ?", (scid,)).fetchone()
    if row is None:
        raise _unknown()
    return row


def _unknown() -> Refusal:
    return Refusal(404, "unknown-agent", "this agent is not registered here")


def _refuse_full(db: sqlite3.Connection, scid: str, sender: str) -> None:
    everybody, size_bytes, one = db.execute(
        """SELECT count(*), coalesce(sum(length(body)), 0), count(*) FILTER (WHERE sender = ?)
           FROM items WHERE scid = ?""",
        (sender, scid),
    ).fetchone()
    if everybody >= MAX_ITEMS or one >= MAX_FROM_ONE or size_bytes >= MAX_INBOX_BYTES:
        raise Refusal(507, "inbox-full", "the inbox takes no more from this sender until it is read")


def _insert(db: sqlite3.Connection, scid: str, item: Item) -> None:
    db.execute(
        "INSERT OR IGNORE INTO items (scid, kind, sender, message, body, time) VALUES (?, ?, ?, ?, ?, ?)",
        (scid, item.kind, item.sender, item.message, item.body, item.time),
    )


def _trouble(error: sqlite3.DatabaseError) -> DiskError | IntegrityError:
    if isinstance(error, sqlite3.OperationalError):
        return DiskError("the relay's data cannot be written or read")
    return IntegrityError("the relay's data is damaged", hint="put back a copy of its directory")
