"""The servers of each profile, as its tests play them: URLs, options and every byte that is kept.

PostgreSQL plays CockroachDB, moto plays AWS.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest
from places import S3Place
from roles import bytes_below, bytes_in


@dataclass(frozen=True)
class Played:
    """The servers of a profile. `urls`: role → URL; `held`: every byte that they keep of what a sync gave."""

    urls: dict[str, str]
    held: Callable[[], Iterator[bytes]]
    options: dict[str, tuple[str, ...]]
    secrets: dict[str, str]


def _bucket(request: pytest.FixtureRequest) -> tuple[S3Place, str]:
    place = S3Place(request.getfixturevalue("moto"))
    assert place.server is not None
    return place, f"s3://{place.bucket}/memory?endpoint=http://127.0.0.1:{place.server.port}"


def _keyed(place: S3Place, *roles: str) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The options of `roles` that name the keys, and the environment that holds them."""
    words = ("--option", "access_key_id=env:KEY_ID", "--option", "secret_access_key=env:KEY")
    return dict.fromkeys(roles, words), {"KEY_ID": place.secrets[0], "KEY": place.secrets[1]}


def _on_kafka(request: pytest.FixtureRequest) -> Played:
    names = ("kafka", "postgres", "redis", "milvus", "etcd")
    kafka, postgres, redis, milvus, etcd = (request.getfixturevalue(name) for name in names)
    place, bucket = _bucket(request)
    name, database = f"t{uuid.uuid4().hex[:8]}", postgres.database()
    urls = {
        "log": f"kafka://127.0.0.1:{kafka.port}/{name}?tls=no&replication=1&partitions=2",
        "durable": f"postgres://antsmem@127.0.0.1:{postgres.port}/{database}?tls=no&timeout_seconds=2",
        "cache": f"redis://127.0.0.1:{redis.port}?tls=no&prefix={name}:",
        "vectors": f"milvus://127.0.0.1:{milvus.port}/conformance?tls=no",
        "blob": bucket,
        "directory": f"etcd://127.0.0.1:{etcd.port}/{name}?tls=no",
    }

    options, secrets = _keyed(place, "blob")
    return Played(
        urls,
        lambda: chain(bytes_below(kafka.dir / "logs"), _tables(postgres, database), place.held()),
        {**options, "vectors": ("--trusted-tenant",)},
        secrets,
    )


def _on_pulsar(request: pytest.FixtureRequest) -> Played:
    names = ("pulsar", "postgres", "memcached", "etcd")
    pulsar, postgres, memcached, etcd = (request.getfixturevalue(name) for name in names)
    place, bucket = _bucket(request)
    name, database = f"t{uuid.uuid4().hex[:8]}", postgres.database()
    query = f"tls=no&admin_url=http://127.0.0.1:{pulsar.web}&partitions=2"
    urls = {
        "log": f"pulsar://127.0.0.1:{pulsar.port}/public/default/{name}?{query}",
        "durable": f"cockroach://antsmem@127.0.0.1:{postgres.port}/{database}?tls=no&timeout_seconds=2",
        "cache": f"memcached://127.0.0.1:{memcached.port}?tls=no&prefix={name}:",
        "blob": bucket,
        "directory": f"etcd://127.0.0.1:{etcd.port}/{name}?tls=no",
    }

    return Played(
        urls,
        lambda: chain(bytes_below(pulsar.dir / "bookkeeper"), _tables(postgres, database), place.held()),
        *_keyed(place, "blob"),
    )


def _on_aws(request: pytest.FixtureRequest) -> Played:
    place, bucket = _bucket(request)
    assert place.server is not None
    name, where = f"t{uuid.uuid4().hex[:8]}", f"endpoint=http://127.0.0.1:{place.server.port}&timeout_seconds=5"
    urls = {
        "log": f"dynamodb://{name}-log?{where}",
        "durable": f"dynamodb://{name}?{where}",
        "cache": f"dax:///{name}-cache?{where}",
        "blob": bucket,
    }

    def held() -> Iterator[bytes]:
        import boto3

        keys = {"aws_access_key_id": place.secrets[0], "aws_secret_access_key": place.secrets[1]}
        at = f"http://127.0.0.1:{place.server.port}"  # type: ignore[union-attr]
        api = boto3.client("dynamodb", endpoint_url=at, region_name="us-east-1", **keys)
        for table in (name, f"{name}-log", f"{name}-cache"):
            for page in api.get_paginator("scan").paginate(TableName=table):
                assert page["Count"] or table != name
                yield from bytes_in(page["Items"])
        yield from place.held()

    return Played(urls, held, *_keyed(place, "blob", "log", "durable", "cache"))


PROFILES = {"milvus-kafka-redis": _on_kafka, "cockroach-pulsar-memcached": _on_pulsar, "aws": _on_aws}


def _tables(server: Any, database: str) -> Iterator[bytes]:
    """Every row of every table, and every file of the database server, its log of writes too."""
    import psycopg

    with psycopg.connect(server.conninfo(database)) as connection:
        connection.execute("set bytea_output = 'escape'")
        names = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        assert names
        for (name,) in names:
            for row in connection.execute(f"select * from {name}", binary=True):
                yield b"\n".join(part if isinstance(part, bytes) else str(part).encode() for part in row)
    yield from bytes_below(server.dir / "data")
