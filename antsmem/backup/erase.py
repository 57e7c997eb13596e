"""Erase an epoch from a repository, or move what is sealed to it under the current one.

The order makes every kill harmless: objects that other snapshots need move to new packs, which are verified → pack
lists of those snapshots → anchor without the epoch's snapshots and its key, with its tombstone → the key file →
the snapshots' files → packs and index files that were sealed to it. A run that was cut off is run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from antsmem.backup import repository as repo
from antsmem.backup.carry import carry, carry_files
from antsmem.backup.epochs import SealedTo, sealed_to
from antsmem.backup.index import flattened, load_contents
from antsmem.backup.lease import leased
from antsmem.backup.prune import pack_list_of, remove_forgotten
from antsmem.backup.publish import sweep_keys
from antsmem.backup.reach import Reach
from antsmem.backup.repack import Repacked, require_listed, rewrite
from antsmem.backup.repository import Anchor, Keyring, Pin, Repository, State
from antsmem.backup.snapshot import COLD, HOT, pack_lines
from antsmem.core.errors import RefusedError, UsageError
from antsmem.core.record import field, record

if TYPE_CHECKING:
    from antsmem.core.age import Identity

_BATCH_BYTES: Final = 256 << 20


@record
class EraseJob:
    """`epoch` is erased; `key` opens it. `keys` are what the repository gets afterwards: with the tombstone,
    without the epoch. For a cold epoch `cold` are the archives that are sealed to it: nobody here can look."""

    epoch: str
    key: Identity | None
    keys: Keyring
    now_ns: int
    pin: Pin | None = None
    cold: tuple[str, ...] = ()
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None


@record
class ErasePlan:
    """What erasing would do here: snapshots that become unreadable, packs that are sealed to the epoch, and how
    many of these hold something that other snapshots need and that moves."""

    repository: str
    hot: tuple[str, ...]
    cold: tuple[str, ...]
    packs: int
    pack_bytes: int
    shared_packs: int
    shared_objects: int


@record
class Moved:
    """What was done. `snapshots`: forgotten, or, where an epoch was moved, sealed anew. `written_bytes` is the
    size of the new packs."""

    repository: str
    snapshots: tuple[str, ...]
    cold: tuple[str, ...]
    packs: int
    freed_bytes: int
    written_bytes: int
    pin: Pin = field(repr=False)


def plan_erase(repository: Repository, state: State, job: EraseJob) -> ErasePlan:
    """Say what `erase` would do, and do nothing. `UsageError` where the newest snapshot of a tier would go."""
    return _plan(repository, state, job, _held(repository, job))


def _plan(repository: Repository, state: State, job: EraseJob, held: SealedTo) -> ErasePlan:
    hot = tuple(i for i in state.ids if i in held.hot)
    cold = tuple(i for i in state.anchor.cold if i in job.cold)
    for tier, ids, gone in ((HOT, state.ids, hot), (COLD, state.anchor.cold, cold)):
        if ids and ids[-1] in gone:
            raise UsageError(
                f"`{job.epoch}` holds `{ids[-1]}`, the newest {tier} snapshot in `{repository.store.url}`: kept",
                hint=f"make a newer one first: antsmem backup --tier {tier}",
            )
    lists = {i: pack_list_of(repository, i) for i in state.ids if i not in hot}
    shared = held.packs.keys() & {pack for packs in lists.values() for pack in packs}
    objects = 0
    if shared:
        contents = load_contents(repository, {pack for packs in lists.values() for pack in packs})
        live = _live(repository, contents, lists)
        objects = len({digest for pack in shared for digest in contents[pack] if digest in live})
    return ErasePlan(
        repository=repository.store.url,
        hot=hot,
        cold=cold,
        packs=len(held.packs),
        pack_bytes=sum(held.packs.values()),
        shared_packs=len(shared),
        shared_objects=objects,
    )


def erase(repository: Repository, job: EraseJob) -> Moved:
    """Forget the snapshots that are sealed to the epoch, keep what others need of its packs, and delete the rest
    and its key. Raises what `plan_erase` raises, `LockedError`, and what the store raises."""
    if not repository.store.capabilities.deletes:
        raise RefusedError(
            f"the store at `{repository.store.url}` only appends: an epoch cannot be erased there",
            hint="delete its keys/ file from the side that owns the store",
        )
    with leased(repository.store, repository.keys.host) as lease:
        state = repo.read_state(repository, job.pin)
        held = _held(repository, job)
        plan = _plan(repository, state, job, held)
        files = carry(repository, state)  # before anything is sealed to a new one
        ids = tuple(i for i in state.ids if i not in plan.hot)
        written = _move(repository, ids, held.packs, job, lease.renew)
        cold = tuple(i for i in state.anchor.cold if i not in plan.cold)
        after = Repository(repository.store, repository.id, job.keys, repository.sealed, repository.doomed)
        anchor = Anchor(
            sequence=state.next_sequence - 1,
            head=ids[-1] if ids else "",
            snapshots=ids,
            cold=cold,
            sealed={i: repository.sealed[i] for i in (*ids, *cold)},
            files=carry_files(after, files),
        )
        repo.write_anchor(after, anchor, state.token)
        remove_forgotten(after, {HOT: list(ids), COLD: list(cold)}, job.now_ns)
        _delete(after, held)
        sweep_keys(after, anchor)
    return _result(after, plan.hot, plan.cold, (held, written, anchor))


def reseal(repository: Repository, job: EraseJob) -> Moved:
    """Move every object and every hot snapshot that is sealed to the epoch under the current one; `job.keys` is
    not looked at. A snapshot that is sealed anew gets a new id of the same time."""
    with leased(repository.store, repository.keys.host) as lease:
        state = repo.read_state(repository, job.pin)
        held = _held(repository, job)
        files = carry(repository, state)
        written = _move(repository, state.ids, held.packs, job, lease.renew)
        renamed = {i: _seal_head(repository, i, job.epoch) for i in state.ids if i in held.hot}
        ids = tuple(sorted({renamed.get(i, (i, ""))[0] for i in state.ids}))
        sealed = {i: repository.sealed[i] for i in (*state.ids, *state.anchor.cold) if i not in renamed}
        anchor = Anchor(
            sequence=state.next_sequence - 1,
            head=ids[-1] if ids else "",
            snapshots=ids,
            cold=state.anchor.cold,
            sealed=sealed | dict(renamed.values()),
            files=files,
        )
        repo.write_anchor(repository, anchor, state.token)
        remove_forgotten(repository, {HOT: list(ids), COLD: list(anchor.cold)}, job.now_ns)
        if repository.store.capabilities.deletes:
            _delete(repository, held)
    return _result(repository, tuple(renamed), (), (held, written, anchor))


def _result(
    repository: Repository, hot: tuple[str, ...], cold: tuple[str, ...], done: tuple[SealedTo, int, Anchor]
) -> Moved:
    held, written, anchor = done
    pin = Pin(anchor.sequence, anchor.head, repository.keys.identity_version)
    freed = sum(held.packs.values())
    return Moved(repository.store.url, hot, cold, len(held.packs), freed, written, pin)


def _held(repository: Repository, job: EraseJob) -> SealedTo:
    """What is sealed to the epoch; nothing where its key is not here, as that of a cold one."""
    return sealed_to(repository, {job.epoch: job.key})[job.epoch] if job.key is not None else SealedTo()


def _live(repository: Repository, contents: Mapping[str, list[bytes]], ids: Iterable[str]) -> set[bytes]:
    reach = Reach(repository, flattened(contents))
    return set[bytes]().union(*map(reach.needed, ids))


def _move(
    repository: Repository, ids: Iterable[str], packs: Mapping[str, int], job: EraseJob, renew: Callable[[], None]
) -> int:
    """Move what the snapshots `ids` need of `packs` under the current epoch and point their lists there, so many
    packs at a time that a run that is cut off has done something; bytes of the new packs."""
    store, written = repository.store, 0
    lists = {i: pack_list_of(repository, i) for i in ids}
    needed = {pack for listed in lists.values() for pack in listed}
    if not needed:
        return 0
    contents = load_contents(repository, needed)
    live = _live(repository, contents, lists)
    require_listed(repository, live, contents, packs)
    for batch in _batches(sorted(packs.keys() & needed), packs) or [[]]:  # at least the index is written anew
        done: Repacked = rewrite(repository, contents, live, batch, job.progress, renew)
        for i, listed in lists.items():
            if not done.replaced.keys().isdisjoint(listed):
                lists[i] = done.applied(listed)
                store.put(f"snapshots/{i}.packs", [pack_lines(lists[i])])
        written += sum(found.size_bytes for pack in done.written if (found := store.stat(f"packs/{pack}.age")))
    return written


def _batches(packs: list[str], sizes: Mapping[str, int]) -> list[list[str]]:
    batches: list[list[str]] = []
    room = 0
    for pack in packs:
        if room <= 0:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(pack)
        room -= sizes[pack]
    return batches


def _seal_head(repository: Repository, snapshot_id: str, epoch: str) -> tuple[str, str]:
    """Commit the same snapshot once more, sealed to the current epoch; its new id and the SHA-256 of its head. The
    same id each time, so that a run that was cut off leaves no second copy: one of the newest snapshot counts as
    soon as it is there, and stays as it is."""
    from antsmem.core.record import replace

    new_id = _copy_of(snapshot_id, epoch)
    if new_id in repository.sealed:
        return new_id, repository.sealed[new_id]
    head = repo.read_head(repository, snapshot_id)
    new = replace(head, id=new_id, epoch=repository.keys.sealing[HOT][0])
    return new.id, repo.write_head(repository, new, pack_lines(pack_list_of(repository, snapshot_id)))


def _copy_of(snapshot_id: str, epoch: str) -> str:
    """The id, of the same time, under which a snapshot that is sealed to `epoch` is sealed anew."""
    return snapshot_id[:-8] + hashlib.sha256(f"{snapshot_id} {epoch}".encode()).hexdigest()[:8]


def _delete(repository: Repository, held: SealedTo) -> None:
    """Delete packs and index files that are sealed to the epoch: nothing refers to them any more."""
    for name in held.indexes:
        repository.store.delete(name)
    for pack in sorted(held.packs):
        repository.store.delete(f"packs/{pack}.age")
