"""An event log in a DynamoDB table whose stream tells others (a Lambda) of each batch as it comes.

A batch of records is one item, under the number of its first record. It is written where the last batch ends, on
condition that nothing is there: batches are whole or absent, in one order, without holes, so a reader misses none.
It is read from the table, which keeps records for ever, not from the stream, which keeps them for a day.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any, Final

from antsmem.core.errors import BackendError, ConflictError, UsageError
from antsmem.drivers.dynamodb_client import DynamodbClient, DynamodbTable, batches, key, number, packed, unpacked
from antsmem.memory.roles import LogRecord

_FIRST_WAIT_SECONDS: Final = 0.02
_LONGEST_WAIT_SECONDS: Final = 0.5
_match_position = re.compile(r"(\d{1,19})\.(\d{1,6})").fullmatch


class DynamodbLog(DynamodbTable):
    """A table as an event log. A position says where to go on: a batch's number and a place in it."""

    def __init__(self, client: DynamodbClient) -> None:
        super().__init__(client)
        self._ends: dict[str, int] = {}

    def append(self, records: Sequence[LogRecord]) -> None:
        """Append in order, see `EventLog.append`; each batch once, also when an answer was lost."""
        streams: dict[str, list[LogRecord]] = {}
        for record in records:
            streams.setdefault(record.stream, []).append(record)
        for stream, own in streams.items():
            for batch in batches(own):
                self._put(stream, batch)

    def read(self, stream: str, after: str | None, limit: int) -> list[tuple[str, LogRecord]]:
        """Records behind `after`, see `EventLog.read`."""
        start, skipped = 0, 0
        if after is not None:
            found = _match_position(after)
            if found is None:
                raise UsageError(f"`{after[:40]}` is no position in `{self.url}`")
            start, skipped = int(found[1]), int(found[2])
        records: list[tuple[str, LogRecord]] = []
        for item in self._client.query(f"log#{stream}", "sk >= :start", {":start": {"S": number(start)}}, limit):
            first = int(item["sk"]["S"])
            batch = unpacked(stream, item["records"])
            for index, record in enumerate(batch):
                if first == start and index < skipped:
                    continue
                following = f"{first}.{index + 1}" if index + 1 < len(batch) else f"{first + len(batch)}.0"
                records.append((following, record))
                if len(records) == limit:
                    return records
        return records

    def tail(self, stream: str, after: str | None, timeout_seconds: float) -> list[tuple[str, LogRecord]]:
        """As `read`, waiting for the first by asking again and again, twice a second at the most seldom."""
        give_up = time.monotonic() + timeout_seconds
        wait = _FIRST_WAIT_SECONDS
        while True:
            records = self.read(stream, after, 1000)
            left = give_up - time.monotonic()
            if records or left <= 0:
                return records
            time.sleep(min(wait, left))
            wait = min(_LONGEST_WAIT_SECONDS, wait * 2)

    def _put(self, stream: str, batch: list[LogRecord]) -> None:
        """Write `batch` behind the last one. Its token tells a batch of ours, its answer lost, from another's."""
        token = os.urandom(16)
        give_up = time.monotonic() + self._client.timeout_seconds
        told = {"records": packed(batch), "token": {"B": token}, "count": {"N": str(len(batch))}}
        while True:
            end = self._ends[stream] if stream in self._ends else self._end(stream)
            item = key(f"log#{stream}", number(end)) | told
            holder = self._written(item)
            if holder in {None, token}:
                self._ends[stream] = end + len(batch)
                return
            self._ends.pop(stream, None)
            if time.monotonic() > give_up:
                raise ConflictError(f"`{self.url}`: others appended to `{stream}` all the time")

    def _written(self, item: dict[str, Any]) -> bytes | None:
        """Put `item` where nothing is; the token of what is there already, None if it was free."""
        asked = {
            "TableName": self._client.table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._client.run(
                lambda: self._client.api.put_item(**asked), passes=("ConditionalCheckFailedException",)
            )
        except self._client.refused as error:
            there = error.response.get("Item")
            if there is None:
                raise BackendError(f"`{self.url}` does not say what is in the way") from error
            return bytes(there["token"]["B"])
        return None

    def _end(self, stream: str) -> int:
        """The number behind the last batch."""
        asked = {
            "TableName": self._client.table,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": f"log#{stream}"}},
            "ExpressionAttributeNames": {"#count": "count"},
            "ProjectionExpression": "sk, #count",
            "ScanIndexForward": False,
            "Limit": 1,
        }
        found = self._client.run(lambda: self._client.api.query(**asked))["Items"]
        return int(found[0]["sk"]["S"]) + int(found[0]["count"]["N"]) if found else 0
