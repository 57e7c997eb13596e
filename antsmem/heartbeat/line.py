"""One line of the journal: a checksum and a canonical JSON object, so that a damaged line is never believed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import record

MAX_LINE_BYTES: Final = 16 << 10
MAX_SEQUENCE: Final = 1 << 40

FIRST: Final = "0" * 64
"""`prev` of the first line of all."""


@record
class Entry:
    """One record of the journal.

    `number` counts all records from 1, `at` is an instant (RFC 3339, UTC, ms), `kind` is `state`, `fact`, `mark`,
    `month`, `seal`, `take-over` or `told`, `body` all members of the object.
    """

    number: int
    at: str
    kind: str
    body: Mapping[str, Any]

    def text(self, name: str) -> str:
        """The member `name` if it is a text, else nothing."""
        value = self.body.get(name)
        return value if isinstance(value, str) else ""

    def count(self, name: str) -> int:
        """The member `name` if it is an integer, else 0."""
        value = self.body.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    @property
    def key(self) -> str:
        """Whose state this is."""
        return self.text("key")

    @property
    def state(self) -> str:
        """What became of it."""
        return self.text("state")


def fact_body(name: str, value: Any) -> Mapping[str, Any]:
    """A record that the fact `name` is `value` from now on; None takes it back."""
    return {"kind": "fact", "fact": name, "value": value}


def mark_body(task: str, slot: str, failures: int) -> Mapping[str, Any]:
    """A record of how far a task is, and how often it failed in a row."""
    return {"kind": "mark", "task": task, "slot": slot, "failures": failures}


def encode(body: Mapping[str, Any]) -> bytes:
    """The line of `body`, with its line feed. `UsageError` if it would be longer than 16 KiB."""
    data = canonical.dumps(body)
    if len(data) > MAX_LINE_BYTES - 10:
        raise UsageError(f"a record of {len(data)} bytes is too long for the journal")
    return b"%08x %b\n" % (zlib.crc32(data), data)


def decode(line: bytes, *, quick: bool = False) -> Entry | None:
    """The record in `line` (without its line feed); None if a byte of it is not what was written.

    `quick` leaves the rules of canonical JSON to whoever uses the body: there may be very many lines.
    """
    if len(line) < 11 or len(line) >= MAX_LINE_BYTES or line[8:9] != b" ":
        return None
    data = line[9:]
    if line[:8] != b"%08x" % zlib.crc32(data):
        return None
    try:
        body = json.loads(data) if quick else canonical.loads(data, MAX_LINE_BYTES)
    except (IntegrityError, ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    number, at, kind = body.get("number"), body.get("at"), body.get("kind")
    if not isinstance(number, int) or not 0 < number < MAX_SEQUENCE:
        return None
    if not isinstance(at, str) or not isinstance(kind, str) or not isinstance(body.get("prev"), str):
        return None
    return Entry(number, at, kind, body)
