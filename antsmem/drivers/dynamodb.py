"""A durable store in DynamoDB: compared rows, one counter a stream and an outbox, by one TransactWriteItems.

The items of one table, by partition key (`pk`) and sort key (`sk`):

    row#STREAM   =KEY          `version`, `value`
    seq#STREAM   -             `sequence`, the stream's counter
    out#STREAM   last number   `records` of the outbox up to that sequence, `relayed` if some of them are
    tok#STREAM   token         `sequence` that a commit got, for two days: looked up when its answer was lost
    log#STREAM   first number  `records` of the event log, see `dynamodb_log`

A commit names the counter it saw, so of two at once one is refused and comes again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, ConflictError, RefusedError, UsageError
from antsmem.drivers.commits import check_commit, pause_seconds
from antsmem.drivers.dynamodb_client import (
    DynamodbClient,
    DynamodbTable,
    Item,
    batches,
    key,
    number,
    packed,
    unpacked,
)
from antsmem.memory.roles import Change, LogRecord, Row, VersionConflict

_TOKEN_SECONDS: Final = 2 * 86400
_ACTIONS: Final = 100  # of one transaction
_FAILED: Final = "ConditionalCheckFailed"
_AGAIN: Final = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_FIRST_WAIT_SECONDS: Final = 0.005
_LONGEST_WAIT_SECONDS: Final = 0.5


class _Again(Exception):  # noqa: N818
    """Nothing was written: another was in the way, or too much was asked at once."""


class _Done(Exception):  # noqa: N818
    """An earlier try of the same commit was applied; holds its sequence."""


class DynamodbStore(DynamodbTable):
    """A table as a durable store."""

    def __init__(self, client: DynamodbClient) -> None:
        super().__init__(client)
        self._seen: dict[str, int] = {}

    def get(self, stream: str, key: str) -> Row | None:
        """The row `key`."""
        found = self._client.run(lambda: self._client.item(f"row#{stream}", f"={key}"))
        return None if found is None else _row(found)

    def rows(self, stream: str, after_key: str, limit: int) -> list[tuple[str, Row]]:
        """Rows in the order of their keys' UTF-8, see `DurableStore.rows`."""
        after = {":after": {"S": f"={after_key}"}}
        rows: list[tuple[str, Row]] = []
        for item in self._client.query(f"row#{stream}", "sk > :after", after, limit):
            if len(rows) == limit:
                break
            rows.append((item["sk"]["S"][1:], _row(item)))
        return rows

    def sequence(self, stream: str) -> int:
        """The sequence of the newest commit."""
        return self._client.run(lambda: self._counter(stream))

    def pending(self, stream: str, limit: int) -> list[tuple[int, LogRecord]]:
        """The outbox, in order."""
        waiting: list[tuple[int, LogRecord]] = []
        for item in self._client.query(f"out#{stream}", "sk > :first", {":first": {"S": "-"}}, limit):
            records = unpacked(stream, item["records"])
            first = int(item["sk"]["S"]) - len(records) + 1
            relayed = int(item.get("relayed", {"N": "0"})["N"])
            waiting += [pair for pair in enumerate(records, first) if pair[0] > relayed]
            if len(waiting) >= limit:
                break
        return waiting[:limit]

    def relayed(self, stream: str, through: int) -> None:
        """Forget the outbox up to `through`."""
        for item in self._client.query(f"out#{stream}", "sk > :first", {":first": {"S": "-"}}):
            last = int(item["sk"]["S"])
            where = {"TableName": self._client.table, "Key": key(f"out#{stream}", item["sk"]["S"])}
            if last <= through:
                self._client.run(partial(self._client.api.delete_item, **where))
                continue
            if last - len(item["records"]["L"]) < through:
                self._mark(where, through)
            return

    def commit(self, stream: str, changes: Sequence[Change], outbox: Sequence[LogRecord]) -> int:
        """One transaction, see `DurableStore.commit`, of at most 97 rows. Tried again, with jitter, while others
        are in the way, DynamoDB has no capacity or does not answer; `ConflictError` if others were quicker."""
        check_commit(stream, changes, outbox)
        token = os.urandom(16).hex()
        give_up = time.monotonic() + self._client.timeout_seconds
        unsure = False  # whether an earlier try may have been applied, its answer lost
        tries = 0
        while True:
            try:
                if unsure and (found := self._client.item(f"tok#{stream}", token)) is not None:
                    return int(found["sequence"]["N"])
                return self._try(stream, changes, outbox, token)
            except _Done as done:
                return int(done.args[0])
            except _Again as error:
                if time.monotonic() > give_up:
                    raise ConflictError(f"`{self.url}`: others wrote to `{stream}` all the time") from error
            except BackendError:
                unsure = True
                self._seen.pop(stream, None)
                if time.monotonic() > give_up:
                    raise
            time.sleep(pause_seconds(tries, _FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS))
            tries += 1

    def _try(self, stream: str, changes: Sequence[Change], outbox: Sequence[LogRecord], token: str) -> int:
        old = self._seen[stream] if stream in self._seen else self._counter(stream)
        new = old + len(outbox)
        actions = [_count(stream, old, new), _sign(stream, new, token)]
        actions += [_change(stream, change, new) for change in changes]
        last = old
        for batch in batches(outbox):
            last += len(batch)
            item = key(f"out#{stream}", number(last)) | {"records": packed(batch)}
            actions.append({"Put": {"Item": item}})
        if len(actions) > _ACTIONS:
            raise UsageError(f"a commit to `{self.url}` of {len(actions)} items: at most {_ACTIONS} go together")
        for action in actions:
            for what in action.values():
                what["TableName"] = self._client.table
        asked = {"TransactItems": actions}
        try:
            self._client.once(
                lambda: self._client.api.transact_write_items(**asked), ("TransactionCanceledException",)
            )
        except self._client.refused as error:
            self._seen.pop(stream, None)
            self._judge(error.response.get("CancellationReasons", []), changes)
            raise
        self._seen[stream] = new
        return new

    def _judge(self, reasons: Sequence[Item], changes: Sequence[Change]) -> None:
        """Raise what the reasons of a cancelled transaction mean; they stand in the order of its actions."""
        codes = [str(reason.get("Code", "None")) for reason in reasons]
        if len(codes) < 2 + len(changes):
            raise BackendError(f"what answers at `{self.url}` is no DynamoDB: a transaction without reasons")
        if codes[1] == _FAILED:
            raise _Done(reasons[1]["Item"]["sequence"]["N"])
        if codes[0] == _FAILED or _AGAIN & set(codes):
            raise _Again
        for change, reason in zip(changes, reasons[2:], strict=False):
            if reason.get("Code") == _FAILED:
                raise VersionConflict(change.key, int(reason.get("Item", {}).get("version", {"N": "0"})["N"]))
        raise RefusedError(f"`{self.url}` refused a commit", hint="a row or record of more than 400 KB is a blob")

    def _mark(self, where: Item, through: int) -> None:
        """Note in an item of the outbox that its records up to `through` are relayed, unless more are."""
        change = {
            "UpdateExpression": "SET relayed = :through",
            "ConditionExpression": "attribute_exists(pk) and (attribute_not_exists(relayed)"
            " or relayed < :through)",
            "ExpressionAttributeValues": {":through": {"N": str(through)}},
        }
        with suppress(self._client.refused):
            self._client.run(
                partial(self._client.api.update_item, **where, **change), ("ConditionalCheckFailedException",)
            )

    def _counter(self, stream: str) -> int:
        found = self._client.item(f"seq#{stream}", "-")
        return 0 if found is None else int(found["sequence"]["N"])


