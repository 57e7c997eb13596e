"""Verbs: give a backend the events it lacks, and take those that this host lacks.

The durable store says what counts: row `head/<device>` how far each device is (compared and swapped, so that no
number is ever given twice), rows `key/<device>/<number>` the wrapped keys of a batch, apart from the log, so that
they can be destroyed; the outbox of the same transaction feeds the event log, at least once. What is in the log
twice, out of turn or not at all is seen by its device and number. Rows and records: docs/spec/event-v1.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.errors import ConflictError, IntegrityError, NotFoundError, RollbackError
from antsmem.core.record import field, mutable_record, record, replace
from antsmem.identity.fields import Fields
from antsmem.memory.event import REDACTED, Event, check_form
from antsmem.memory.index import NOTHING, Head
from antsmem.memory.intake import Refusal, take_in
from antsmem.memory.local import LocalMemory
from antsmem.memory.payload import Redaction
from antsmem.memory.roles import Blob, Change, DurableStore, EventLog, LogRecord
from antsmem.memory.sealing import base64url

BATCH_EVENTS: Final = 90
"""Events a commit: with its two rows and its counter less than the hundred items that DynamoDB takes."""

BATCH_BYTES: Final = 1 << 20
IDENTITY: Final = "identity"
"""The row with the identity log, which is public."""

_HEAD, _KEY = "head/", "key/"
_ROW_BYTES: Final = 1 << 20
_PAGE: Final = 500
_TRIES: Final = 5


@record
class Backends:
    """The open backends of one agent. `where` names the log: a position counts in that one alone."""

    log: EventLog
    durable: DurableStore
    blobs: Blob
    where: str = ""

    def close(self) -> None:
        """Close all of them."""
        self.log.close()
        self.durable.close()
        self.blobs.close()


@record
class RemoteHead:
    """How far the durable store knows a device: its newest event, and the version of that row."""

    sequence: int
    hash: str
    version: int


NOWHERE: Final = RemoteHead(0, NOTHING.hash, 0)


@mutable_record
class Pushed:
    """What was given: events, and blobs; `token` is the version token of the newest commit (0: there was none)."""

    events: int = 0
    blobs: int = 0
    token: int = 0


@mutable_record
class Pulled:
    """What came: new events; `gaps`: device → how many events the log does not give (yet)."""

    new: int = 0
    again: int = 0
    refused: list[Refusal] = field(default_factory=list)
    gaps: dict[str, int] = field(default_factory=dict)


def remote_heads(memory: LocalMemory, durable: DurableStore) -> dict[str, RemoteHead]:
    """Device → how far the durable store has its events."""
    found: dict[str, RemoteHead] = {}
    after = _HEAD
    while page := durable.rows(memory.stream, after, _PAGE):
        for key, row in page:
            if not key.startswith(_HEAD):
                return found
            fields = Fields(canonical.loads(row.value, _ROW_BYTES), f"row `{key}`")
            found[key.removeprefix(_HEAD)] = RemoteHead(
                fields.number("sequence"), fields.text("hash"), row.version
            )
            fields.end()
        after = page[-1][0]
    return found


def push(memory: LocalMemory, backends: Backends, rows: Sequence[Change] = ()) -> Pushed:
    """Give the backends every event that they lack, of this device and of the others, and relay what waits; with
    the first of them `rows`.

    `RollbackError`: they hold another history of a device than this host does.
    """
    pushed = Pushed()
    more = list(rows)
    remote = remote_heads(memory, backends.durable)
    for device, head in memory.index.heads().items():
        for _ in range(_TRIES):
            try:
                _push_device(memory, backends, (device, head, remote.get(device, NOWHERE)), more, pushed)
                break
            except ConflictError:  # another host gave them meanwhile
                remote = remote_heads(memory, backends.durable)
                more = []  # and such rows with them, or they have their turn next time
        else:
            raise ConflictError(f"the events of `{device}` are being given by another host all the time")
    relay(memory.stream, backends)
    return pushed


def relay(stream: str, backends: Backends) -> int:
    """Append what waits in the outbox to the event log; how many. Twice is no harm, and lost is none."""
    count = 0
    while waiting := backends.durable.pending(stream, _PAGE):
        backends.log.append([item for _, item in waiting])
        backends.durable.relayed(stream, waiting[-1][0])
        count += len(waiting)
    return count


def _push_device(
    memory: LocalMemory,
    backends: Backends,
    state: tuple[str, Head, RemoteHead],
    more: list[Change],
    pushed: Pushed,
) -> None:
    device, head, remote = state
    known = memory.index.hash_of(device, remote.sequence) if 0 < remote.sequence <= head.sequence else remote.hash
    if known != remote.hash:
        raise RollbackError(
            f"the backend has another history of device `{device}` than this host: two hosts wrote as one",
            hint="find out which copy of the agent's keys is in use elsewhere; if none is, and this host was put "
            f"back to an older state: move `.antsmem/events/{device}` away, then: antsmem sync",
        )
    for batch in _batches(memory, device, remote.sequence):
        for event in batch:
            pushed.blobs += _give_blob(memory, backends.blobs, event)
        last = batch[-1]
        value = canonical.dumps({"sequence": last.sequence, "hash": last.hash})
        changes = [
            Change(_HEAD + device, value, remote.version),
            Change(_key_row(device, batch[0].sequence), _keys_of(batch), None),
            *_destroyed(memory, backends, batch),
            *more,
        ]
        token = backends.durable.commit(memory.stream, changes, [to_record(event) for event in batch])
        more.clear()
        remote = RemoteHead(last.sequence, last.hash, token)
        pushed.events += len(batch)
        pushed.token = token


def _batches(memory: LocalMemory, device: str, after: int) -> Iterator[list[Event]]:
    """The events of `device` behind `after`, as many at once as a commit takes; a redaction is one by itself."""
    batch: list[Event] = []
    size = 0
    while spots := memory.index.spots(device, after, _PAGE):
        for sequence, spot in spots:
            event = memory.files.read(device, spot)
            alone = event.type == REDACTED
            if batch and (alone or len(batch) == BATCH_EVENTS or size + len(event.data) > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(event)
            size += len(event.data)
            after = sequence
            if alone:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _give_blob(memory: LocalMemory, blobs: Blob, event: Event) -> bool:
    if not event.blob or not event.key or blobs.has(event.blob):
        return False
    try:
        data = memory.files.blob(event.blob)
    except NotFoundError:
        return False  # a revision that this host never needed; whoever wrote it has it
    blobs.put(event.blob, data)
    return True


def _destroyed(memory: LocalMemory, backends: Backends, batch: Sequence[Event]) -> list[Change]:
    """What a redaction changes in the rows of keys; its blob goes at once."""
    event = batch[0]
    if event.type != REDACTED or not event.key:
        return []
    said = memory.opened_redaction(event).said
    assert isinstance(said, Redaction)
    if (spot := memory.index.spot(said.event)) is not None:
        blob = memory.files.read(spot[0], spot[2]).blob
        if blob:
            backends.blobs.delete(blob)
    for key, row in backends.durable.rows(
        memory.stream, _before_key(said.device, said.sequence), BATCH_EVENTS + 1
    ):
        if not key.startswith(f"{_KEY}{said.device}/"):
            break
        keys = _parse_keys(row.value)
        if said.sequence in keys:
            keys[said.sequence] = b""
            return [Change(key, _dump_keys(keys), row.version)]
    return []


def pull(memory: LocalMemory, backends: Backends) -> Pulled:
    """Take every event that this host lacks and the backends have, from where the log was last complete; where
    that is not enough, from its first. What the log does not give yet is counted in `gaps`."""
    pulled = Pulled()
    remote = remote_heads(memory, backends.durable)
    if not _lacking(memory, remote):
        return pulled
    relay(memory.stream, backends)  # of a host that died in between
    kept = f"position {backends.where}"
    start = position = memory.index.meta(kept) or None
    try:
        position = _read_on(memory, backends, start, pulled)
    except (NotFoundError, RollbackError):  # it was made anew, or forgot what stood there
        if start is None:
            raise
    pulled.gaps = _lacking(memory, remote)
    if pulled.gaps and start is not None:  # behind `start` may stand what this host or the log had lost
        pulled.refused.clear()
        position = _read_on(memory, backends, None, pulled)
        pulled.gaps = _lacking(memory, remote)
    if not pulled.gaps and position is not None:
        memory.index.remember(kept, position)
    return pulled


def _read_on(memory: LocalMemory, backends: Backends, position: str | None, pulled: Pulled) -> str | None:
    """Take in what the log has behind `position`, and where it ends."""
    keys = _Keys(memory, backends.durable)
    while page := backends.log.read(memory.stream, position, _PAGE):
        position = page[-1][0]
        events = [event for _, item in page if (event := keys.event(item, pulled.refused)) is not None]
        taken = take_in(memory, events)
        pulled.new += taken.new
        pulled.again += taken.again
        pulled.refused += taken.refused
    return position


def _lacking(memory: LocalMemory, remote: dict[str, RemoteHead]) -> dict[str, int]:
    """Device → how many of its events are not here. What is here but has to wait does not count."""
    heads = memory.index.heads()
    held = {(device, sequence) for device, sequence, _ in memory.index.held()}
    found = {}
    for device, head in remote.items():
        own = heads.get(device, NOTHING).sequence
        if head.sequence > own and (device, own + 1) not in held:
            found[device] = head.sequence - own
    return found


class _Keys:
    """The wrapped keys of events, fetched for a batch when the first of it is asked for."""

    def __init__(self, memory: LocalMemory, durable: DurableStore) -> None:
        self._memory = memory
        self._durable = durable
        self._found: dict[str, dict[int, bytes]] = {}

    def event(self, item: LogRecord, refused: list[Refusal]) -> Event | None:
        """The event in a record of the log; None if it has no key yet, or is none at all."""
        event = Event(item.headers, item.data, b"")
        try:
            check_form(event)  # before the store is asked for a row of that name
        except IntegrityError:
            refused.append(Refusal("", 0, "is no event"))
            return None
        device, sequence = event.device, event.sequence
        found = self._found.setdefault(device, {})
        if sequence not in found:
            after = _before_key(device, sequence)
            for key, row in self._durable.rows(self._memory.stream, after, BATCH_EVENTS + 1):
                if not key.startswith(f"{_KEY}{device}/"):
                    break
                found.update(_parse_keys(row.value))
        if sequence not in found:
            return None
        wrapped = found[sequence]
        return replace(event, key=wrapped, data=item.data if wrapped else b"")


def _key_row(device: str, first: int) -> str:
    return f"{_KEY}{device}/{first:016d}"


def _before_key(device: str, sequence: int) -> str:
    """A key right before that of the first row in which the key of event `sequence` can stand."""
    return _key_row(device, max(0, sequence - BATCH_EVENTS))


def _keys_of(batch: Sequence[Event]) -> bytes:
    return _dump_keys({event.sequence: event.key for event in batch})


def _dump_keys(keys: dict[int, bytes]) -> bytes:
    return canonical.dumps({str(sequence): base64url(key) for sequence, key in keys.items()})


def _parse_keys(data: bytes) -> dict[int, bytes]:
    """Number → wrapped key of a row; empty where it was destroyed. `IntegrityError` for what is no such row."""
    from base64 import urlsafe_b64decode

    value: Any = canonical.loads(data, _ROW_BYTES)
    try:
        return {int(name): urlsafe_b64decode(text + "=" * (-len(text) % 4)) for name, text in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise IntegrityError("a row of keys in the backend is not what was written") from None


def to_record(event: Event) -> LogRecord:
    """`event` as it stands in the event log: attributes and sealed data, without the key."""
    return LogRecord(event.stream, event.id, dict(event.attributes), event.data)
