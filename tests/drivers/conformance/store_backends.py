"""The durable stores, vector indexes, blobs and directories that have real servers, for the conformance suites."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import engines_stores
import pytest
from roles import OPENERS, SERVERS, Backend, bytes_below, bytes_in, opener

from antsmem.drivers.cockroach import CockroachStore
from antsmem.drivers.consul import ConsulDirectory
from antsmem.drivers.dax import DaxCache
from antsmem.drivers.dynamodb import DynamodbStore
from antsmem.drivers.dynamodb_client import DynamodbTable
from antsmem.drivers.dynamodb_log import DynamodbLog
from antsmem.drivers.etcd import EtcdDirectory
from antsmem.drivers.milvus import MilvusIndex
from antsmem.drivers.postgres import PostgresStore
from antsmem.drivers.postgres_texts import PostgresTexts
from antsmem.drivers.postgres_vectors import PostgresVectors
from antsmem.drivers.s3_blobs import S3Blobs

TABLES = ("streams", "rows", "outbox", "commits")


def _postgres(kind: type[PostgresStore]) -> Callable[[pytest.FixtureRequest], Backend]:
    def made(request: pytest.FixtureRequest) -> Backend:
        server: engines_stores.Postgres = request.getfixturevalue("postgres")
        database = server.database()
        url = f"{kind.scheme}://antsmem@127.0.0.1:{server.port}/{database}?tls=no"

        def held() -> Iterator[bytes]:
            import psycopg

            with psycopg.connect(server.conninfo(database)) as connection:
                for table in TABLES:
                    for row in connection.execute(f"select * from antsmem_{table}"):
                        yield b"\n".join(part if isinstance(part, bytes) else str(part).encode() for part in row)

        return Backend(opener(request, lambda: kind.open(url, {}), create=True), held)

    return made


def _dynamodb(
    kind: type[DynamodbTable], before: str = "dynamodb://"
) -> Callable[[pytest.FixtureRequest], Backend]:
    def made(request: pytest.FixtureRequest) -> Backend:
        server = request.getfixturevalue("moto")
        keys = {"access_key_id": uuid.uuid4().hex, "secret_access_key": uuid.uuid4().hex}
        url = f"{before}table-{uuid.uuid4().hex[:8]}?endpoint=http://127.0.0.1:{server.port}"

        def held() -> Iterator[bytes]:
            store = kind.open(url, keys)
            for item in store._client.api.scan(TableName=store._client.table)["Items"]:
                yield from bytes_in(item)

        return Backend(opener(request, lambda: kind.open(url, keys), create=True), held)

    return made


def _s3(request: pytest.FixtureRequest) -> Backend:
    from places import S3Place

    place = S3Place(request.getfixturevalue("moto"))
    url = f"s3://{place.bucket}/blobs?endpoint=http://127.0.0.1:{place.server.port}"  # type: ignore[union-attr]
    keys = {"access_key_id": place.secrets[0], "secret_access_key": place.secrets[1]}

    return Backend(opener(request, lambda: S3Blobs.open(url, keys)), place.held)


def _etcd(request: pytest.FixtureRequest) -> Backend:
    server: engines_stores.Etcd = request.getfixturevalue("etcd")
    url = f"etcd://127.0.0.1:{server.port}/{uuid.uuid4().hex[:8]}?tls=no"
    return Backend(opener(request, lambda: EtcdDirectory.open(url, {})), lambda: bytes_below(server.dir / "data"))


def _consul(request: pytest.FixtureRequest) -> Backend:
    server: engines_stores.Consul = request.getfixturevalue("consul")
    url = f"consul://127.0.0.1:{server.port}/{uuid.uuid4().hex[:8]}?tls=no&session_ttl_min=1"
    opened = opener(request, lambda: ConsulDirectory.open(url, {}))
    return Backend(opened, lambda: bytes_below(server.dir / "data"))


def _milvus(request: pytest.FixtureRequest) -> Backend:
    server: engines_stores.Milvus = request.getfixturevalue("milvus")
    # one collection for the session: making and loading one takes seconds
    url = f"milvus://127.0.0.1:{server.port}/conformance?tls=no"

    def leave_nothing() -> None:
        index = MilvusIndex.open(url, {})
        index.create("test-model", 8)
        for stream in ("tenant/agent", "tenant/other"):
            index.drop(stream)
        index.close()

    request.addfinalizer(leave_nothing)
    return Backend(opener(request, lambda: MilvusIndex.open(url, {})), lambda: bytes_below(server.dir))


def _pgvector(request: pytest.FixtureRequest) -> Backend:
    server: engines_stores.Pgvector = request.getfixturevalue("pgvector")
    url = f"postgres://antsmem@127.0.0.1:{server.port}/{server.database()}?tls=no"
    return Backend(
        opener(request, lambda: PostgresVectors.open(url, {})), lambda: bytes_below(server.dir / "data")
    )


def _postgres_texts(request: pytest.FixtureRequest) -> Backend:
    server: engines_stores.Postgres = request.getfixturevalue("postgres")
    url = f"postgres://antsmem@127.0.0.1:{server.port}/{server.database()}?tls=no"
    held = lambda: bytes_below(server.dir / "data")  # noqa: E731
    return Backend(opener(request, lambda: PostgresTexts.open(url, {}), create=True), held)


OPENERS["durable"] |= {
    "postgres": _postgres(PostgresStore),
    "cockroach": _postgres(CockroachStore),
    "dynamodb": _dynamodb(DynamodbStore),
}
OPENERS["log"]["dynamodb"] = _dynamodb(DynamodbLog)
OPENERS["cache"]["dax"] = _dynamodb(DaxCache, "dax:///")
OPENERS["blob"]["s3"] = _s3
OPENERS["directory"] |= {"consul": _consul, "etcd": _etcd}
OPENERS["text"]["postgres"] = _postgres_texts
OPENERS["vectors"] |= {"milvus": _milvus, "postgres": _pgvector}
SERVERS |= {"postgres", "cockroach", "dax", "dynamodb", "s3", "consul", "etcd", "milvus"}
