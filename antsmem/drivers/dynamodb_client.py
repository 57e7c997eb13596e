"""The boto3 client behind the `dynamodb` drivers: one table, each call bounded, its errors ours."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit

from antsmem.backup.store import check_options
from antsmem.core import canonical
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    IntegrityError,
    NotFoundError,
    RefusedError,
)
from antsmem.core.retry import retried, timeout_seconds
from antsmem.memory.roles import LogRecord

T = TypeVar("T")
Item: TypeAlias = dict[str, Any]

SECRET: Final = ("access_key_id", "secret_access_key", "session_token")
PLAIN: Final = ("ca_file", "endpoint", "profile", "region", "timeout_seconds")
_match_table = re.compile(r"[A-Za-z0-9_.-]{3,255}").fullmatch
_PASSING: Final = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
}
# An item holds 400 KB, names and all; a record of more than that has to be a blob.
_ITEM_BYTES: Final = 320_000
_MOST_BYTES: Final = 400 << 10  # that an item of DynamoDB may have
_RECORD_OVERHEAD: Final = 64


class DynamodbClient:
    """One table. `api` is boto3's client, `refused` what it raises when DynamoDB answers with an error; what is
    called through `once` or `run` raises our errors instead, but for those in `passes`."""

    def __init__(self, url: str, table: str, settings: Mapping[str, str]) -> None:
        try:
            import boto3
            from botocore import exceptions
            from botocore.config import Config
        except ImportError:
            raise DriverMissingError.library("boto3", "dynamodb") from None
        check_settings(table, settings)
        self.url = url
        self.table = table
        self.timeout_seconds = timeout_seconds(settings)
        self.refused: Any = exceptions.ClientError
        self._sdk = exceptions
        ca_file = settings.get("ca_file")
        silence = self.timeout_seconds / 2
        try:
            self.config = Config(
                connect_timeout=silence,
                read_timeout=silence,
                retries={"total_max_attempts": 1, "max_attempts": 0},  # core/retry.py does that
                tcp_keepalive=True,
            )
            self.session = boto3.session.Session(
                aws_access_key_id=settings.get("access_key_id"),
                aws_secret_access_key=settings.get("secret_access_key"),
                aws_session_token=settings.get("session_token"),
                profile_name=settings.get("profile"),
                region_name=settings.get("region", "us-east-1" if "endpoint" in settings else None),
            )
            self.api: Any = self.session.client(
                "dynamodb",
                endpoint_url=settings.get("endpoint"),
                verify=None if ca_file is None else os.path.expanduser(ca_file),
                config=self.config,
            )
        except (exceptions.BotoCoreError, ValueError) as error:
            word = type(error).__name__
            raise ConfigError(f"boto3 cannot work with these options: {word}", hint="set `region`") from error

    @classmethod
    def parse(cls, url: str, options: Mapping[str, str]) -> DynamodbClient:
        """The client for `dynamodb://table?region=…&endpoint=…`. Settings that are no secrets may stand in the
        URL; without keys, boto3 looks where every AWS tool does."""
        check_options("dynamodb", options, (*PLAIN, *SECRET))
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if not _match_table(parts.netloc) or parts.path.strip("/") or parts.fragment:
            raise ConfigError("a `dynamodb` URL is `dynamodb://table?region=…`: it carries no keys")
        asked = dict(parse_qsl(parts.query))
        check_options("dynamodb", asked, PLAIN)
        return cls(f"dynamodb://{parts.netloc}", parts.netloc, {**asked, **options})

    def run(self, action: Callable[[], T], passes: Sequence[str] = ()) -> T:
        """What `action` returns, tried again while DynamoDB does not answer."""
        return retried(lambda: self.once(action, passes), self.timeout_seconds)

    def once(self, action: Callable[[], T], passes: Sequence[str] = ()) -> T:
        """What `action` returns. The error codes in `passes` are left to the caller as `refused`."""
        sdk = self._sdk
        try:
            return action()
        except sdk.ClientError as error:
            if code(error) in passes:
                raise
            raise self._ours(error) from error
        except (sdk.HTTPClientError, sdk.ConnectionError, sdk.IncompleteReadError, OSError) as error:
            raise BackendError(f"`{self.url}` does not answer: {type(error).__name__}") from error
        except sdk.BotoCoreError as error:
            word = type(error).__name__
            if word == "ResponseParserError":
                raise BackendError(f"what answers at `{self.url}` is no DynamoDB") from error
            raise RefusedError(f"could not ask `{self.url}`: {word}", hint="set the options for keys") from error

    def query(self, partition: str, condition: str, values: Item, limit: int | None = None) -> Iterator[Item]:
        """The items of `partition` whose sort key fulfils `condition` (on `sk`), ascending, read consistently."""
        more: Item = {}
        asked: Item = {
            "TableName": self.table,
            "ConsistentRead": True,
            "KeyConditionExpression": f"pk = :pk and {condition}",
            "ExpressionAttributeValues": {":pk": {"S": partition}, **values},
        }
        if limit is not None:
            asked["Limit"] = limit
        while True:
            page = self.run(partial(self.api.query, **asked, **more))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def item(self, partition: str, sort: str) -> Item | None:
        """One item, read consistently; one request."""
        asked = {"TableName": self.table, "Key": key(partition, sort), "ConsistentRead": True}
        found: Item | None = self.once(lambda: self.api.get_item(**asked)).get("Item")
        return found

    def create(self) -> None:
        """Make the table, with its stream of new images, if it is missing, and wait until it can be used."""
        sorts = ("pk", "HASH"), ("sk", "RANGE")
        made = {
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in sorts],
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in sorts],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        }
        name = {"TableName": self.table}
        try:
            self.run(lambda: self.api.create_table(**name, **made), passes=("ResourceInUseException",))
        except self.refused:
            return  # it is there, or another makes it: its template says what it has
        finally:
            self.run(lambda: self.api.get_waiter("table_exists").wait(**name, WaiterConfig={"Delay": 1}))
        expires = {"Enabled": True, "AttributeName": "expires"}
        self.run(lambda: self.api.update_time_to_live(**name, TimeToLiveSpecification=expires))

    def _ours(self, error: Any) -> AntsmemError:
        word = code(error)
        number = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if word in _PASSING or number >= 500:
            return BackendError(f"`{self.url}` cannot answer now: {word}")
        if word == "ResourceNotFoundException":
            return NotFoundError(f"`{self.url}` does not exist", hint="make it: `antsmem backend init`")
        return RefusedError(f"`{self.url}` refused: {word}")


class DynamodbTable:
    """What a driver of any role is: a table, made and left the same way."""

    def __init__(self, client: DynamodbClient) -> None:
        self._client = client

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """What is at `dynamodb://table?region=…`; see `DynamodbClient.parse`. Does not connect yet."""
        return cls(DynamodbClient.parse(url, options))

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._client.url

    def create(self) -> None:
        """Make the table if it is missing."""
        self._client.create()

    def close(self) -> None:
        """End the connections."""
        self._client.api.close()


def check_settings(table: str, settings: Mapping[str, str]) -> None:
    """`ConfigError` for what can be no table of DynamoDB, or no way to it."""
    if not _match_table(table):
        raise ConfigError("the URL names no table", hint="3 to 255 letters, digits, `_`, `.` and `-`")
    if ("access_key_id" in settings) != ("secret_access_key" in settings):
        raise ConfigError("options `access_key_id` and `secret_access_key` go together")
    endpoint = settings.get("endpoint")
    if endpoint is not None and not re.fullmatch(r"https?://[^/@?#]+/?", endpoint):
        raise ConfigError("option `endpoint` must look like `https://host:port`")


def code(error: Any) -> str:
    """The error code of a `ClientError`, which is one word; of anything else nothing is repeated."""
    word = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
    return word if re.fullmatch(r"[A-Za-z0-9.]{1,64}", word) else "error"


def key(partition: str, sort: str) -> Item:
    """The key of an item."""
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def number(value: int) -> str:
    """A sort key that sorts as the number does."""
    return f"{value:020d}"


def packed(records: Sequence[LogRecord]) -> Item:
    """The attribute for `records`: a list of maps, with the id `i`, headers `h` as JSON text and data `d`."""
    return {
        "L": [
            {"M": {"i": {"S": each.id}, "h": {"S": json.dumps(dict(each.headers))}, "d": {"B": each.data}}}
            for each in records
        ]
    }


def unpacked(stream: str, attribute: Item) -> list[LogRecord]:
    """The records that `packed` made an attribute of. `IntegrityError` for what it did not make."""
    found = []
    try:
        for each in (item["M"] for item in attribute["L"]):
            headers = canonical.loads(each["h"]["S"].encode(), _MOST_BYTES)
            texts = {str(name): str(value) for name, value in headers.items()}
            found.append(LogRecord(stream, each["i"]["S"], texts, bytes(each["d"]["B"])))
    except (AttributeError, KeyError, TypeError):
        raise IntegrityError("the table holds records that antsmem did not write") from None
    return found


def batches(records: Sequence[LogRecord]) -> Iterator[list[LogRecord]]:
    """`records` in lists that fit in an item each; one that does not fit at all is left to DynamoDB to refuse."""
    batch: list[LogRecord] = []
    size = 0
    for each in records:
        headers = sum(len(name.encode()) + len(value.encode()) + 8 for name, value in each.headers.items())
        weight = len(each.data) + headers + len(each.id.encode()) + _RECORD_OVERHEAD
        if batch and size + weight > _ITEM_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += weight
    if batch:
        yield batch
