"""Verb: prove the device log from its first byte: chains, signatures, digests, gaps, and that contents open."""

from __future__ import annotations

from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError
from antsmem.core.record import field, mutable_record
from antsmem.memory.event import DELETED, FIRST, NO_EPOCH, PATCHED, REDACTED, Event, verify_event
from antsmem.memory.exchange import RemoteHead
from antsmem.memory.local import LocalMemory
from antsmem.memory.payload import Redaction, Revision

_LISTED = 100


@mutable_record
class Verified:
    """How many events of how many devices are good. `faults` say what is wrong (the first hundred), `destroyed`
    counts contents that a redaction took away, `absent` blobs that are not on this host."""

    devices: int = 0
    events: int = 0
    destroyed: int = 0
    absent: int = 0
    faults: list[str] = field(default_factory=list)


def verify_events(memory: LocalMemory, remote: dict[str, RemoteHead] | None) -> Verified:
    """Check every event of the device log, and (with `remote`) that the backends tell the same history."""
    verified = Verified()
    redacted: set[str] = set()
    emptied: dict[str, str] = {}
    for device in memory.files.devices():
        verified.devices += 1
        hashes = [FIRST]
        try:
            for event, _ in memory.files.events(device):
                _check(memory, event, hashes, verified)
                verified.events += 1
                if not event.key and event.epoch != NO_EPOCH:
                    emptied[event.id] = f"{device} {event.sequence}"
                elif event.type == REDACTED:
                    said = memory.opened_redaction(event).said
                    assert isinstance(said, Redaction)
                    redacted.add(said.event)
        except AntsmemError as error:
            _fault(verified, f"{device} {len(hashes)}: {error}")
        other = (remote or {}).get(device)
        if other is not None and other.sequence < len(hashes) and hashes[other.sequence] != other.hash:
            _fault(verified, f"{device} {other.sequence}: the backend has another event of this number")
    verified.destroyed = len(emptied)
    for event_id in sorted(emptied.keys() - redacted):
        _fault(verified, f"{emptied[event_id]}: is empty, but no redaction names it")
    return verified


def _check(memory: LocalMemory, event: Event, hashes: list[str], verified: Verified) -> None:
    if event.stream != memory.stream:
        raise IntegrityError("is of another agent or tenant")
    if event.sequence != len(hashes) or event.attributes["prev"] != hashes[-1]:
        raise IntegrityError("does not continue the event before it")
    verify_event(event, memory.log)
    hashes.append(event.hash)
    if event.key and event.type in {PATCHED, DELETED}:
        said = memory.opened(event).said
        assert isinstance(said, Revision)
        if event.blob:
            past = memory.index.revision(event.id)
            try:
                if past is not None:
                    memory.content(past)
            except NotFoundError:
                verified.absent += 1


def _fault(verified: Verified, text: str) -> None:
    if len(verified.faults) < _LISTED:
        verified.faults.append(text)