def _count(stream: str, old: int, new: int) -> Item:
    values = {":new": {"N": str(new)}}
    condition = "attribute_not_exists(pk)"
    if old:
        values[":old"] = {"N": str(old)}
        condition = "#sequence = :old"
    return {
        "Update": {
            "Key": key(f"seq#{stream}", "-"),
            "UpdateExpression": "SET #sequence = :new",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#sequence": "sequence"},
            "ExpressionAttributeValues": values,
        }
    }


def _sign(stream: str, sequence: int, token: str) -> Item:
    expires = now_ns() // 1_000_000_000 + _TOKEN_SECONDS
    told = {"sequence": {"N": str(sequence)}, "expires": {"N": str(expires)}}
    return {
        "Put": {
            "Item": key(f"tok#{stream}", token) | told,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def _change(stream: str, change: Change, version: int) -> Item:
    where = key(f"row#{stream}", f"={change.key}")
    condition: Item = {}
    if change.expected is not None:
        condition = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if change.expected == 0:
            condition["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            condition["ConditionExpression"] = "#version = :expected"
            condition["ExpressionAttributeNames"] = {"#version": "version"}
            condition["ExpressionAttributeValues"] = {":expected": {"N": str(change.expected)}}
    if change.value is None:
        return {"Delete": {"Key": where, **condition}}
    written = where | {"version": {"N": str(version)}, "value": {"B": change.value}}
    return {"Put": {"Item": written, **condition}}


def _row(item: Mapping[str, Any]) -> Row:
    return Row(int(item["version"]["N"]), bytes(item["value"]["B"]))
