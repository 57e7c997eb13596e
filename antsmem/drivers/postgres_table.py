"""What the indexes in PostgreSQL share: a table of rows with a stream and an id, made, counted and emptied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, LiteralString

from antsmem.drivers.postgres_link import Address, Link

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

_LOCK: Final = "select pg_advisory_xact_lock(hashtext('antsmem'))"  # `if not exists` does not wait for others
_FORGET: Final = "delete from {table} where stream = %s and id = any(%s)"
_COUNT: Final = "select count(*) from {table} where stream = %s"
_DROP: Final = "delete from {table} where stream = %s"


class PostgresTable(ABC):
    """One connection, made with the first call. `_query` fills the names of the table into a statement."""

    def __init__(self, address: Address) -> None:
        self._link = Link(address, "postgres")

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._link.url

    def delete(self, stream: str, ids: Sequence[str]) -> None:
        """Forget `ids`."""
        self._run(_FORGET, (stream, [each.encode() for each in ids]))

    def count(self, stream: str) -> int:
        """How many rows `stream` has."""
        return int(self._select(_COUNT, (stream,))[0][0])

    def drop(self, stream: str) -> None:
        """Delete all rows of `stream`."""
        self._run(_DROP, (stream,))

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _make(self, connection: psycopg.Connection[Any], *statements: LiteralString) -> None:
        """Run what makes the table, one process at a time."""
        with connection.transaction():
            connection.execute(_LOCK)
            for statement in statements:
                connection.execute(self._query(statement))

    def _select(self, query: LiteralString, values: tuple[Any, ...]) -> list[Any]:
        composed = self._query(query)
        return self._link.run(lambda connection: connection.execute(composed, values, binary=True).fetchall())

    def _run(self, query: LiteralString, values: tuple[Any, ...]) -> None:
        composed = self._query(query)
        self._link.run(lambda connection: connection.execute(composed, values))

    @abstractmethod
    def _query(self, query: LiteralString) -> sql.Composed:
        """`query` with the names of this table."""
