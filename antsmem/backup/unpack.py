"""Write the objects of many packs to their places, several packs at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from blake3 import blake3

from antsmem.backup.manifest import CHUNKED, Entry, shown
from antsmem.backup.reader import read_pack
from antsmem.backup.tree import Told, Tree
from antsmem.core.crew import Crew
from antsmem.core.errors import AntsmemError, IntegrityError
from antsmem.core.record import field, mutable_record
from antsmem.core.twin import Tickets, Twin, may_fork

if TYPE_CHECKING:
    from antsmem.backup.repository import Repository

Want: TypeAlias = tuple[Entry, int]
"""A file and the offset at which an object stands in it."""

_Objects: TypeAlias = Iterable[tuple[bytes, memoryview]] | IntegrityError

_FETCHERS: Final = 2
_AHEAD: Final = 3
_FEW: Final = 8
"""So few objects are wanted of a pack that it is not read to its end."""
_MANY: Final = 2000
"""So many objects are worth a second process."""


def unpack(
    repository: Repository,
    packs: Mapping[str, Sequence[bytes]],
    wants: Mapping[bytes, Sequence[Want]],
    tree: Tree,
    sparse: set[bytes],
    progress: Callable[[str, int, int], None],
) -> list[tuple[bytes, AntsmemError]]:
    """Fetch `packs`, verify their objects and write those in `wants` below the root of `tree`, which learns what
    its file system could not hold. Each pack comes with the digests that are wanted of it. Zero blocks of the
    paths in `sparse` stay holes. Returns the digests that could not be had, with why.

    Threads fetch and open packs, one thread alone writes: files are many short calls, and two threads at them
    would mostly wait for each other. Many files are written by two processes."""
    job = _Job(repository, packs, wants, tree, sparse, progress)
    if len(wants) < _MANY or not repository.store.local or not may_fork():
        job.run(_FETCHERS, Tickets(len(packs)))
    else:
        _shared(job)
        if not job.got >= wants.keys():  # a pack that was not asked for it may hold what another has lost
            job.wants = {digest: wants[digest] for digest in wants if digest not in job.got}
            job.run(_FETCHERS, Tickets(len(packs)))
    lost = IntegrityError("an object is not in the pack that the index names")
    first = job.bad[0] if job.bad else lost
    return [(digest, first) for digest in wants if digest not in job.got]


def _shared(job: _Job) -> None:
    """Run `job` in two processes, each writing what is wanted of the packs that it takes."""
    tickets = Tickets(len(job.packs), shared=True)
    job.only_planned = True

    def half() -> object:
        job.progress = lambda _what, _done, _total: None
        job.run(1, tickets)
        return job.got, job.bad, job.tree.told()

    with Twin(half) as twin:
        job.run(1, tickets)
        got, bad, told = cast("tuple[set[bytes], list[AntsmemError], Told]", twin.result())
    job.got |= got
    job.bad += bad
    job.tree.learn(told)
    job.only_planned = False


@mutable_record
class _Job:
    """What is to be written, and the objects that have been, `got`. `only_planned`: of a pack no more is
    taken than was planned to come from it."""

    repository: Repository
    packs: Mapping[str, Sequence[bytes]]
    wants: Mapping[bytes, Sequence[Want]]
    tree: Tree
    sparse: set[bytes]
    progress: Callable[[str, int, int], None]
    only_planned: bool = False
    got: set[bytes] = field(default_factory=set)
    bad: list[AntsmemError] = field(default_factory=list)

    def run(self, fetchers: int, tickets: Tickets) -> None:
        """Write the packs that nobody else takes."""
        try:
            with _Fetched(self, min(fetchers, len(self.packs)), tickets) as fetched:
                for number, (pack, objects) in enumerate(fetched, 1):
                    try:
                        if isinstance(objects, IntegrityError):
                            raise objects
                        self._write(objects, pack)
                    except IntegrityError as error:
                        self.bad.append(error)
                    self.progress("packs", number, len(self.packs))
        finally:
            tickets.close()

    def _write(self, objects: Iterable[tuple[bytes, memoryview]], pack: str) -> None:
        wrong: list[str] = []
        planned = set(self.packs[pack]) if self.only_planned else self.wants
        for digest, data in objects:
            targets = self.wants.get(digest)
            if targets is None or digest in self.got or digest not in planned:
                continue
            if blake3(data).digest() != digest:
                wrong.append(f"object {digest.hex()[:16]}… in pack `{pack[:16]}…` is not what its name says")
                continue
            odd = [entry for entry, offset in targets if len(data) != _length(entry, offset)]
            if odd:
                wrong.append(f"`{shown(odd[0].path)}` has another size than its manifest line says")
                continue
            self.got.add(digest)
            for entry, offset in targets:
                if entry.kind == b"f":
                    self.tree.write_file(entry, data)
                elif entry.path not in self.sparse or bytes(data).count(0) < len(data):
                    self.tree.write_at(entry.path, offset, data)
        if wrong:
            raise IntegrityError(wrong[0])


class _Fetched:
    """The packs as they come, opened; the next ones are fetched meanwhile, `_AHEAD` at most."""

    def __init__(self, job: _Job, fetchers: int, tickets: Tickets) -> None:
        self._job = job
        self._tickets = tickets
        self._order = sorted(job.packs, key=lambda pack: len(job.packs[pack]))
        self._fetchers = fetchers
        self._ready: queue.SimpleQueue[tuple[str, _Objects] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._left = False
        self._crew = Crew(self._fetch, fetchers)

    def __enter__(self) -> _Fetched:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        for _each in range(self._fetchers):
            self._room.release()
        self._crew.wait()

    def __iter__(self) -> Iterator[tuple[str, _Objects]]:
        ended = 0
        while ended < self._fetchers:
            item = self._ready.get()
            if item is None:  # a fetcher has ended; if it gave up, its failure comes with leaving
                ended += 1
                continue
            yield item
            del item  # it is large
            self._room.release()

    def _fetch(self, crew: Crew) -> None:
        job = self._job
        try:
            while True:
                self._room.acquire()
                ticket = None if self._left or crew.failed else self._tickets.take()
                if ticket is None:
                    return
                pack = self._order[-1 - ticket]
                few = job.wants if len(job.packs[pack]) < _FEW else ()
                try:
                    self._ready.put((pack, read_pack(job.repository, pack, few)))
                except IntegrityError as error:
                    self._ready.put((pack, error))
        finally:
            self._room.release()  # for the other, so that it sees the end as well
            self._ready.put(None)


def _length(entry: Entry, offset: int) -> int:
    """How many bytes the object at `offset` of a file has."""
    left = entry.size_bytes - offset
    return min(CHUNKED[entry.kind], left) if entry.kind in CHUNKED else left
