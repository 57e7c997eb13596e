"""What the embedded backends share: a folder from a URL, SQLite opened for durability, and its errors as ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from antsmem.core.disk import make_private_dir
from antsmem.core.errors import AntsmemError, ConfigError, DiskError, IntegrityError, LockedError

_BUSY_SECONDS = 30.0
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def folder_of(url: str, options: Mapping[str, str]) -> Path:
    """The folder that `file:///absolute/path` or `/absolute/path` names; else `ConfigError`. No options."""
    if options:
        raise ConfigError(f"a backend in a folder has no option `{min(options)[:40]}`")
    path = url
    if url.startswith("file:"):
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
            raise ConfigError(f"`{url}` names no local folder", hint="write it as file:///absolute/path")
        path = unquote(parts.path)
    if not path.startswith("/") or "\0" in path:
        raise ConfigError(f"`{url}` is not an absolute path", hint="write it as file:///absolute/path")
    return Path(os.path.normpath(path))


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """The SQLite database at `path`, made with `schema` if it is missing: WAL, every commit on the disk."""
    make_private_dir(path.parent)
    with our_errors(path):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(schema)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """One writer's transaction: committed whole when the block ends, undone when it raises."""
    with our_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def our_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the database at `path` into our errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: sqlite3.Error) -> AntsmemError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LockedError(f"database `{path}` is being written by another process")
    if code in _FULL:
        return DiskError(f"could not use database `{path}`: the disk is full, failing or not ours to write")
    return IntegrityError(f"database `{path}` is damaged", hint=aside(path))


def aside(path: Path) -> str:
    """What to do about a database that is damaged, or does not go with what lies beside it."""
    return f"move `{path}*` aside, then: antsmem backend init, antsmem backend rebuild"
