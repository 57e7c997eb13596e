"""Verbs: list the files that came to more than one version, and decide for one of them."""

from __future__ import annotations

import hashlib

from antsmem.core.clock import utc_text
from antsmem.core.disk import read_file
from antsmem.core.record import record
from antsmem.memory.arranging import arrange
from antsmem.memory.author import this_device
from antsmem.memory.clocks import clock_ns
from antsmem.memory.history import heads_of
from antsmem.memory.local import LocalMemory
from antsmem.memory.outcome import outcome
from antsmem.memory.payload import Revision
from antsmem.memory.recording import Recorder
from antsmem.memory.sync import SyncJob


@record
class Version:
    """One version of a file that has several. `place` is where it stands in the workspace, empty where it is
    merged into the file; `time` is UTC."""

    id: str
    device: str
    time: str
    size_bytes: int
    place: str


def conflicts(memory: LocalMemory) -> dict[str, list[Version]]:
    """Path → its versions, newest first, for every file of which two stand, in it or beside it."""
    found: dict[str, list[Version]] = {}
    for known in memory.index.several():
        path = known.origin or known.path
        if path in found:
            continue
        result = outcome(memory, path)
        if result is None or not result.clash:
            continue
        places = {item.source.id: item.path for item in result.files if item.content is None}
        found[path] = [
            Version(past.id, past.device, utc_text(clock_ns(past.clock)), past.size_bytes, places.get(past.id, ""))
            for past in heads_of(memory.index.history(path)).distinct
        ]
    return found


def resolve(memory: LocalMemory, job: SyncJob, path: str, take: str) -> bool:
    """Write that `path` comes to the version `take`, or (empty) to the file as it stands; arrange the workspace.
    False: the file was changed since it was last looked at, and nothing was done."""
    known = memory.index.known_at(path)
    heads = heads_of(memory.index.history(path))
    if take:
        past = memory.index.revision(take)
        assert past is not None
        content, executable = memory.content(past), past.executable
    else:
        if known is None:
            return False
        content, executable = read_file(job.root / path), known.executable
        if hashlib.sha256(content).hexdigest() != known.sha256:
            return False
    device = this_device(memory, job.state, job.speaker)
    recorder = Recorder(memory, job.root, device, job.speaker, job.state)
    digest = hashlib.sha256(content).hexdigest()
    recorder.author(job.now_ns)
    recorder.say(Revision(path, heads.all, digest, len(content), executable), content)
    arrange(memory, job.root, job.classifier, job.now_ns)
    return True
