"""A durable store in PostgreSQL: compared rows, one counter a stream and an outbox, changed by one transaction.

Only what CockroachDB has too is used (no advisory locks, no LISTEN, no extension), so its driver is this one. Each
transaction is serialisable and sent in one piece. A commit whose answer is lost is looked up by its token, which
the same transaction wrote, before it is tried again: it is applied once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from antsmem.core.canonical import loads
from antsmem.core.errors import BackendError, ConflictError, IntegrityError
from antsmem.drivers.commits import check_commit, pause_seconds
from antsmem.drivers.postgres_link import Address, Link, SerializationError
from antsmem.memory.roles import Change, LogRecord, Row, VersionConflict

if TYPE_CHECKING:
    import psycopg

_TABLES: Final = (
    "create table if not exists antsmem_streams (stream text primary key, sequence bigint not null)",
    "create table if not exists antsmem_rows (stream text not null, key bytea not null, version bigint not null,"
    " value bytea not null, primary key (stream, key))",
    "create table if not exists antsmem_outbox (stream text not null, sequence bigint not null, id text not null,"
    " headers text not null, data bytea not null, primary key (stream, sequence))",
    "create table if not exists antsmem_commits (stream text not null, sequence bigint not null,"
    " token bytea not null, at timestamptz not null default now(), primary key (stream, sequence),"
    " unique (stream, token))",
)
_VERSIONS: Final = "select key, version from antsmem_rows where stream = %s and key = any(%s)"
# SQL has no word for "fail unless": a division by zero ends the transaction without a question to the client.
_COMPARE: Final = (
    "select 1 / case when exists (select 1 from unnest(%s::bytea[], %s::bigint[]) as wanted (key, version)"
    " left join antsmem_rows on antsmem_rows.stream = %s and antsmem_rows.key = wanted.key"
    " where coalesce(antsmem_rows.version, 0) <> wanted.version) then 0 else 1 end"
)
_PUT: Final = (
    "insert into antsmem_rows (stream, key, version, value) select %s, new.key,"
    " (select sequence from antsmem_streams where stream = %s), new.value"
    " from unnest(%b::bytea[], %b::bytea[]) as new (key, value)"
    " on conflict (stream, key) do update set version = excluded.version, value = excluded.value"
)
_DELETE: Final = "delete from antsmem_rows where stream = %s and key = any(%s)"
# Count, append and sign at once. CockroachDB takes no two changes of one table in a statement: these are three.
# As binary (%b) an array costs server and client a third of what its text does, in which every quote is escaped.
_APPEND: Final = (
    "with counted as (insert into antsmem_streams (stream, sequence) values (%s, %s)"
    " on conflict (stream) do update set sequence = antsmem_streams.sequence + excluded.sequence"
    " returning stream, sequence),"
    " appended as (insert into antsmem_outbox (stream, sequence, id, headers, data)"
    " select counted.stream, counted.sequence - %s + new.place, new.id, new.headers, new.data"
    " from counted, unnest(%b::text[], %b::text[], %b::bytea[])"
    " with ordinality as new (id, headers, data, place))"
    " insert into antsmem_commits (stream, sequence, token) select stream, sequence, %s from counted"
    " returning sequence"
)
_FIND: Final = "select sequence from antsmem_commits where stream = %s and token = %s"
_GET: Final = "select version, value from antsmem_rows where stream = %s and key = %s"
_ROWS: Final = "select key, version, value from antsmem_rows where stream = %s and key > %s order by key limit %s"
_SEQUENCE: Final = "select sequence from antsmem_streams where stream = %s"
_PENDING: Final = (
    "select sequence, id, headers, data from antsmem_outbox where stream = %s order by sequence limit %s"
)
_RELAYED: Final = "delete from antsmem_outbox where stream = %s and sequence <= %s"
# Tokens are kept longer than any commit is tried (an hour); each call looks at the oldest thousand at most.
_TIDY: Final = (
    "delete from antsmem_commits where stream = %s and at < now() - interval '2 hours' and sequence <"
    " (select min(sequence) + 1000 from antsmem_commits where stream = %s)"
)
_HEADERS_BYTES: Final = 1 << 20
_FIRST_WAIT_SECONDS: Final = 0.002
_LONGEST_WAIT_SECONDS: Final = 0.25


class PostgresStore:
    """A database as a durable store. One connection, made with the first call."""

    scheme = "postgres"
    port = 5432

    def __init__(self, address: Address) -> None:
        self._link = Link(address, self.scheme)

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The store at `postgres://user@host:port/database`; see `Address.parse`. Does not connect yet."""
        return cls(Address.parse(url, options, cls.scheme, cls.port))

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._link.url

    def create(self) -> None:
        """Make the tables if they are missing."""

        def make(connection: psycopg.Connection[Any]) -> None:
            for table in _TABLES:
                connection.execute(table)

        self._link.run(make)

    def get(self, stream: str, key: str) -> Row | None:
        """The row `key`."""
        found = self._select(_GET, (stream, key.encode()))
        return Row(found[0][0], found[0][1]) if found else None

    def rows(self, stream: str, after_key: str, limit: int) -> list[tuple[str, Row]]:
        """Rows in the order of their keys' UTF-8, see `DurableStore.rows`."""
        found = self._select(_ROWS, (stream, after_key.encode(), limit))
        return [(key.decode(), Row(version, value)) for key, version, value in found]

    def sequence(self, stream: str) -> int:
        """The sequence of the newest commit."""
        found = self._select(_SEQUENCE, (stream,))
        return int(found[0][0]) if found else 0

    def pending(self, stream: str, limit: int) -> list[tuple[int, LogRecord]]:
        """The outbox, in order."""
        found = self._select(_PENDING, (stream, limit))
        return [(number, LogRecord(stream, name, _headers(text), data)) for number, name, text, data in found]

    def relayed(self, stream: str, through: int) -> None:
        """Forget the outbox up to `through`, and tokens that nobody asks for any more."""

        def forget(connection: psycopg.Connection[Any]) -> None:
            with connection.pipeline():
                connection.execute(_RELAYED, (stream, through))
                connection.execute(_TIDY, (stream, stream))

        self._link.run(forget)

    def commit(self, stream: str, changes: Sequence[Change], outbox: Sequence[LogRecord]) -> int:
        """One transaction, see `DurableStore.commit`. Tried again, with jitter, while the database wants it again
        or does not answer; `ConflictError` if others were always quicker."""
        check_commit(stream, changes, outbox)
        token = os.urandom(16)
        give_up = time.monotonic() + self._link.timeout_seconds
        unsure = False  # whether an earlier try may have been applied, its answer lost
        tries = 0
        while True:
            try:
                if unsure and (found := self._link.once(lambda c: _one(c, _FIND, (stream, token)))) is not None:
                    return int(found)
                return self._link.once(lambda c: _transact(c, stream, changes, outbox, token))
            except SerializationError as error:
                if time.monotonic() > give_up:
                    raise ConflictError(f"`{self.url}`: others wrote to `{stream}` all the time") from error
            except BackendError:
                unsure = True
                if time.monotonic() > give_up:
                    raise
            time.sleep(pause_seconds(tries, _FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS))
            tries += 1

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _select(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        return self._link.run(lambda connection: connection.execute(query, values, binary=True).fetchall())


def _transact(
    connection: psycopg.Connection[Any],
    stream: str,
    changes: Sequence[Change],
    outbox: Sequence[LogRecord],
    token: bytes,
) -> int:
    """The transaction, sent at once: no lock waits for us. Should an earlier try of it still be on the way, the
    two have one token, which is unique: the server refuses the later one."""
    from psycopg import errors

    expected = {change.key.encode(): change.expected for change in changes if change.expected is not None}
    put = {change.key.encode(): change.value for change in changes if change.value is not None}
    gone = [change.key.encode() for change in changes if change.value is None]
    headers = [json.dumps(dict(each.headers)) for each in outbox]
    told = ([each.id for each in outbox], headers, [each.data for each in outbox])
    count = len(outbox)
    try:
        with connection.pipeline():
            connection.execute("begin isolation level serializable")
            counted = connection.execute(_APPEND, (stream, count, count, *told, token))
            if expected:
                connection.execute(_COMPARE, ([*expected], [*expected.values()], stream))
            if put:
                connection.execute(_PUT, (stream, stream, [*put], [*put.values()]))
            if gone:
                connection.execute(_DELETE, (stream, gone))
            connection.execute("commit")
    except errors.UniqueViolation:
        connection.execute("rollback")
        if (found := _one(connection, _FIND, (stream, token))) is None:
            raise
        return int(found)
    except errors.DivisionByZero as error:
        connection.execute("rollback")
        versions = dict(connection.execute(_VERSIONS, (stream, [*expected]), binary=True).fetchall())
        for key, version in expected.items():
            if (current := versions.get(key, 0)) != version:
                raise VersionConflict(key.decode(), current) from None
        raise SerializationError(f"a row of `{stream}` was changed and changed back") from error
    row = counted.fetchone()
    assert row is not None
    return int(row[0])


def _one(connection: psycopg.Connection[Any], query: str, values: tuple[Any, ...]) -> Any:
    found = connection.execute(query, values, binary=True).fetchone()
    return None if found is None else found[0]


def _headers(text: str) -> dict[str, str]:
    found = loads(text.encode(), _HEADERS_BYTES)
    if not isinstance(found, dict):
        raise IntegrityError("the headers of a record in the outbox are no object")
    return {str(name): str(value) for name, value in found.items()}
