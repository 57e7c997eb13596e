"""A durable store in CockroachDB, by the driver for PostgreSQL: protocol, SQL and retries are the same."""

from __future__ import annotations

from antsmem.drivers.postgres import PostgresStore


class CockroachStore(PostgresStore):
    """A database of a CockroachDB cluster, at `cockroach://user@host:port/database`.

    Its retries are the client's: SQLSTATE 40001 at a statement or at COMMIT means the whole transaction again,
    40003 or a lost connection an outcome to be looked up (CockroachDB manual, "Transaction retry error
    reference").
    """

    scheme = "cockroach"
    port = 26257
