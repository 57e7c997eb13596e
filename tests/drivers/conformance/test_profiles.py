"""Two hosts of one agent meet through the real servers of a profile, and lose nothing, whoever dies.

Method: two home directories and the commands themselves, at the servers of one profile after the other; edits,
syncs and syncs without a network in random order, then both have to be byte-identical, with every word, and the
servers may hold none of it in the clear. Then a broker or a database is killed within a sync. PostgreSQL plays
CockroachDB. A sync uses log, durable store and blobs; the other roles of a profile are tried by `backend test`.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from devices import Agent, DeviceAt
from homes import tree
from made_homes import KIT, Home
from places import S3Place
from roles import bytes_below
from sealed import seen_in_the_clear
from tallies import tally

from antsmem.core.errors import BackendError
from antsmem.drivers.kafka import KafkaLog
from antsmem.drivers.postgres import PostgresStore
from antsmem.drivers.pulsar import PulsarLog
from antsmem.memory.digest import state_digest
from antsmem.memory.embedded.blobs import FileBlobs
from antsmem.memory.embedded.durables import FileDurable
from antsmem.memory.embedded.logs import FileLog
from antsmem.memory.exchange import Backends
from antsmem.memory.roles import Change, DurableStore, EventLog, LogRecord
from antsmem.memory.sync import SyncResult

STEPS, FILES = 14, 200
SEED = int(os.environ["ANTSMEM_FAULT_SEED"])


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


def _objects(place: S3Place) -> Iterator[bytes]:
    for item in place._api.list_objects_v2(Bucket=place.bucket).get("Contents", ()):
        yield item["Key"].encode()
        yield place._api.get_object(Bucket=place.bucket, Key=item["Key"])["Body"].read()


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

    def held() -> Iterator[bytes]:
        yield from bytes_below(kafka.dir / "logs")
        yield from _tables(postgres, database)
        yield from _objects(place)

    return Played(urls, held, *_keyed(place, "blob"))


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

    def held() -> Iterator[bytes]:
        yield from bytes_below(pulsar.dir / "bookkeeper")
        yield from _tables(postgres, database)
        yield from _objects(place)

    return Played(urls, held, *_keyed(place, "blob"))


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
                yield from _parts(page["Items"])
        yield from _objects(place)

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


def _parts(value: Any) -> Iterator[bytes]:
    """Every text and byte string in items, names of attributes too."""
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    else:
        yield value if isinstance(value, bytes) else str(value).encode()


def joined(played: Played, home: Home) -> None:
    """Tell a home of its backends."""
    home.environment.update(played.secrets)
    for role, url in played.urls.items():
        home.must("backend", "add", role, url, *played.options.get(role, ()))


def unplugged(home: Home, url: str) -> None:
    """A sync of a host that does not reach its backends: it fails, and what changed is recorded."""
    settings = [path for path in home.home.rglob("*.yaml") if url in path.read_text()]
    port = url.partition("127.0.0.1:")[2].partition("/")[0].partition("&")[0]
    kept = {path: path.read_bytes() for path in settings}
    assert kept
    for path, data in kept.items():
        path.write_bytes(data.replace(f"127.0.0.1:{port}".encode(), b"127.0.0.1:1"))
    home.must("sync", code=40)
    for path, data in kept.items():
        path.write_bytes(data)


@pytest.mark.server
@pytest.mark.parametrize("profile", PROFILES)
def test_two_hosts_end_byte_identical_through_a_profile_that_reads_nothing(
    profile: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    played = PROFILES[profile](request)
    one = Home(tmp_path / "one")
    one.init()
    joined(played, one)
    one.must("backend", "init")
    tested = one.must("backend", "test", "--json").document["backends"]
    assert {row["role"]: row["error"] for row in tested} == dict.fromkeys(played.urls, "")
    one.must("backup")
    two = Home(tmp_path / "two")
    words = ("--kit", str(one.root / KIT), "--repository", str(one.repository), "--host", "desktop")
    assert two.run("recover", str(two.workspace), *words).code == 0
    joined(played, two)

    dice = random.Random(SEED)
    canaries = [f"canary{number}of{uuid.uuid4().hex[:10]}" for number in range(STEPS)]
    (one.workspace / f"{canaries[0]}.bin").write_bytes(b"\0" + canaries[0].encode() * 9000)
    for number, canary in enumerate(canaries[1:]):
        home = (one, two)[number % 2] if number < 2 else dice.choice((one, two))
        if number % 3:
            with (home.workspace / "MEMORY.md").open("a") as file:
                file.write(f"\n- {canary}\n")
        else:
            home.must("log", f"saw {canary}")
        step = ("unplugged", "sync", "", "sync push", "sync pull")[number % 5 if number < 5 else dice.randrange(5)]
        if step == "unplugged":
            unplugged(home, played.urls["durable"])
        elif step:
            home.must(*step.split())
    for home in (one, two, one, two):
        home.must("sync")

    trees = [tree(one), tree(two)]
    assert trees[0] == trees[1]
    everything = b"\n".join([*trees[0].values(), *(name.encode() for name in trees[0])])
    assert [word for word in canaries if word.encode() not in everything] == []
    assert len({home.must("sync", "status", "--json").document["digest"] for home in (one, two)}) == 1
    for home in (one, two):
        home.must("events", "verify")
    words_of = [word.encode() for word in canaries]
    assert seen_in_the_clear(played.held(), words_of) == set()
    assert seen_in_the_clear(bytes_below(one.workspace), words_of) == set(words_of)  # the control
    tally("profiles")[f"steps through {profile}"] += STEPS


class Deadly:
    """A backend whose server is killed and started again while `method` is called for the `turn`th time; it notes
    what was acknowledged."""

    def __init__(self, inner: Any, method: str, turn: int, server: Any) -> None:
        self._inner, self._method, self._left, self._server = inner, method, turn, server
        self.acknowledged: set[str] = set()
        self.killed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, stream: str, changes: list[Change], outbox: list[LogRecord]) -> int:
        done: int = self._run("commit", lambda: self._inner.commit(stream, changes, outbox))
        self.acknowledged |= {item.id for item in outbox}
        return done

    def append(self, records: list[LogRecord]) -> None:
        self._run("append", lambda: self._inner.append(records))
        self.acknowledged |= {item.id for item in records}

    def _run(self, method: str, action: Callable[[], Any]) -> Any:
        self._left -= method == self._method
        if method != self._method or self._left:
            return action()
        killer = threading.Timer(random.Random(SEED).random() * 0.01, self._server.kill)
        killer.start()
        try:
            return action()
        finally:
            killer.join()
            self._server.restart()  # by this thread: a server dies with the thread that started it
            self.killed = True


@pytest.mark.server
@pytest.mark.parametrize(
    ("dies", "method", "turn"), [("kafka", "append", 1), ("pulsar", "append", 1), ("postgres", "commit", 2)]
)
def test_a_server_killed_within_a_sync_loses_nothing_and_nothing_is_applied_twice(
    dies: str, method: str, turn: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server, name = request.getfixturevalue(dies), f"t{uuid.uuid4().hex[:8]}"
    where, query = f"127.0.0.1:{server.port}", "tls=no&timeout_seconds=3"
    log: EventLog = FileLog(tmp_path / "others")
    durable: DurableStore = FileDurable(tmp_path / "others")
    if dies == "kafka":
        log = KafkaLog.open(f"kafka://{where}/{name}?{query}&partitions=2&replication=1", {})
    elif dies == "pulsar":
        more = f"partitions=2&admin_url=http://127.0.0.1:{server.web}"
        log = PulsarLog.open(f"pulsar://{where}/public/default/{name}?{query}&{more}", {})
    else:
        durable = PostgresStore.open(f"postgres://antsmem@{where}/{server.database()}?{query}", {})
    log.create()
    durable.create()
    deadly = Deadly(durable if method == "commit" else log, method, turn, server)
    between = Backends(
        deadly if method == "append" else log,
        deadly if method == "commit" else durable,
        FileBlobs(tmp_path / "blobs"),
    )
    agent = Agent("laptop", "desktop")
    one, other = (DeviceAt(agent, host, tmp_path / host, between) for host in ("laptop", "desktop"))
    for number in range(FILES):
        one.write(f"notes/{number}.md", f"- {number}\n")
    patiently(one.sync)
    patiently(other.sync)
    assert deadly.killed
    mine, theirs = one.memory(), other.memory()
    applied = [past for number in range(FILES) for past in theirs.index.history(f"notes/{number}.md")]
    assert len(applied) == FILES and deadly.acknowledged <= {*applied}
    assert one.files() == other.files() and state_digest(mine.index) == state_digest(theirs.index)
    mine.close()
    theirs.close()
    between.close()
    tally("profiles")["syncs in which a server was killed"] += 1


def patiently(sync: Callable[[], SyncResult]) -> None:
    """Sync again until all has come: a busy machine starts a server slowly."""
    give_up = time.monotonic() + 300
    while True:
        with suppress(BackendError):
            if sync().complete:
                return
        assert time.monotonic() < give_up, "the server did not come back"
