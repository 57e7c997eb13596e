"""Verb: make a backend again from this device, which has every event it ever saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from antsmem.core.record import mutable_record
from antsmem.memory.exchange import Backends, push, to_record
from antsmem.memory.local import LocalMemory
from antsmem.memory.roles import Change

_BATCH: Final = 200


@mutable_record
class Rebuilt:
    """What was given: events to the durable store, records to the log, blobs; `missing` blobs are nowhere."""

    events: int = 0
    records: int = 0
    blobs: int = 0
    missing: int = 0


def rebuild(memory: LocalMemory, backends: Backends, roles: tuple[str, ...], rows: Sequence[Change]) -> Rebuilt:
    """Give the backends of `roles` (`log`, `durable`, `blob`) all that this device has and they lack, and
    `rows`. The event log gets everything again: whoever reads it sees by device and number what it has already."""
    rebuilt = Rebuilt()
    if "blob" in roles:
        _give_blobs(memory, backends, rebuilt)
    if "durable" in roles:
        rebuilt.events = push(memory, backends, rows).events
    if "log" in roles:
        for device in sorted(memory.index.heads()):
            after = 0
            while spots := memory.index.spots(device, after, _BATCH):
                backends.log.append([to_record(memory.files.read(device, spot)) for _, spot in spots])
                rebuilt.records += len(spots)
                after = spots[-1][0]
    return rebuilt


def _give_blobs(memory: LocalMemory, backends: Backends, rebuilt: Rebuilt) -> None:
    for digest in memory.index.blobs():
        if backends.blobs.has(digest):
            continue
        if memory.files.blob_path(digest).is_file():
            backends.blobs.put(digest, memory.files.blob(digest))
            rebuilt.blobs += 1
        else:
            rebuilt.missing += 1
