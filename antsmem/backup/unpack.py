"""Write the objects of many packs to their places, several packs at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from blake3 import blake3

from antsmem.backup.manifest import CHUNKED, Entry, shown
from antsmem.backup.reader import read_pack
from antsmem.backup.tree import Tree
from antsmem.core.crew import Crew
from antsmem.core.errors import AntsmemError, IntegrityError

if TYPE_CHECKING:
    from antsmem.backup.repository import Repository

Want: TypeAlias = tuple[Entry, int]
"""A file and the offset at which an object stands in it."""

_Objects: TypeAlias = Iterable[tuple[bytes, memoryview]] | IntegrityError

_FETCHERS: Final = 2
_AHEAD: Final = 3
_FEW: Final = 8
"""So few objects are wanted of a pack that it is not read to its end."""


def unpack(
    repository: Repository,
    packs: Mapping[str, int],
    wants: Mapping[bytes, Sequence[Want]],
    tree: Tree,
    sparse: set[bytes],
    progress: Callable[[str, int, int], None],
) -> list[tuple[bytes, AntsmemError]]:
    """Fetch `packs`, verify their objects and write those in `wants` below the root of `tree`, which learns what
    its file system could not hold. Zero blocks of the paths in `sparse` stay holes. Returns the digests that could
    not be had, with why.

    Threads fetch and open packs, the caller's thread alone writes: files are many short calls, and two threads at
    them would mostly wait for each other."""
    got: dict[bytes, str] = {}
    bad: list[AntsmemError] = []
    with _Fetched(repository, packs, wants) as fetched:
        for number, (pack, objects) in enumerate(fetched, 1):
            try:
                if isinstance(objects, IntegrityError):
                    raise objects
                _write_pack(objects, pack, wants, tree, sparse, got)
            except IntegrityError as error:
                bad.append(error)
            progress("packs", number, len(packs))
    lost = IntegrityError("an object is not in the pack that the index names")
    first = bad[0] if bad else lost
    return [(digest, first) for digest in wants if digest not in got]


class _Fetched:
    """The packs as they come, opened; the next ones are fetched meanwhile, `_AHEAD` at most."""

    def __init__(
        self, repository: Repository, packs: Mapping[str, int], wants: Mapping[bytes, Sequence[Want]]
    ) -> None:
        self._repository = repository
        self._packs = packs
        self._wants = wants
        self._todo = sorted(packs, key=lambda pack: -packs[pack])
        self._ready: queue.SimpleQueue[tuple[str, _Objects] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._left = False
        self._crew = Crew(self._fetch, min(_FETCHERS, len(packs)))

    def __enter__(self) -> _Fetched:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        for _each in range(_FETCHERS):
            self._room.release()
        self._crew.wait()

    def __iter__(self) -> Iterator[tuple[str, _Objects]]:
        for _ in self._packs:
            item = self._ready.get()
            if item is None:  # a fetcher gave up: its failure comes with leaving
                return
            yield item
            del item  # it is large
            self._room.release()

    def _fetch(self, crew: Crew) -> None:
        try:
            while True:
                self._room.acquire()
                if self._left or crew.failed or not self._todo:
                    return
                pack = self._todo.pop()
                few = self._wants if self._packs[pack] < _FEW else ()
                try:
                    self._ready.put((pack, read_pack(self._repository, pack, few)))
                except IntegrityError as error:
                    self._ready.put((pack, error))
        except BaseException:
            self._ready.put(None)
            raise
        finally:
            self._room.release()  # for the other, so that it sees the end as well


def _write_pack(
    objects: Iterable[tuple[bytes, memoryview]],
    pack: str,
    wants: Mapping[bytes, Sequence[Want]],
    tree: Tree,
    sparse: set[bytes],
    got: dict[bytes, str],
) -> None:
    wrong: list[str] = []
    for digest, data in objects:
        targets = wants.get(digest)
        if targets is None or digest in got:
            continue
        if blake3(data).digest() != digest:
            wrong.append(f"object {digest.hex()[:16]}… in pack `{pack[:16]}…` is not what its name says")
            continue
        odd = [entry for entry, offset in targets if len(data) != _length(entry, offset)]
        if odd:
            wrong.append(f"`{shown(odd[0].path)}` has another size than its manifest line says")
            continue
        got[digest] = pack
        for entry, offset in targets:
            if entry.kind == b"f":
                tree.write_file(entry, data)
            elif entry.path not in sparse or bytes(data).count(0) < len(data):
                tree.write_at(entry.path, offset, data)
    if wrong:
        raise IntegrityError(wrong[0])


def _length(entry: Entry, offset: int) -> int:
    """How many bytes the object at `offset` of a file has."""
    left = entry.size_bytes - offset
    return min(CHUNKED[entry.kind], left) if entry.kind in CHUNKED else left
