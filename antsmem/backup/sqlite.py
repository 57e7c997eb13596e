"""Hold a live SQLite database still while its files are read, without changing or copying it.

A read transaction is enough. In rollback mode its SHARED lock keeps writers from the main file. In WAL mode a
checkpoint may only move frames that the main file read together with the WAL yields anyway, and the WAL is not
restarted while a reader uses it; frames appended later are whole commits or a torn end that SQLite ignores.
So (main, -wal) or (main, -journal) read under the lock open as one committed state (sqlite.org/lockingv3.html,
sqlite.org/walformat.html). Closing any descriptor of a database drops this process's POSIX locks on it:
the caller keeps its descriptors open until the hold has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

MAGIC: Final = b"SQLite format 3\0"
HEADER_BYTES: Final = 20
_WAL: Final = 2  # the read version in the header, by which a reader goes
_LEAST_PAGE: Final = 512
_WAIT_SECONDS: Final = 5.0


def may_be_database(size_bytes: int) -> bool:
    """Whether a file of this size can be a database: whole pages of at least 512 bytes."""
    return size_bytes >= _LEAST_PAGE and size_bytes % _LEAST_PAGE == 0


def rests(header: bytes, path: bytes) -> bool:
    """Whether nobody has the database at `path` open: it is in WAL mode and has no -shm file. It needs no hold,
    and must not get one, because a reader would leave a -wal and a -shm behind."""
    return header[19:20] == bytes((_WAL,)) and not os.path.lexists(path + b"-shm")


@contextmanager
def held(path: bytes) -> Iterator[str]:
    """Keep the database at `path` in one committed state; gives "" or, where that failed, why."""
    import sqlite3
    from urllib.parse import quote

    name = f"file:{quote(path)}?mode=ro"
    try:
        try:  # without a change to the -shm file that a killed writer left, where SQLite can do without
            connection = _reading(name + "&readonly_shm=1")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
            connection = _reading(name)
    except sqlite3.Error as error:
        yield str(error)
        return
    try:
        yield ""
    finally:
        connection.close()


def _reading(name: str) -> sqlite3.Connection:
    """A connection in a read transaction, which takes the lock only when something is read."""
    import sqlite3

    connection = sqlite3.connect(name, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
