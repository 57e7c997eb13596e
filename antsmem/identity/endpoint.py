"""What a relay can do for an agent, and the records that travel: see docs/spec/relay-v1.md for the bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from antsmem.core.record import field, record

SCHEMA: Final = "antsmem.relay/1"
ERROR_SCHEMA: Final = "antsmem.relay.error/1"
HEAD_SCHEMA: Final = "antsmem.relay.head/1"
HANDLE_SCHEMA: Final = "antsmem.relay.handle/1"
RECEIPT_SCHEMA: Final = "antsmem.relay.receipt/1"
SLOT_SCHEMA: Final = "antsmem.relay.slot/1"
READ_SCHEMA: Final = "antsmem.message.read/1"

EPOCH: Final = "epoch"
LEDGER: Final = "ledger"
SLOTS: Final = (EPOCH, LEDGER)

MAX_LOG_BYTES: Final = 1 << 20
"""A longer identity log is not kept by a relay."""
MAX_SLOT_BYTES: Final = 256 << 10
MAX_SEALED_BYTES: Final = 64 << 10
"""Of one message, sealed."""
MAX_ITEMS: Final = 100
"""In one answer about an inbox."""
WINDOW_SECONDS: Final = 60
"""How far a request's `created` may be from the relay's clock."""


@record
class RelayInfo:
    """What a relay says of itself: where it is reached, and the key that signs its answers."""

    url: str
    key: bytes


@record
class Head:
    """A relay's signed word about an agent. `relays`, if this relay is none of them, say where it moved to."""

    scid: str
    version_id: str
    relays: tuple[str, ...]
    home: bool
    handles: tuple[str, ...]
    statement: bytes = field(repr=False)


@record
class FetchedLog:
    """A log as a relay served it, and the relay's signed word that this is the newest one it knows."""

    text: bytes = field(repr=False)
    statement: bytes = field(repr=False)


@record
class Receipt:
    """A relay's signed word that it keeps message `message` until the reader has it."""

    message: str
    sender: str
    to: str
    digest: str
    time: str
    statement: bytes = field(repr=False)


@record
class InboxItem:
    """What lies in an inbox, by `number` in the order in which it came: `kind` is `message` (`body` is sealed) or
    `read` (`body` is the reader's signed word)."""

    number: int
    kind: str
    sender: str
    message: str
    body: bytes = field(repr=False)


@record
class Slot:
    """A small document that a relay keeps for an agent; `etag` names this state of it."""

    data: bytes
    etag: str


class Relay(Protocol):
    """One relay, for one agent. Every method raises `BackendError` (it does not answer), `RefusedError` (it
    answers no), `IntegrityError` (what it says is not what it signed) and, where the agent's newest log revoked
    this host's key, `RetiredError`."""

    url: str

    def info(self) -> RelayInfo:
        """What it says of itself; its key must be the one that was seen first."""
        ...

    def register(self, log: bytes) -> Head:
        """Hand over the whole log: the first time, or longer than before. `RollbackError`: the relay has a newer
        or another one."""
        ...

    def head(self, scid: str) -> Head:
        """Its word about an agent; `NotFoundError` if it knows none."""
        ...

    def log(self, scid: str) -> FetchedLog:
        """An agent's log, not verified; `NotFoundError` if it has none."""
        ...

    def handle(self, name: str) -> str:
        """The SCID that it gave the handle `name` to; `NotFoundError`."""
        ...

    def send(self, to: str, message: str, sealed: bytes) -> Receipt:
        """Leave a message for the agent `to`."""
        ...

    def inbox(self, after: int) -> Sequence[InboxItem]:
        """The oldest items with a number above `after`, at most 100."""
        ...

    def settle(self, read: Sequence[bytes], drop: Collection[tuple[str, str, str]]) -> None:
        """Take messages off the inbox with the signed words `read`, and other items (`drop`: kind, sender,
        message)."""
        ...

    def slot(self, name: str) -> Slot | None:
        """The document in slot `epoch` or `ledger`."""
        ...

    def put_slot(self, name: str, data: bytes, expected: str | None) -> Slot:
        """Replace it if its etag still is `expected` (None: if there is none), else `ConflictError`."""
        ...
