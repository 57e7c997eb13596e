"""Write the objects of many packs to their places, several packs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

_WORKERS: Final = 2
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
    not be had, with why."""
    todo = sorted(packs, key=lambda pack: -packs[pack])
    got: dict[bytes, str] = {}
    bad: dict[str, AntsmemError] = {}
    writers: list[Tree] = []

    def work(crew: Crew) -> None:
        with Tree(tree.root) as own:
            writers.append(own)
            while not crew.failed:
                try:
                    pack = todo.pop()
                except IndexError:
                    return
                try:
                    few = wants if packs[pack] < _FEW else ()
                    _write_pack(read_pack(repository, pack, few), pack, wants, own, sparse, got)
                except IntegrityError as error:
                    bad[pack] = error
                progress("packs", len(packs) - len(todo), len(packs))

    Crew(work, min(_WORKERS, len(packs))).wait()
    for own in writers:
        tree.absorb(own)
    lost = IntegrityError("an object is not in the pack that the index names")
    first = next(iter(bad.values()), lost)
    return [(digest, first) for digest in wants if digest not in got]


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
        if got.setdefault(digest, pack) != pack:  # another pack has it too, and another thread was faster
            continue
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
