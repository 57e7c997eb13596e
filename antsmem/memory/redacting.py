"""Verb: destroy the content of an event for good, on this host now and everywhere when it is synced."""

from __future__ import annotations

from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.memory.author import this_device
from antsmem.memory.event import DELETED, PATCHED
from antsmem.memory.history import heads_of
from antsmem.memory.local import LocalMemory
from antsmem.memory.payload import Redaction
from antsmem.memory.recording import Recorder
from antsmem.memory.sync import SyncJob


@record
class Redacted:
    """What was destroyed: the event, and the file whose revision it was."""

    id: str
    path: str
    by: str


def redact(memory: LocalMemory, job: SyncJob, event_id: str) -> Redacted:
    """Destroy what the event `event_id` says: its key and data go from the device log, and a signed event says so.

    `NotFoundError`: there is no such revision, or it is destroyed already. `UsageError`: it is what the file holds
    now, which is to be changed or deleted first.
    """
    past = memory.index.revision(event_id)
    found = memory.index.spot(event_id)
    if past is None or found is None or past.shredded:
        raise NotFoundError(f"no event `{event_id[:40]}` holds anything", hint="antsmem events tail")
    if past.sha256 and event_id in heads_of(memory.index.history(past.path)).all:
        raise UsageError(
            f"event `{event_id}` is what `{past.path}` holds now: not redacted",
            hint="change or delete the file, run `antsmem sync`, then redact the old event",
        )
    event = memory.files.read(found[0], found[2])
    if event.type not in {PATCHED, DELETED}:
        raise UsageError(f"event `{event_id}` holds no content of a file")
    recorder = Recorder(memory, job.root, this_device(memory, job.state, job.speaker), job.speaker, job.state)
    redaction = Redaction(event_id, event.device, event.sequence, past.path, past.bases)
    made = recorder.author(job.now_ns).redaction(redaction, event.attributes["subject"])
    recorder.tell(made)
    return Redacted(event_id, past.path, made.id)
