"""A vector index in PostgreSQL by its extension pgvector: a table a model, with an HNSW graph for cosines.

Vectors are not encrypted there: only an agent whose tenant may see them uses this. The graph knows no streams, so
where it gives fewer rows of a stream than were asked for, all of the stream are compared.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, LiteralString, Self

from antsmem.core.errors import RefusedError, UsageError
from antsmem.drivers.postgres_link import Address
from antsmem.drivers.postgres_table import PostgresTable
from antsmem.memory.indexing import check_vector, newest
from antsmem.memory.roles import Vector, VectorRow

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

_VERSION: Final = (
    "select coalesce(installed_version, default_version) from pg_available_extensions where name = 'vector'"
)
_EXTENSION: Final = "create extension if not exists vector"
_TABLE: Final = (
    "create table if not exists {table} (stream text not null, id bytea not null, version bigint not null,"
    " partition text not null, vector {kind}({dimensions}) not null, primary key (stream, id))"
)
_GRAPH: Final = "create index if not exists {graph} on {table} using hnsw (vector {operators})"
_PUT: Final = (
    "insert into {table} (stream, id, version, partition, vector)"
    " select stream, id, version, partition, vector::{kind}"
    " from unnest(%s::text[], %s::bytea[], %s::bigint[], %s::text[], %s::text[])"
    " as new (stream, id, version, partition, vector)"
    " on conflict (stream, id) do update set version = excluded.version, partition = excluded.partition,"
    " vector = excluded.vector where {table}.version <= excluded.version"
)
_BREADTH: Final = (
    "select set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true)"
)
_NEAR: Final = (
    "select id, 1 - (vector <=> %s::{kind}) from {table} where stream = %s order by vector <=> %s::{kind} limit %s"
)
# The same as an expression that no index has.
_EXACT: Final = (
    "select id, 1 - (vector <=> %s::{kind}) from {table} where stream = %s"
    " order by (vector <=> %s::{kind}) + 0 limit %s"
)
_TOGETHER: Final = 500  # rows of a statement
_MOST_SINGLE, _MOST_HALF = 2000, 4000  # dimensions that a graph takes (pgvector manual, "HNSW")
_LEAST_VERSION: Final = (0, 8)  # searches on where a filter leaves too little


class PostgresVectors(PostgresTable):
    """Tables named antsmem_vectors_MODEL_DIMENSIONS, the model by a digest. `create` comes before all else."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._table, self._dimensions = "antsmem_vectors", 0

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The index at `postgres://user@host:port/database`; see `Address.parse`. Does not connect yet."""
        return cls(Address.parse(url, options, "postgres", 5432))

    def create(self, model: str, dimensions: int) -> None:
        """Make the extension, and the table for vectors of `model`, if they are missing."""
        if not 0 < dimensions <= _MOST_HALF:
            raise UsageError(f"`{self.url}` takes vectors of 1 to {_MOST_HALF} dimensions, not {dimensions}")
        self._table = f"antsmem_vectors_{hashlib.sha256(model.encode()).hexdigest()[:12]}_{dimensions}"
        self._dimensions = dimensions
        self._link.run(self._make_with_extension)

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Put `rows`, see `VectorIndex.upsert`."""
        for row in rows:
            check_vector(row.vector, self._dimensions)
        kept = list(newest(rows).values())
        for start in range(0, len(kept), _TOGETHER):
            part = kept[start : start + _TOGETHER]
            told = [(row.stream, row.id.encode(), row.version, row.partition, _text(row.vector)) for row in part]
            self._run(_PUT, tuple(map(list, zip(*told, strict=True))))

    def search(self, stream: str, vector: Vector, count: int) -> list[tuple[str, float]]:
        """The nearest of `stream`, see `VectorIndex.search`."""
        check_vector(vector, self._dimensions)
        asked = _text(vector)
        found = self._link.run(lambda connection: self._near(connection, (asked, stream, asked, count)))
        return [(name.decode(), float(cosine)) for name, cosine in found]

    def _make_with_extension(self, connection: psycopg.Connection[Any]) -> None:
        there = connection.execute(_VERSION).fetchone()
        if there is None or tuple(int(part) for part in there[0].split(".")[:2]) < _LEAST_VERSION:
            hint = "install pgvector 0.8 or newer on the server"
            raise RefusedError(f"`{self.url}` has no extension that keeps vectors", hint=hint)
        self._make(connection, _EXTENSION, _TABLE, _GRAPH)

    def _near(self, connection: psycopg.Connection[Any], values: tuple[str, str, str, int]) -> list[Any]:
        with connection.pipeline():
            connection.execute("begin")
            connection.execute(_BREADTH, (str(min(1000, max(64, 2 * values[3]))),))
            found = connection.execute(self._query(_NEAR), values, binary=True)
            connection.execute("commit")
        rows = found.fetchall()
        if len(rows) < values[3]:
            rows = connection.execute(self._query(_EXACT), values, binary=True).fetchall()
        return rows

    def _query(self, query: LiteralString) -> sql.Composed:
        from psycopg import sql

        kind = "vector" if self._dimensions <= _MOST_SINGLE else "halfvec"
        return sql.SQL(query).format(
            table=sql.Identifier(self._table),
            graph=sql.Identifier(f"{self._table}_graph"),
            kind=sql.Identifier(kind),
            operators=sql.Identifier(f"{kind}_cosine_ops"),
            dimensions=sql.Literal(self._dimensions),
        )


def _text(vector: Vector) -> str:
    """`vector` at unit length, which changes no cosine: single and half precision have room for its values."""
    length = math.hypot(*vector)
    return "[" + ",".join(repr(float(value) / length) for value in vector) + "]"
