"""Destroy what an event says: data and the only key to it go, its signature and its place in the chain stay."""

from __future__ import annotations

from antsmem.core.errors import IntegrityError
from antsmem.core.record import replace
from antsmem.memory.event import Event
from antsmem.memory.eventfiles import Spot
from antsmem.memory.index import Past
from antsmem.memory.local import LocalMemory
from antsmem.memory.payload import Redaction


def shred(memory: LocalMemory, redaction: Redaction) -> None:
    """Destroy here what `redaction` names, if it is not destroyed yet; its place among the revisions stays.

    `IntegrityError` where the redaction names another event, or another path, than there is.
    """
    index = memory.index
    found = index.spot(redaction.event)
    if found is None or found[:2] != (redaction.device, redaction.sequence):
        return  # named wrongly, so it destroys nothing
    device, sequence, spot = found
    event = memory.files.read(device, spot)
    if redaction.path:
        if memory.keys.subject(redaction.path, event.epoch) != event.attributes["subject"]:
            raise IntegrityError("a redaction names another file than the event it is for")
        index.add_revision(_stub(event, redaction))
    if event.key:
        _empty(memory, device, spot.segment, sequence)
    if event.blob:
        memory.files.blob_path(event.blob).unlink(missing_ok=True)


def _stub(event: Event, redaction: Redaction) -> Past:
    return Past(
        id=event.id,
        path=redaction.path,
        device=event.device,
        sequence=event.sequence,
        clock=event.clock,
        sha256="",
        size_bytes=0,
        executable=False,
        bases=redaction.base,
        blob=event.blob,
        shredded=True,
    )


def _empty(memory: LocalMemory, device: str, segment: int, sequence: int) -> None:
    """Write the file in which the event stands anew, without what it said."""
    kept = [(event, spot) for event, spot in memory.files.events(device) if spot.segment == segment]
    events = [replace(event, data=b"", key=b"") if event.sequence == sequence else event for event, _ in kept]
    spots = memory.files.rewrite(device, segment, events)
    moved: list[tuple[int, Spot]] = [(event.sequence, spot) for event, spot in zip(events, spots, strict=True)]
    memory.index.move_spots(device, moved)
    memory.index.remember(f"bytes/{device}", str(memory.files.sizes(device)))
