"""Rewrite packs that are mostly garbage, and many small packs into few: part of `prune`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from blake3 import blake3

from antsmem.backup.index import flattened, load_contents, put_index
from antsmem.backup.packer import Kind, Packer
from antsmem.backup.reach import Reach
from antsmem.backup.reader import read_pack
from antsmem.backup.repository import Repository
from antsmem.backup.snapshot import HOT
from antsmem.core.errors import IntegrityError
from antsmem.core.record import record

_SMALL: Final = 256 << 10
_MANY_SMALL: Final = 32
_WORTH: Final = 0.5


@record
class Repacked:
    """`replaced` maps an old pack to the new ones that hold what is still needed of it."""

    replaced: dict[str, frozenset[str]]
    written: frozenset[str]

    def applied(self, packs: Iterable[str]) -> list[str]:
        """A snapshot's pack list after the rewrite."""
        return sorted(set[str]().union(*(self.replaced.get(pack, {pack}) for pack in packs)))


def repack(
    repository: Repository,
    lists: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
    progress: Callable[[str, int, int], None],
    renew: Callable[[], None],
) -> Repacked:
    """Rewrite what is worth rewriting of the packs that the snapshots in `lists` need, and consolidate the
    index. The new packs are durable and verified on return; nothing refers to them yet."""
    needed = {pack for packs in lists.values() for pack in packs if pack in sizes}
    held = load_contents(repository, needed)
    reach = Reach(repository, flattened(held))
    live = set[bytes]().union(*map(reach.needed, lists))
    require_listed(repository, live, held, sizes)
    small = [pack for pack in held if sizes[pack] < _SMALL]
    poor = {pack for pack, digests in held.items() if sum(d in live for d in digests) < _WORTH * len(digests)}
    return rewrite(repository, held, live, poor | set(small if len(small) > _MANY_SMALL else ()), progress, renew)


def require_listed(
    repository: Repository, live: Collection[bytes], held: Mapping[str, list[bytes]], packs: Iterable[str]
) -> None:
    """`IntegrityError` where an object of `live` is in none of the packs in `held`, which are those that some list
    names, and in another one of `packs`: a list is damaged, and what it lacks must not go as garbage."""
    lacking = set(live).difference(*held.values())
    if lacking:
        unlisted = load_contents(repository, set(packs).difference(held), salvage=True)
        if not lacking.isdisjoint(flattened(unlisted)):
            raise IntegrityError(
                f"a pack list in `{repository.store.url}` lacks packs that its snapshot needs: nothing removed",
                hint="antsmem check --repair makes it anew",
            )


def rewrite(
    repository: Repository,
    held: dict[str, list[bytes]],
    live: Collection[bytes],
    packs: Collection[str],
    progress: Callable[[str, int, int], None],
    renew: Callable[[], None],
) -> Repacked:
    """Move the `live` objects of `packs`, some of those in `held` (pack → digests), into new packs, and index what
    `held` becomes. The new packs are durable and verified on return; nothing refers to them yet."""
    old = sorted(packs)
    if not old:
        _write_index(repository, held)
        return Repacked({}, frozenset())
    _, recipient = repository.keys.sealing[HOT]
    rewritten = {pack: held.pop(pack) for pack in old}
    staying = flattened(held)  # two packs may hold the same object: one that stays need not be copied
    moved: dict[bytes, str] = {}
    with Packer(repository.store, [recipient]) as packer:
        for done, pack in enumerate(old):
            renew()
            progress("packs", done, len(old))
            for digest, data in read_pack(repository, pack):
                if digest in live and digest not in moved and digest not in staying:
                    if blake3(data).digest() != digest:
                        raise IntegrityError(f"pack `{pack[:16]}…` is damaged: nothing moved")
                    moved[digest] = ""
                    packer.put(Kind.TEXT, digest, data)
        for written in packer.finish():
            moved.update(dict.fromkeys(written.digests, written.name))
    new = frozenset(moved.values())
    _verify(repository, new, moved)
    for digest, pack in moved.items():
        held.setdefault(pack, []).append(digest)
    where = flattened(held)
    replaced = {pack: frozenset(where[d] for d in digests if d in live) for pack, digests in rewritten.items()}
    _write_index(repository, held)
    return Repacked(replaced, new)


def _verify(repository: Repository, packs: Iterable[str], moved: Mapping[bytes, str]) -> None:
    """Read the new packs back: every moved object must be there, exactly."""
    missing = set(moved)
    for pack in packs:
        for digest, data in read_pack(repository, pack):
            if blake3(data).digest() == digest:
                missing.discard(digest)
    if missing:
        raise IntegrityError(f"the store did not keep {len(missing)} rewritten objects: nothing removed")


def _write_index(repository: Repository, held: Mapping[str, list[bytes]]) -> None:
    """One index file over all live packs, in place of those there were."""
    before = set(repository.store.names("index"))
    if not before and len(held) < _MANY_SMALL:
        return
    name = put_index(repository, held)
    for old in before - {name}:
        repository.store.delete(old)
