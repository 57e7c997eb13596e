"""Verb: write the workspace as it was at an instant into an empty directory, from the device log alone."""

from __future__ import annotations

from pathlib import Path

from antsmem.core.disk import make_private_dir
from antsmem.core.errors import WouldOverwriteError
from antsmem.memory.arranging import Arranged, arrange
from antsmem.memory.index import Index
from antsmem.memory.local import LocalMemory
from antsmem.workspace.classes import Classifier


def replay(memory: LocalMemory, until: str, into: Path, classifier: Classifier, now_ns: int) -> Arranged:
    """Write the files that all events up to the clock `until` come to, into the directory `into`.

    `WouldOverwriteError` if there is anything. Contents that are destroyed, or on no host, are in `left`.
    """
    make_private_dir(into)
    if any(into.iterdir()):
        raise WouldOverwriteError(f"`{into}` is not empty: nothing replayed", hint="name a new directory")
    index = Index(Path(":memory:"))
    try:
        with index.changing():
            for path in memory.index.paths():
                for past in memory.index.history(path).values():
                    if past.clock <= until:
                        index.add_revision(past)
        then = _Then(memory, index)
        return arrange(then, into, classifier, now_ns)
    finally:
        index.close()


class _Then(LocalMemory):
    """The memory as of then: the same events, but only what was known of files. Events are found by the index of
    today."""

    def __init__(self, memory: LocalMemory, index: Index) -> None:
        super().__init__(memory.files, index, memory.log, memory.stream, lambda: memory.keys)
        self.index.spot = memory.index.spot  # type: ignore[method-assign]
