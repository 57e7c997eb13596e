"""The roles a backend can play: what the shared memory asks of an outside system, and no more.

A stream is one agent's, named `tenant/agent`; positions and keys are opaque text. Nothing here knows what is in
`data` and `value`: they are sealed before they come here. Every call raises `BackendError` (transient) where the
system does not answer and `RefusedError` where it says no; a driver may be used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from antsmem.core.errors import ConflictError
from antsmem.core.record import field, record

Vector: TypeAlias = Sequence[float]
"""Of float32 values, such as an `array("f")`."""

Partition: TypeAlias = Literal["shared", "local"]


class VersionConflict(ConflictError):  # noqa: N818 - the name of the thing in every store
    """A row is not as the writer expected. `key` names it, `current` is its version now; 0: it is not there."""

    slug = "version-conflict"

    def __init__(self, key: str, current: int) -> None:
        super().__init__(f"row `{key}` is at version {current}: somebody else wrote it in between")
        self.key = key
        self.current = current


@record
class LogRecord:
    """One event on its way. `stream` is `tenant/agent`, `id` unique in it, `headers` the CloudEvents attributes
    by name, `data` the bytes (sealed)."""

    stream: str
    id: str
    headers: Mapping[str, str]
    data: bytes = field(repr=False)


class EventLog(Protocol):
    """Transport of events: at least once, and per stream in the order in which they were appended."""

    def create(self) -> None:
        """Make the topic, table or directory if it is missing."""
        ...

    def append(self, records: Sequence[LogRecord]) -> None:
        """Append `records`, of any streams, in order; durable when it returns. After an error some may be in."""
        ...

    def read(self, stream: str, after: str | None, limit: int) -> list[tuple[str, LogRecord]]:
        """Up to `limit` records of `stream` behind position `after` (None: from the first), each with its
        position; `[]`: nothing more now."""
        ...

    def tail(self, stream: str, after: str | None, timeout_seconds: float) -> list[tuple[str, LogRecord]]:
        """As `read`, but waits up to `timeout_seconds` for the first record."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


@record
class Row:
    """A value and its version: the sequence of the commit that wrote it."""

    version: int
    value: bytes = field(repr=False)


@record
class Change:
    """What a commit does to one row. `value` None deletes it. `expected` is the version it must have now; None:
    whatever is there; 0: nothing is there."""

    key: str
    value: bytes | None = field(repr=False)
    expected: int | None = None


class DurableStore(Protocol):
    """Rows, one counter a stream and an outbox, changed together: one transaction or nothing."""

    def create(self) -> None:
        """Make the tables if they are missing."""
        ...

    def get(self, stream: str, key: str) -> Row | None:
        """The row under `key`, or None."""
        ...

    def rows(self, stream: str, after_key: str, limit: int) -> list[tuple[str, Row]]:
        """Up to `limit` rows of `stream` with keys behind `after_key` (UTF-8 order; "": from the first)."""
        ...

    def commit(self, stream: str, changes: Sequence[Change], outbox: Sequence[LogRecord]) -> int:
        """Do all `changes`, count the stream's sequence up by one for each record of `outbox`, and keep those for
        the relay; returns the new sequence, which is the version of every row written. Durable when it returns.

        Raises `VersionConflict` where a row is not as expected, `UsageError` without a record (a change without
        an event would have no version of its own); then nothing is changed.
        """
        ...

    def sequence(self, stream: str) -> int:
        """The sequence of the newest commit; 0: there was none."""
        ...

    def pending(self, stream: str, limit: int) -> list[tuple[int, LogRecord]]:
        """Up to `limit` records of the outbox not yet relayed, with their sequences, in order."""
        ...

    def relayed(self, stream: str, through: int) -> None:
        """Forget the records of the outbox up to sequence `through`: they are in the event log."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class Cache(Protocol):
    """Rows that may vanish at any time."""

    def get(self, key: str) -> Row | None:
        """The row under `key`, or None."""
        ...

    def set_if_newer(self, key: str, row: Row) -> bool:
        """Put `row` unless the row there has the same or a higher version, as one atomic step on the server;
        whether it was put."""
        ...

    def delete(self, key: str) -> None:
        """Forget what is there; no error if nothing is."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


@record
class VectorRow:
    """A vector (one dimension, float32) under an `id` that is unique in its stream. `partition` is `shared` for
    what every session sees, `local` for what one session keeps."""

    stream: str
    id: str
    version: int
    vector: Vector = field(repr=False)
    partition: Partition = "shared"


class VectorIndex(Protocol):
    """Nearest vectors by cosine."""

    def create(self, model: str, dimensions: int) -> None:
        """Make the collection for vectors of `model` if it is missing."""
        ...

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Put `rows` in the place of those with the same stream and id, unless those are newer."""
        ...

    def search(self, stream: str, vector: Vector, count: int) -> list[tuple[str, float]]:
        """The `count` nearest of `stream`, best first, with their cosines; what was written before is seen."""
        ...

    def delete(self, stream: str, ids: Sequence[str]) -> None:
        """Forget what is there; no error if nothing is."""
        ...

    def count(self, stream: str) -> int:
        """How many vectors `stream` has."""
        ...

    def drop(self, stream: str) -> None:
        """Delete all vectors of `stream`."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


@record
class TextRow:
    """A text to be found by its words, under an `id` that is unique in its stream."""

    stream: str
    id: str
    version: int
    text: str = field(repr=False)


class TextIndex(Protocol):
    """Texts by their words."""

    def create(self) -> None:
        """Make the table if it is missing."""
        ...

    def upsert(self, rows: Sequence[TextRow]) -> None:
        """Put `rows` in the place of those with the same stream and id, unless those are newer. `UsageError` for a
        text of more than 256 KiB."""
        ...

    def search(self, stream: str, query: str, count: int) -> list[tuple[str, float]]:
        """Up to `count` of `stream` that have any word of `query`, best first, with scores that compare within one
        answer only. What a person may type is no syntax and no error; words as common as `the` are not looked for.
        What was written before is seen."""
        ...

    def delete(self, stream: str, ids: Sequence[str]) -> None:
        """Forget what is there; no error if nothing is."""
        ...

    def count(self, stream: str) -> int:
        """How many texts `stream` has."""
        ...

    def drop(self, stream: str) -> None:
        """Delete all texts of `stream`."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class Blob(Protocol):
    """Bytes under the SHA-256 (hex) of themselves."""

    def put(self, sha256: str, data: bytes) -> None:
        """Keep `data`, durable when it returns. `IntegrityError` if `sha256` is not its digest."""
        ...

    def get(self, sha256: str) -> bytes:
        """The bytes. `NotFoundError`: not there; `IntegrityError`: not those any more."""
        ...

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        ...

    def delete(self, sha256: str) -> None:
        """Forget it; no error if it is not there."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


@record
class Lease:
    """That `owner` speaks for `name` until `expires_ns` (the directory's clock). `fence` grows with each owner."""

    name: str
    owner: str
    fence: int
    expires_ns: int


class Directory(Protocol):
    """Who owns what, for a while."""

    def acquire(self, name: str, owner: str, lease_seconds: float) -> Lease | None:
        """The lease on `name`, renewed if `owner` has it already; None: another owns it."""
        ...

    def renew(self, lease: Lease) -> Lease | None:
        """The lease, for as long again as it was taken for; None: it is lost."""
        ...

    def release(self, lease: Lease) -> None:
        """Give it back, if it is still this one."""
        ...

    def owner(self, name: str) -> Lease | None:
        """Who owns `name` now; None: nobody."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...
