"""`PYTHONPATH=tests python tests/bench/stores.py`: durable stores beside the bare clients of their servers.

Both sides write the same bytes, as durably, to the same server in turns; medians of five. The bare side is the
fastest way we know: one prepared statement with binary arrays for PostgreSQL, one request for DynamoDB. It
promises less: nothing is compared, nothing is tried again, and nobody can find out what became of a commit whose
answer was lost. PostgreSQL runs with `fsync=off` first, which shows what its driver costs, then with `fsync=on`,
which is how it is used.
"""

from __future__ import annotations

import json
import os
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import engines
import engines_stores
import psycopg

from antsmem.drivers.dynamodb import DynamodbStore
from antsmem.drivers.dynamodb_client import packed
from antsmem.drivers.dynamodb_log import DynamodbLog
from antsmem.drivers.postgres import PostgresStore
from antsmem.memory.roles import Change, LogRecord

TURNS, DATA, LEAST = 5, os.urandom(500), 0.7
STREAM = "tenant/agent"
HEADERS = {f"attribute{number}": "x" * 40 for number in range(9)}
_BARE = """
with counted as (
  insert into streams values ('bare', %(count)s) on conflict (stream)
  do update set sequence = streams.sequence + excluded.sequence returning sequence
), written as (
  insert into rows select 'bare', %(key)s, sequence, %(value)s from counted
  on conflict (stream, key) do update set version = excluded.version, value = excluded.value
)
insert into outbox select 'bare', sequence - %(count)s + place, id, headers, data
from counted, unnest(%(ids)b::text[], %(headers)b::text[], %(datas)b::bytea[])
with ordinality as new (id, headers, data, place)
"""
_BARE_TABLES = """
create table streams (stream text primary key, sequence bigint);
create table rows (stream text, key bytea, version bigint, value bytea, primary key (stream, key));
create table outbox (stream text, sequence bigint, id text, headers text, data bytea,
  primary key (stream, sequence));
"""


def rate(action: Callable[[], object], times: int) -> float:
    """How often `action` is done in a second."""
    start = time.perf_counter()
    for _ in range(times):
        action()
    return times / (time.perf_counter() - start)


def compare(name: str, ours: Callable[[], object], bare: Callable[[], object], times: int, each: int = 1) -> None:
    """One line of the table; `each` records go with one call. There is a target for batches."""
    ours()
    bare()
    pairs = [(rate(ours, times) * each, rate(bare, times) * each) for _ in range(TURNS)]
    one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    share = statistics.median(pair[0] / pair[1] for pair in pairs)
    target = f"≥ {LEAST}" if each > 1 else ""
    verdict = "" if each == 1 else "met" if share >= LEAST else "**not met**"
    print(f"| {name} | {other:,.0f} | {one:,.0f} | {share:.2f} | {target} | {verdict} |", flush=True)


def records(count: int) -> list[LogRecord]:
    return [LogRecord(STREAM, uuid.uuid4().hex, HEADERS, DATA) for _ in range(count)]


def postgres(fsync: str) -> None:
    server = engines_stores.Postgres(f"fsync={fsync}").start()
    try:
        database = server.database()
        store = PostgresStore.open(f"postgres://antsmem@127.0.0.1:{server.port}/{database}?tls=no", {})
        store.create()
        connection = psycopg.connect(server.conninfo(database), autocommit=True, prepare_threshold=0)
        connection.execute(_BARE_TABLES, prepare=False)
        last = [0]

        def compared() -> None:
            last[0] = store.commit(STREAM, [Change("row", DATA, last[0])], records(1))

        def bare(count: int) -> None:
            made = records(count)
            values = {"count": count, "key": b"row", "value": DATA, "ids": [each.id for each in made]}
            values["headers"] = [json.dumps(dict(each.headers)) for each in made]
            values["datas"] = [each.data for each in made]
            connection.execute(_BARE, values)

        name = f"PostgreSQL, fsync {fsync}"
        compare(f"{name}, commits of 1 row and 1 record", compared, lambda: bare(1), 100)
        many = lambda: store.commit(STREAM, [Change("row", DATA)], records(100))  # noqa: E731
        compare(f"{name}, records in commits of 100", many, lambda: bare(100), 20, 100)
        store.close()
        connection.close()
    finally:
        server.close()


def item(partition: str, sort: str, **more: Any) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": sort}, **more}


def dynamodb() -> None:
    server = engines.Moto().start()
    try:
        url = f"dynamodb://bench?endpoint=http://127.0.0.1:{server.port}"
        keys = {"access_key_id": "a", "secret_access_key": "b"}
        store, log = DynamodbStore.open(url, keys), DynamodbLog.open(url, keys)
        store.create()
        api, table, number = log._client.api, "bench", iter(range(1, 1_000_000_000))

        def bare_batch() -> None:
            for _ in range(4):
                items = [item("bare", f"{next(number):020d}", d={"B": DATA}) for _ in range(25)]
                api.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": each}} for each in items]})

        def bare_item() -> None:
            batch = packed(records(100))  # the same item, put without a condition
            api.put_item(TableName=table, Item=item("bare", f"{next(number):020d}", records=batch))

        def bare_commit() -> None:
            seen = next(number)
            puts = [item("seq", "bare", n={"N": str(seen)}), item("row", "bare", d={"B": DATA})]
            puts += [item("out", f"{seen:020d}", d={"B": DATA}), item("tok", uuid.uuid4().hex, n={"N": "1"})]
            api.transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": each}} for each in puts])

        commit = lambda: store.commit(STREAM, [Change("row", DATA)], records(1))  # noqa: E731
        append = lambda: log.append(records(100))  # noqa: E731
        compare("DynamoDB (moto), commits of 1 row and 1 record", commit, bare_commit, 5)
        compare("DynamoDB (moto), log in batches of 100, beside one item", append, bare_item, 5, 100)
        compare("DynamoDB (moto), log in batches of 100, beside BatchWriteItem", append, bare_batch, 3, 100)
        store.close()
        log.close()
    finally:
        server.close()


if __name__ == "__main__":
    print("| a second | bare client | driver | ratio | target |  |", flush=True)
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    postgres("off")
    postgres("on")
    dynamodb()
