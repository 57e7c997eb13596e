"""Rows in a DynamoDB table of their own, read and written through DAX, Amazon's cache in front of DynamoDB.

With a cluster in the URL and the library `amazon-dax-client`, items are asked for at the cluster, which writes
through; else at the table itself, by boto3. An item is `pk` (the key's SHA-256), `sk` (`-`), `version`, `value`
and `expires`, after which DynamoDB deletes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final, Self, TypeVar

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, RefusedError
from antsmem.drivers.dynamodb_client import PLAIN, SECRET, DynamodbClient, DynamodbTable, key
from antsmem.drivers.servers import read_tls, read_url, split_url, whole_number
from antsmem.memory.inspection import Inspection
from antsmem.memory.roles import Row

T = TypeVar("T")

_OPTIONS: Final = (*PLAIN, *SECRET, "keep_days", "tls")
_FAILED: Final = "ConditionalCheckFailedException"
_PASSING: Final = {  # what the client says of a cluster that does not answer, besides what DynamoDB says
    "ConnectionException",
    "DecoderException",
    "EndOfStreamException",
    "InternalServerErrorException",
    "MalformedResultException",
    "NoRouteException",
    "RequestLimitExceededException",
}


class DaxCache(DynamodbTable):
    """A table as a cache, before which a cluster may stand: `places` are its endpoints."""

    def __init__(self, client: DynamodbClient, places: list[str], keep_days: int) -> None:
        super().__init__(client)
        self._places = places
        self._through_cluster = bool(places) and find_spec("amazondax") is not None
        self._keep_seconds = keep_days * 86400
        self._cluster: Any = None

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The table at `dax://cluster[:9111]/table?region=…`, by TLS unless `tls=no` (8111), or without a cluster
        at `dax:///table`. Options besides those of `dynamodb`: `keep_days` (7). Does not connect yet."""
        place, options = split_url("dax", url, options, _OPTIONS)
        tls = read_tls({name: options[name] for name in ("tls",) if name in options})
        port, scheme = (8111, "dax") if tls is None else (9111, "daxs")
        table, places = place.removeprefix("dax:///"), []
        if table == place:
            servers = read_url("dax", place, port)
            table, places = servers.path, [f"{scheme}://{each}" for each in servers.joined().split(",")]
        days = whole_number(options, "keep_days", 7, 1, 3650)
        settings = {name: value for name, value in options.items() if name not in {"keep_days", "tls"}}
        return cls(DynamodbClient(place, table, settings), places, days)

    def get(self, key: str) -> Row | None:
        """The row under `key`; None if there is none. What a cluster answers may be older than what is in the
        table: it says how old by its version."""
        where = {**self._where(key), "ConsistentRead": not self._through_cluster}
        item = self._run(lambda api: api.get_item(**where)).get("Item")
        return None if item is None else Row(int(item["version"]["N"]), bytes(item["value"]["B"]))

    def set_if_newer(self, key: str, row: Row) -> bool:
        """See `Cache.set_if_newer`: one put, on condition that what is there is older."""
        where = self._where(key)
        expires = now_ns() // 1_000_000_000 + self._keep_seconds
        version = {"N": str(row.version)}
        item = {"version": version, "value": {"B": row.value}, "expires": {"N": str(expires)}}
        asked = {
            "TableName": where["TableName"],
            "Item": {**where["Key"], **item},
            "ConditionExpression": "attribute_not_exists(pk) or #version < :version",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":version": version},
        }
        try:
            self._run(lambda api: api.put_item(**asked), (_FAILED,))
        except self._client.refused:
            return False
        return True

    def delete(self, key: str) -> None:
        """Forget the row under `key`."""
        where = self._where(key)
        self._run(lambda api: api.delete_item(**where))

    def inspect(self) -> Inspection:
        """Which way the rows go."""
        return Inspection({"through": "DAX" if self._through_cluster else "DynamoDB itself"})

    def close(self) -> None:
        """End the connections, and the threads that watch a cluster."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
        super().close()

    def _where(self, name: str) -> dict[str, Any]:
        return {"TableName": self._client.table, "Key": key(hashlib.sha256(name.encode()).hexdigest(), "-")}

    def _api(self) -> Any:
        """Who is asked. The client of a cluster connects when it is made."""
        if not self._through_cluster:
            return self._client.api
        if self._cluster is None:
            from amazondax import AmazonDaxClient

            session = self._client.session
            if session.get_credentials() is None:
                raise RefusedError(f"could not ask `{self.url}`: no keys", hint="set the options for keys")
            self._cluster = AmazonDaxClient(
                session, session.region_name, endpoints=self._places, config=self._client.config
            )
        return self._cluster

    def _run(self, action: Callable[[Any], T], passes: tuple[str, ...] = ()) -> T:
        """What `action` returns, tried again while nobody answers."""

        def once() -> T:
            try:
                return action(self._api())
            except self._client.refused as error:
                if (said := getattr(error, "code", None)) in _PASSING:  # Amazon's client has codes of its own
                    raise BackendError(f"`{self.url}` does not answer: {said}") from error
                raise

        return self._client.run(once, passes)
