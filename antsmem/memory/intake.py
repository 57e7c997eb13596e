"""Verb: take in events from anywhere, in any order, any number of times; believe only what is proved.

An event counts when it is well formed, of this agent, signed by an op key of its device's host, the next of its
device's chain, and when all that its author had seen is here too: what comes early is held. What a revoked key
signed counts only as far as a device that still speaks for the agent has vouched for it, by naming it as a parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError
from antsmem.core.record import field, mutable_record, record
from antsmem.memory.event import DELETED, PATCHED, REDACTED, Event, event_from_line, event_to_line, verify_event
from antsmem.memory.eventfiles import Spot
from antsmem.memory.index import NOTHING, Head, Past
from antsmem.memory.local import LocalMemory
from antsmem.memory.payload import Redaction, Revision
from antsmem.memory.shredding import shred

_BATCH = 2000


@record
class Refusal:
    """An event that is not believed, and why."""

    device: str
    sequence: int
    why: str


@mutable_record
class Taken:
    """What became of the events that were offered. `gone`: devices whose log is not there any more."""

    new: int = 0
    again: int = 0
    held: int = 0
    gone: int = 0
    refused: list[Refusal] = field(default_factory=list)


@record
class _Checked:
    """An event that is signed by `signer`; `spot` if it stands in the device log already."""

    event: Event
    signer: bytes
    hash: str
    spot: Spot | None = None


def take_in(memory: LocalMemory, events: Iterable[Event]) -> Taken:
    """Take in `events`, and what was held: what counts is in the device log and the index when it returns."""
    taken = Taken()
    left = iter(events)
    batch = list(islice(left, _BATCH))
    if batch or memory.index.held():
        _Intake(memory, taken).run([(event, None) for event in batch])
    while batch := list(islice(left, _BATCH)):
        _Intake(memory, taken).run([(event, None) for event in batch])
    taken.held = len(memory.index.held())
    return taken


def catch_up(memory: LocalMemory) -> Taken:
    """Bring the index to what the device log holds, if that is more or another than it was: after a crash, after a
    restore, or because the index is new."""
    taken = Taken()
    files, index = memory.files, memory.index
    devices = files.devices()
    changed = [device for device in devices if index.meta(f"bytes/{device}") != str(files.sizes(device))]
    gone = [device for device in index.heads() if device not in devices]
    if not changed and not gone:
        return taken
    with index.changing():
        for device in [*changed, *gone]:
            index.forget_device(device)
        _Intake(memory, taken).run([pair for device in changed for pair in files.events(device)])
        index.unknow(index.unfounded())  # an edit whose event is lost is one that nobody has yet
    taken.gone = len(gone)
    return taken


class _Intake:
    """One batch."""

    def __init__(self, memory: LocalMemory, taken: Taken) -> None:
        self.memory = memory
        self.index = memory.index
        self.taken = taken
        self.heads: dict[str, Head] = memory.index.heads()
        self.waiting: dict[str, dict[int, _Checked]] = {}
        self.unvouched: set[str] = set()

    def run(self, offered: Iterable[tuple[Event, Spot | None]]) -> None:
        known = {(device, sequence) for device, sequence, _ in self.index.held()}
        for event, spot in [*offered, *(self.held(device, line) for device, _, line in self.index.held())]:
            self.consider(event, spot)
        redactions: list[Redaction] = []
        ready: dict[str, list[tuple[_Checked, Past | None]]] = {}
        for checked in self.in_order():
            try:
                past, redaction = self.read(checked.event)
            except CannotUnlockError:  # of an epoch whose key has yet to come: held
                self.waiting[checked.event.device][checked.event.sequence] = checked
                continue
            except AntsmemError as error:
                self.refuse(checked.event, str(error))
                continue
            event = checked.event
            self.heads[event.device] = Head(event.sequence, checked.hash, checked.signer)
            ready.setdefault(event.device, []).append((checked, past))
            redactions += [redaction] if redaction else []
        with self.index.changing():
            for device, items in ready.items():
                self.write(device, items)
            for redaction in redactions:
                shred(self.memory, redaction)
            self.hold_the_rest(known)

    def consider(self, event: Event, spot: Spot | None) -> None:
        """Sort out what can be judged at once: foreign, forged, known already."""
        try:
            if event.attributes.get("partitionkey") != self.memory.stream:
                raise IntegrityError("is of another agent or tenant")
            signer = verify_event(event, self.memory.log)
            digest = event.hash
            head = self.heads.get(event.device, NOTHING)
            if event.sequence <= head.sequence:
                if self.index.hash_of(event.device, event.sequence) != digest:
                    raise IntegrityError("is another event than the one of this number that is known: a fork")
                self.taken.again += 1
                self.index.release(event.device, event.sequence)
                return
            if event.key and not event.data:
                raise IntegrityError("came without its data")
        except AntsmemError as error:
            self.refuse(event, str(error))
            return
        rivals = self.waiting.setdefault(event.device, {})
        if (rival := rivals.get(event.sequence)) is not None:
            self.taken.again += rival.hash == digest
            if rival.hash != digest or spot is None:
                return
        rivals[event.sequence] = _Checked(event, signer, digest, spot)

    def held(self, device: str, line: bytes) -> tuple[Event, Spot | None]:
        """What is held: the line of an event, or where it stands in the device log, so that it is not written to
        it a second time."""
        if line.startswith(b"{"):
            return event_from_line(line), None
        spot = Spot(*map(int, line.split()))
        return self.memory.files.read(device, spot), spot

    def in_order(self) -> Iterator[_Checked]:
        """The events whose turn it is, each after all that it follows; what is refused stops its device."""
        moved = True
        while moved:
            moved = False
            for device in sorted(self.waiting):
                queue = self.waiting[device]
                while (checked := queue.get(self.heads.get(device, NOTHING).sequence + 1)) is not None:
                    why = self.objection(checked)
                    if why is None:
                        break  # later, perhaps
                    del queue[checked.event.sequence]
                    if why:
                        self.refuse(checked.event, why)
                        break
                    before = self.heads.get(device, NOTHING).sequence
                    yield checked
                    if self.heads.get(device, NOTHING).sequence == before:
                        break  # it could not be read
                    moved = True

    def objection(self, checked: _Checked) -> str | None:
        """Why the next event of a device is refused; empty: it counts; None: it has to wait."""
        event = checked.event
        head = self.heads.get(event.device, NOTHING)
        if event.attributes["prev"] != head.hash:
            return "does not continue the events of its device that are known: a fork, or forged"
        if head.signer and head.signer != checked.signer:
            return "is signed by another key than the events of its device before it"
        for parent in event.parents:
            if self.heads.get(parent.device, NOTHING).sequence < parent.sequence:
                return None
            if self.index.hash_of(parent.device, parent.sequence) not in {"", parent.hash}:
                return f"has seen another history of `{parent.device}` than is known: a fork"
        if self.memory.log.op_key(checked.signer).revoked and event.sequence > self.vouched(event.device):
            self.unvouched.add(event.device)  # held: a device may vouch for it yet
            return None
        return ""

    def vouched(self, device: str) -> int:
        """How far devices that still speak for the agent have seen `device`."""
        current = self.memory.log.operational_keys
        best = 0
        for other, head in self.heads.items():
            if not current[head.signer].revoked:
                best = max(best, self.index.seen(other).get(device, 0))
        for queue in self.waiting.values():
            for checked in queue.values():
                if not current[checked.signer].revoked:
                    seen = (parent.sequence for parent in checked.event.parents if parent.device == device)
                    best = max(best, *seen, 0)
        return best

    def read(self, event: Event) -> tuple[Past | None, Redaction | None]:
        """What `event` does to a file or to another event; nothing where its content is destroyed."""
        if not event.key:
            return None, None
        if event.type == REDACTED:
            said = self.memory.opened_redaction(event).said
            assert isinstance(said, Redaction)
            return None, said
        if event.type not in {PATCHED, DELETED}:
            return None, None
        known = self.index.revision(event.id)
        if known is not None and known.shredded:  # an old copy of it: destroyed again
            return None, Redaction(event.id, event.device, event.sequence, known.path, known.bases)
        revision = self.memory.opened(event).said
        assert isinstance(revision, Revision)
        if self.memory.keys.subject(revision.path, event.epoch) != event.attributes["subject"]:
            raise IntegrityError("names another file inside than outside")
        if (event.type == DELETED) is bool(revision.sha256):
            raise IntegrityError("says something else inside than outside")
        return past_of(event, revision), None

    def write(self, device: str, items: list[tuple[_Checked, Past | None]]) -> None:
        fresh = [checked.event for checked, _ in items if checked.spot is None]
        spots = iter(self.memory.files.append(device, fresh) if fresh else ())
        for checked, past in items:
            self.index.add_event(checked.event, checked.hash, checked.signer, checked.spot or next(spots))
            if past is not None:
                self.index.add_revision(past)
            self.index.release(device, checked.event.sequence)
        self.taken.new += len(items)
        self.index.remember(f"bytes/{device}", str(self.memory.files.sizes(device)))

    def hold_the_rest(self, known: set[tuple[str, int]]) -> None:
        for device, queue in self.waiting.items():
            if any(checked.spot is not None for checked in queue.values()):  # held by their places: read no more
                self.index.remember(f"bytes/{device}", str(self.memory.files.sizes(device)))
            for sequence, checked in queue.items():
                if sequence > self.heads.get(device, NOTHING).sequence:
                    spot = checked.spot
                    place = b"" if spot is None else b"%d %d %d" % (spot.segment, spot.start, spot.size)
                    self.index.hold(device, sequence, place or event_to_line(checked.event))
                    if device in self.unvouched and (device, sequence) not in known:
                        why = "was signed by a key that is revoked, and no other device vouches for it"
                        self.taken.refused.append(Refusal(device, sequence, why))

    def refuse(self, event: Event, why: str) -> None:
        known = set(event.attributes) >= {"source", "sequence"}
        self.index.release(*((event.device, event.sequence) if known else ("", 0)))
        self.taken.refused.append(Refusal(event.device if known else "", event.sequence if known else 0, why))


def past_of(event: Event, revision: Revision) -> Past:
    """`revision`, which `event` says, as the index keeps it."""
    return Past(
        id=event.id,
        path=revision.path,
        device=event.device,
        sequence=event.sequence,
        clock=event.clock,
        sha256=revision.sha256,
        size_bytes=revision.size_bytes,
        executable=revision.executable,
        bases=revision.base,
        blob=event.blob,
        shredded=False,
    )
