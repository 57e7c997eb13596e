"""Goal: a commit to DynamoDB that is acknowledged is there, once, and its log has neither holes nor doubles.

Method: moto's server behind a proxy that throttles, cancels and loses answers, in the words that Amazon documents.
Controls: without the comparison an update is lost; without the look-up a commit is in its own way.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Container
from typing import Any

import engines
import pytest
from counting import STREAM, count, count_together, count_without_comparing, look, record, record_history
from faultproxy import HttpProxy, Reply
from register import linearizable

from antsmem.core.errors import (
    BackendError,
    ConfigError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from antsmem.drivers.dynamodb import DynamodbStore
from antsmem.drivers.dynamodb_client import DynamodbClient, packed, unpacked
from antsmem.drivers.dynamodb_log import DynamodbLog
from antsmem.memory.roles import Change, LogRecord, VersionConflict

pytestmark = pytest.mark.server
Opener = Callable[..., Any]


@pytest.fixture
def opened(moto: engines.Server, closing: engines.Closing) -> Opener:
    """Stores or logs in a new table, through `port` of a proxy if given."""
    table = f"table-{uuid.uuid4().hex[:8]}"
    keys = {"access_key_id": uuid.uuid4().hex, "secret_access_key": uuid.uuid4().hex}

    def made(port: int | None = None, kind: Any = DynamodbStore, **options: str) -> Any:
        url = f"dynamodb://{table}?endpoint=http://127.0.0.1:{port or moto.port}"
        return closing(kind.open(url, {**keys, **options}))

    made().create()
    return made


@pytest.fixture
def http(moto: engines.Server, closing: engines.Closing) -> HttpProxy:
    return closing(HttpProxy(moto.port))


def refusal(kind: str, reasons: list[Any] | None = None, status: int = 400) -> Reply:
    told = {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "what a stranger says"}
    if reasons is not None:
        told["CancellationReasons"] = reasons  # type: ignore[assignment]
    return Reply(status, json.dumps(told).encode(), {"Content-Type": "application/x-amz-json-1.0"})


def at(reply: Reply, places: Container[int]) -> Callable[[str, str], Reply | None]:
    """A rule that gives `reply` to the requests at `places`, counted from 1, and lets the others pass."""
    asked = iter(range(1, 1_000_000))
    return lambda _method, _path: reply if next(asked) in places else None


ALL = range(1, 1_000_000)
EVEN = range(2, 1_000_000, 2)
"""Of a store that reads the counter before each try, these are the transactions."""


THROTTLED = [
    refusal("ThrottlingException"),
    refusal("ProvisionedThroughputExceededException"),
    refusal("RequestLimitExceeded"),
    refusal("TransactionInProgressException"),
    refusal("InternalServerError", status=500),
    refusal("TransactionCanceledException", [{"Code": "TransactionConflict"}, {"Code": "None"}, {"Code": "None"}]),
    refusal("TransactionCanceledException", [{"Code": "None"}, {"Code": "ThrottlingError"}, {"Code": "None"}]),
]


@pytest.mark.parametrize("reply", THROTTLED, ids=range(len(THROTTLED)))
def test_what_may_pass_is_tried_again_and_applied_once(opened: Opener, http: HttpProxy, reply: Reply) -> None:
    store = opened(http.port)
    http.rule = at(reply, {2, 4} if b"CancellationReasons" in reply.body else {1, 2, 3})
    assert store.commit(STREAM, [], [record()]) == 1
    assert len(http.seen) >= 5
    assert store.sequence(STREAM) == len(store.pending(STREAM, 9)) == 1


def test_throttling_that_does_not_end_is_left_in_time(opened: Opener, http: HttpProxy) -> None:
    http.rule = at(THROTTLED[0], ALL)
    store = opened(http.port, timeout_seconds="3")
    with pytest.raises(BackendError) as caught:
        store.commit(STREAM, [], [record()])
    assert "stranger" not in str(caught.value)
    http.rule = at(THROTTLED[5], EVEN)
    with pytest.raises(ConflictError):
        store.commit(STREAM, [], [record()])


def test_a_commit_whose_answer_is_lost_is_applied_once(opened: Opener, http: HttpProxy) -> None:
    store = opened(http.port)
    http.after = at(Reply(502), {2})  # the counter is read, then the transaction
    assert store.commit(STREAM, [Change("a", b"1", 0)], [record()]) == 1
    assert store.sequence(STREAM) == len(store.pending(STREAM, 9)) == 1


def test_control_without_the_look_up_it_would_be_a_conflict_with_itself(
    opened: Opener, http: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(http.port)
    http.after = at(Reply(502), {2})
    monkeypatch.setattr("antsmem.drivers.dynamodb._sign", lambda stream, new, token: store_sign(stream, new))
    with pytest.raises(VersionConflict):
        store.commit(STREAM, [Change("a", b"1", 0)], [record()])


def store_sign(stream: str, sequence: int) -> dict[str, Any]:
    """A token that nobody finds again."""
    where = {"pk": {"S": f"tok#{stream}"}, "sk": {"S": uuid.uuid4().hex}}
    return {"Put": {"Item": where | {"sequence": {"N": str(sequence)}}}}


def test_many_writers_of_one_row_lose_nothing(opened: Opener) -> None:
    look(opened(), count_together(lambda: opened(timeout_seconds="100"), 3, 5))


def test_control_without_the_comparison_an_update_is_lost(opened: Opener) -> None:
    row = count_without_comparing(opened)
    assert (row.value, row.version) == (b"1", 2)


def test_a_history_of_six_threads_is_linearizable_though_answers_are_lost(opened: Opener, http: HttpProxy) -> None:
    asked = iter(range(1, 1_000_000))
    http.after = lambda _method, _path: Reply(502) if next(asked) % 7 == 0 else None
    recorder = record_history(lambda: opened(http.port, timeout_seconds="100"), 4)
    assert linearizable(recorder.history)


def test_control_the_same_history_without_the_comparison_is_not(opened: Opener) -> None:
    assert not linearizable(record_history(opened, 4, compared=False).history)


def test_a_batch_whose_answer_is_lost_is_in_the_log_once(opened: Opener, http: HttpProxy) -> None:
    log = opened(http.port, DynamodbLog)
    http.after = at(Reply(502), {2, 3})
    log.append([record() for _ in range(3)])
    log.append([record()])
    assert len(log.read(STREAM, None, 99)) == 4


def test_the_tables_stream_tells_of_each_batch_as_the_log_has_it(opened: Opener) -> None:
    import boto3

    log = opened(None, DynamodbLog)
    records = [record() for _ in range(5)]
    log.append(records[:3])
    log.append(records[3:])
    api = log._client.api
    arn = api.describe_table(TableName=log._client.table)["Table"]["LatestStreamArn"]
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    streams = boto3.client("dynamodbstreams", endpoint_url=api.meta.endpoint_url, **keys)
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    where = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    told = streams.get_records(ShardIterator=streams.get_shard_iterator(**where)["ShardIterator"])["Records"]
    images = [each["dynamodb"]["NewImage"] for each in told]
    assert [each for image in images for each in unpacked(STREAM, image["records"])] == records
    streams.close()


def test_what_is_too_big_is_refused_and_changes_nothing(opened: Opener) -> None:
    store = opened()
    with pytest.raises(RefusedError):
        store.commit(STREAM, [Change("big", bytes(450_000))], [record()])
    with pytest.raises(UsageError):
        store.commit(STREAM, [Change(f"k{number}", b"") for number in range(98)], [record()])
    with pytest.raises(RefusedError):
        opened(None, DynamodbLog).append([LogRecord(STREAM, "big", {}, bytes(450_000))])
    assert (store.sequence(STREAM), store.rows(STREAM, "", 9)) == (0, [])
    assert store.commit(STREAM, [Change(f"k{number}", b"") for number in range(97)], [record()]) == 1
    assert len(store.rows(STREAM, "", 99)) == 97


def test_records_that_fill_several_items_stay_in_order(opened: Opener) -> None:
    store, log = opened(), opened(None, DynamodbLog)
    records = [LogRecord(STREAM, f"r{number}", {"n": "1"}, bytes(150_000)) for number in range(5)]
    assert store.commit(STREAM, [], records) == 5
    assert store.pending(STREAM, 9) == list(enumerate(records, 1))
    store.relayed(STREAM, 3)
    assert [number for number, _ in store.pending(STREAM, 9)] == [4, 5]
    log.append(records)
    assert [each for _, each in log.read(STREAM, None, 9)] == records


def test_an_error_says_what_to_do(opened: Opener, http: HttpProxy, moto: engines.Server) -> None:
    keys = {"access_key_id": "a", "secret_access_key": "b"}
    absent = DynamodbStore.open(f"dynamodb://absent?endpoint=http://127.0.0.1:{moto.port}", keys)
    with pytest.raises(NotFoundError, match="does not exist"):
        absent.get(STREAM, "a")
    absent.close()
    http.rule = at(refusal("AccessDeniedException"), ALL)
    with pytest.raises(RefusedError, match="AccessDeniedException"):
        opened(http.port).get(STREAM, "a")
    with pytest.raises(BackendError):
        opened(engines.free_port(), timeout_seconds="0.2").get(STREAM, "a")
    with pytest.raises(UsageError):
        opened(None, DynamodbLog).read(STREAM, "elsewhere", 1)
    assert count(opened(), 1) == 1


@pytest.mark.parametrize(
    "attribute",
    [
        {},
        {"S": "x"},
        {"L": "x"},
        {"L": [{"S": "x"}]},
        {"L": [{"M": {"i": {"S": "x"}, "h": {"S": "[]"}, "d": {"B": b""}}}]},
        {"L": [{"M": {"i": {"S": "x"}, "h": {"S": '{"a":1,"a":2}'}, "d": {"B": b""}}}]},
        {"L": [{"M": {"i": {"S": "x"}, "h": {"S": "[" * 10_000}, "d": {"B": b""}}}]},
        {"L": [{"M": {"i": {"S": "x"}, "h": {"S": "{}"}}}]},
    ],
)
def test_records_that_somebody_else_wrote_are_refused(attribute: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        unpacked(STREAM, attribute)
    assert unpacked(STREAM, packed([record()]))[0].stream == STREAM


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("dynamodb://", {}),
        ("dynamodb://key:secret@table", {}),
        ("dynamodb://table/more", {}),
        ("dynamodb://table?secret_access_key=secret", {}),
        ("dynamodb://table", {"access_key_id": "a"}),
        ("dynamodb://table", {"endpoint": "http://user@host"}),
        ("dynamodb://table", {"colour": "red"}),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        DynamodbClient.parse(url, options)
    assert "secret@" not in str(caught.value)
