"""A vector index in Milvus: a collection a model, in it a partition for what all sessions share and a local one.

Vectors are not encrypted there: only an agent whose tenant may see them uses this. A row's primary key is a digest
of its stream and id. Every read asks for all writes before it (consistency level `Strong`), which waits for
Milvus's next time tick, a fifth of a second.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from antsmem.core.retry import retried, timeout_seconds
from antsmem.drivers.servers import Servers, Tls, check_secrecy, read_tls, read_url, split_url
from antsmem.memory.indexing import newest
from antsmem.memory.roles import Vector, VectorRow

T = TypeVar("T")

_OPTIONS: Final = (
    *("ca_file", "cert_file", "database", "key_file", "password", "timeout_seconds", "tls", "token", "username"),
)
_PARTITIONS: Final = ("shared", "local")
_TOGETHER: Final = 500  # rows of a request
_TEXT_BYTES: Final = 1024  # of a stream or an id
_MOST: Final = 16384  # that Milvus finds at once
_GRAPH: Final = {"M": 16, "efConstruction": 200}
_match_collection = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}").fullmatch


class MilvusIndex:
    """Collections named COLLECTION_MODEL_DIMENSIONS, the model by a digest. `create` comes before all else."""

    def __init__(self, servers: Servers, base: str, tls: Tls | None, options: Mapping[str, str]) -> None:
        self.url = f"milvus://{servers.joined()}/{base}"
        self._uri = f"{'http' if tls is None else 'https'}://{servers.joined()}"
        self._base, self._tls, self._options = base, tls, options
        self._bound = timeout_seconds(options)
        self._client: Any = None
        self._collection = ""

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The index at `milvus://host[:port]/collection`, by TLS unless `tls=no`. Does not connect yet."""
        url, options = split_url("milvus", url, options, _OPTIONS)
        servers, tls = read_url("milvus", url, 19530), read_tls(options)
        base = servers.path.strip("/") or "antsmem"
        if len(servers.hosts) > 1 or not _match_collection(base):
            raise ConfigError("a `milvus` URL is `milvus://host:port/collection`")
        if ("username" in options) != ("password" in options):
            raise ConfigError("options `username` and `password` go together")
        for secret in {"password", "token"} & options.keys():
            check_secrecy(servers, tls, secret)
        return cls(servers, base, tls, options)

    def create(self, model: str, dimensions: int) -> None:
        """Make the collection for vectors of `model` if it is missing, and have it loaded."""
        digest = hashlib.sha256(model.encode()).hexdigest()[:12]
        self._collection = f"{self._base}_{digest}_{dimensions}"
        self._run(lambda api: self._make(api, model, dimensions))

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Put `rows`, see `VectorIndex.upsert`. What is there is looked at first: Milvus compares nothing itself,
        so of two writers of one row at once the older may stay. An agent has one writer."""
        for row in rows:
            if max(len(row.stream.encode()), len(row.id.encode())) > _TEXT_BYTES:
                raise UsageError(
                    f"a stream or id of more than {_TEXT_BYTES} bytes cannot be put into `{self.url}`"
                )
        kept = {_key(row.stream, row.id): row for row in newest(rows).values()}
        for part in _parts(list(kept)):
            asked = {name: kept[name] for name in part}
            self._run(partial(self._upsert, asked))

    def search(self, stream: str, vector: Vector, count: int) -> list[tuple[str, float]]:
        """The nearest of `stream`, see `VectorIndex.search`; at most 16384."""
        count = min(count, _MOST)
        asked = {
            "data": [list(vector)],
            "limit": count,
            "filter": _of(stream),
            "output_fields": ["name"],
            "search_params": {"metric_type": "COSINE", "params": {"ef": min(32768, max(64, 2 * count))}},
            "anns_field": "vector",
        }
        found = self._run(lambda api: api.search(self._collection, **asked, **self._strong()))
        return [(hit["entity"]["name"], float(hit["distance"])) for hit in found[0]]

    def delete(self, stream: str, ids: Sequence[str]) -> None:
        """Forget `ids`."""
        for part in _parts([_key(stream, each) for each in ids]):
            self._run(partial(self._forget, part))

    def count(self, stream: str) -> int:
        """How many vectors `stream` has."""
        asked = {"filter": _of(stream), "output_fields": ["count(*)"]}
        found = self._run(lambda api: api.query(self._collection, **asked, **self._strong()))
        return int(found[0]["count(*)"])

    def drop(self, stream: str) -> None:
        """Delete all vectors of `stream`."""
        self._run(lambda api: api.delete(self._collection, filter=_of(stream), timeout=self._bound))

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def _make(self, api: Any, model: str, dimensions: int) -> None:
        from pymilvus import DataType

        bounded = {"timeout": self._bound}
        if not api.has_collection(self._collection, **bounded):
            schema = api.create_schema(auto_id=False, description=model[:200])
            schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
            schema.add_field("stream", DataType.VARCHAR, max_length=_TEXT_BYTES)
            schema.add_field("name", DataType.VARCHAR, max_length=_TEXT_BYTES)
            schema.add_field("version", DataType.INT64)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
            api.create_collection(self._collection, schema=schema, **bounded)
        # Each step by itself, for whoever died in between.
        if not api.list_indexes(self._collection, **bounded):
            index = api.prepare_index_params()
            index.add_index("vector", index_type="HNSW", metric_type="COSINE", params=_GRAPH)
            api.create_index(self._collection, index, **bounded)
        for partition in _PARTITIONS:
            if not api.has_partition(self._collection, partition, **bounded):
                api.create_partition(self._collection, partition, **bounded)
        api.load_collection(self._collection, **bounded)

    def _forget(self, keys: list[str], api: Any) -> None:
        api.delete(self._collection, ids=keys, timeout=self._bound)

    def _upsert(self, rows: Mapping[str, VectorRow], api: Any) -> None:
        """Put those of `rows` (by primary key) that are not older than what is there. One that was in the other
        partition is taken out there: Milvus replaces within a partition only."""
        for partition in _PARTITIONS:
            there = api.get(
                self._collection,
                ids=list(rows),
                output_fields=["version"],
                partition_names=[partition],
                **self._strong(),
            )
            seen = {str(item["key"]): int(item["version"]) for item in there}
            rows = {name: row for name, row in rows.items() if seen.get(name, 0) <= row.version}
            moved = [name for name in seen if name in rows and rows[name].partition != partition]
            if moved:
                api.delete(self._collection, ids=moved, partition_name=partition, timeout=self._bound)
        for partition in _PARTITIONS:
            data = [_entity(name, row) for name, row in rows.items() if row.partition == partition]
            if data:
                api.upsert(self._collection, data=data, partition_name=partition, timeout=self._bound)

    def _strong(self) -> dict[str, Any]:
        return {"consistency_level": "Strong", "timeout": self._bound}

    def _run(self, action: Callable[[Any], T]) -> T:
        """What `action` returns, tried again while Milvus does not answer."""
        return retried(lambda: self._once(action), self._bound)

    def _once(self, action: Callable[[Any], T]) -> T:
        # Else it loads a `.env` that lies above its own folder into this process, and that may be the agent's.
        os.environ["PYTHON_DOTENV_DISABLED"] = "1"  # noqa: TID251
        try:
            import grpc
            from pymilvus import MilvusException
        except ImportError:
            raise DriverMissingError.library("pymilvus", "milvus") from None
        try:
            return action(self._connected())
        except MilvusException as error:
            raise self._ours(error) from error
        except grpc.RpcError as error:
            kind = error.code().name if isinstance(error, grpc.Call) else type(error).__name__
            if kind in {"PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT", "UNIMPLEMENTED"}:
                raise self._refused(kind) from error
            raise BackendError(f"`{self.url}` does not answer: {kind}") from error

    def _connected(self) -> Any:
        if self._client is None:
            from pymilvus import MilvusClient

            # It prints a traceback for each failure: what it would tell, our errors tell.
            logging.getLogger("pymilvus").handlers[:] = [logging.NullHandler()]
            login = {"user": "username", "password": "password", "token": "token", "db_name": "database"}
            named = {kind: self._options[name] for kind, name in login.items() if name in self._options}
            tls = self._tls or Tls()
            files = {"ca_pem_path": tls.ca_file, "client_pem_path": tls.cert_file, "client_key_path": tls.key_file}
            files = {kind: file for kind, file in files.items() if file}
            self._client = MilvusClient(self._uri, timeout=self._bound / 2, dedicated=True, **named, **files)
        return self._client

    def _ours(self, error: Any) -> AntsmemError:
        """Codes below 100 and of 400 to 999 tell of services, replicas, channels, segments and nodes that are not
        ready, 101 of a collection not loaded yet, 65535 of anything (Milvus source, `pkg/util/merr/errors.go`). A
        code of gRPC is no number."""
        from pymilvus.exceptions import ParamError

        number = error.code
        if isinstance(error, ParamError):
            return self._refused("parameters")
        if not isinstance(number, int) or number < 100 or 400 <= number < 1000 or number in {101, 65535}:
            return BackendError(f"`{self.url}` does not answer: {type(error).__name__}")
        if number == 100:
            return NotFoundError(
                f"`{self.url}` has no collection of ours", hint="see `antsmem backend test vectors`"
            )
        return self._refused(f"code {int(number)}")

    def _refused(self, word: str) -> RefusedError:
        return RefusedError(f"`{self.url}` refused: {word}", hint="look at `username`, `password` and `database`")


def _parts(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _TOGETHER):
        yield names[start : start + _TOGETHER]


def _key(stream: str, name: str) -> str:
    return hashlib.sha256(f"{stream}\0{name}".encode()).hexdigest()[:48]


def _entity(key: str, row: VectorRow) -> dict[str, Any]:
    told = {"key": key, "stream": row.stream, "name": row.id, "version": row.version}
    return {**told, "vector": [float(value) for value in row.vector]}


def _of(stream: str) -> str:
    return f"stream == {json.dumps(stream, ensure_ascii=False)}"
