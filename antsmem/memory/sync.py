"""Verb: bring this workspace and the agent's other devices together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from antsmem.core.record import record
from antsmem.memory.arranging import Arranged, arrange
from antsmem.memory.author import Speaker, this_device
from antsmem.memory.exchange import Backends, Pulled, Pushed, pull, push
from antsmem.memory.intake import Refusal, catch_up, take_in
from antsmem.memory.local import LocalMemory
from antsmem.memory.recording import Recorded, Recorder
from antsmem.memory.roles import Change
from antsmem.workspace.classes import Classifier


@record
class SyncJob:
    """What to bring together: the workspace at `root`, who speaks for the agent here (asked when something has to
    be signed), and where this device is remembered."""

    root: Path
    classifier: Classifier
    speaker: Callable[[], Speaker]
    state: Path
    now_ns: int


@record
class SyncResult:
    """What happened: `recorded` here, given and taken, done to the workspace. `refused` are events that are not
    believed, from wherever they came."""

    recorded: Recorded
    pushed: Pushed
    pulled: Pulled
    arranged: Arranged
    refused: tuple[Refusal, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be done on this device."""
        return not (self.refused or self.pulled.gaps or self.arranged.left)


def sync(
    memory: LocalMemory,
    job: SyncJob,
    backends: Backends | None,
    rows: Sequence[Change] = (),
    *,
    give: bool = True,
    take: bool = True,
) -> SyncResult:
    """Record what changed here, `give` it and `take` what others wrote, and arrange the workspace accordingly.
    Without `backends` everything stays here, to be given later. `rows` are given with the first event: the
    identity log and the keyring, where the backends do not have the newest.

    Raises what the backends raise; whatever was recorded until then is durable, and the same call goes on.
    """
    caught = catch_up(memory)
    held = take_in(memory, ())
    pulled, pushed = Pulled(), Pushed()
    joining = take and backends is not None and (caught.gone or not memory.index.heads())
    if joining and backends is not None:
        pulled = pull(memory, backends)
    device = this_device(memory, job.state, job.speaker)
    recorder = Recorder(memory, job.root, device, job.speaker, job.state)
    recorded = recorder.record(job.classifier, job.now_ns)
    if _has_to_speak(memory, recorder) or (rows and give and not (recorded.changed or recorded.deleted)):
        recorder.tell(recorder.author(job.now_ns).seen())
    if backends is not None and take and not joining:
        pulled = pull(memory, backends)
    if backends is not None and give:
        pushed = push(memory, backends, rows)
    fetch = backends.blobs.get if backends is not None else None
    arranged = arrange(memory, job.root, job.classifier, job.now_ns, fetch)
    return SyncResult(recorded, pushed, pulled, arranged, (*caught.refused, *held.refused, *pulled.refused))


def _has_to_speak(memory: LocalMemory, recorder: Recorder) -> bool:
    """Whether a device was revoked, and no event of this one says yet how far it is believed."""
    revoked = {public for public, key in memory.log.operational_keys.items() if key.revoked}
    heads = memory.index.heads()
    seen = memory.index.seen(recorder.device.name)
    return any(head.signer in revoked and seen.get(name, 0) < head.sequence for name, head in heads.items())
