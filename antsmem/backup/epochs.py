"""Which objects of a repository are sealed to which epoch, found by their headers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from antsmem.backup.repository import COLD_SUFFIX, Repository
from antsmem.core.crew import Crew
from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.core.record import field, mutable_record

if TYPE_CHECKING:
    from antsmem.backup.store import Stored
    from antsmem.core.age import Identity

HOT_FOLDERS: Final = ("packs", "index", "snapshots")
_HEADER_BYTES: Final = 4096
_THREADS: Final = 8
_FEW: Final = 16


@mutable_record
class SealedTo:
    """What of a repository is sealed to one epoch: packs with their sizes, index files, ids of hot snapshots whose
    heads, and of cold archives that are."""

    packs: dict[str, int] = field(default_factory=dict)
    indexes: list[str] = field(default_factory=list)
    hot: list[str] = field(default_factory=list)
    cold: list[str] = field(default_factory=list)
    size_bytes: int = 0


def sealed_to(
    repository: Repository,
    epochs: Mapping[str, Identity],
    folders: Sequence[str] = HOT_FOLDERS,
) -> dict[str, SealedTo]:
    """Epoch → what is sealed to it, for the `epochs` (name → key) given; what is sealed to others is not told. An
    object without a readable header is passed over: `check` names it."""
    from antsmem.core import age

    names = {identity: name for name, identity in sorted(epochs.items())}
    found = {name: SealedTo() for name in epochs}
    newest_first = [epochs[name] for name in sorted(epochs, key=lambda name: name.partition("-")[2], reverse=True)]
    todo = [item for folder in folders for item in repository.store.list(folder) if item.name.endswith(".age")]
    told: list[tuple[Identity, Stored]] = []

    def work(crew: Crew | None) -> None:
        while not (crew and crew.failed):
            try:
                item = todo.pop()
            except IndexError:
                return
            try:
                opener = age.opened_by(repository.store.get(item.name, 0, _HEADER_BYTES), newest_first)
            except (IntegrityError, NotFoundError):
                continue
            if opener is not None:
                told.append((opener, item))

    if len(todo) < _FEW:
        work(None)
    else:
        Crew(work, _THREADS).wait()
    for opener, item in sorted(told, key=lambda row: row[1].name):
        _enter(found[names[opener]], item.name, item.size_bytes)
    return found


def _enter(held: SealedTo, name: str, size_bytes: int) -> None:
    folder, _, file_name = name.partition("/")
    held.size_bytes += size_bytes
    if folder == "packs":
        held.packs[file_name.removesuffix(".age")] = size_bytes
    elif folder == "index":
        held.indexes.append(name)
    elif folder == "cold":
        held.cold.append(file_name.removesuffix(COLD_SUFFIX))
    else:
        held.hot.append(file_name.removesuffix(".age"))
