"""Prune: forget snapshots that no tier keeps, then free what only they held.

The order makes every kill harmless: plan → publish new epoch keys → rewrite packs that are mostly garbage, and
verify them → point the kept snapshots at the new packs → publish the anchor without the forgotten snapshots →
remove their files → tombstone the packs that nothing needs → delete them a grace period later, when no reader
can be at them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from antsmem.backup import repository as repo
from antsmem.backup.carry import carry
from antsmem.backup.lease import leased
from antsmem.backup.publish import sweep_keys
from antsmem.backup.repack import Repacked, repack
from antsmem.backup.repository import COLD_SUFFIX, GARBAGE, Anchor, Repository, State
from antsmem.backup.retention import kept
from antsmem.backup.snapshot import COLD, HOT, is_id, pack_lines, parse_pack_lines, time_of
from antsmem.core import canonical
from antsmem.core.errors import CannotUnlockError, ConflictError, IntegrityError, NotFoundError, UsageError
from antsmem.core.record import record

GRACE_SECONDS: Final = 24 * 3600
_SKEW_NS: Final = 300_000_000_000


@record
class PruneJob:
    """`policy` maps tier → period → count; `forget` are ids to drop whatever the policy says; `plan_only`
    changes nothing."""

    policy: Mapping[str, Mapping[str, int]]
    now_ns: int
    forget: Collection[str] = ()
    plan_only: bool = False
    grace_seconds: int = GRACE_SECONDS
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None


@record
class PruneResult:
    """What was, or would be, done. `waiting_bytes` are in packs that nothing needs any more and that go when
    the grace period has passed; `note` says why less than usual was done."""

    repository: str
    kept: dict[str, int]
    forgotten: tuple[str, ...]
    repacked: int
    deleted_bytes: int
    waiting_bytes: int
    planned_only: bool
    note: str = ""


def prune(repository: Repository, state: State, job: PruneJob) -> PruneResult:
    """Apply the tier policy. Raises `UsageError` where the clock stands before the newest snapshot, or an id
    to forget is the newest of its tier; `NotFoundError` for one that is not there; `LockedError`; `ConflictError`
    where another host wrote since `state` was read; what the store raises."""
    keep = _plan(state, job)
    gone = tuple(i for i in (*state.ids, *state.anchor.cold) if i not in keep[HOT] and i not in keep[COLD])
    can_delete = repository.store.capabilities.deletes
    if job.plan_only or not can_delete:
        return PruneResult(
            repository=repository.store.url,
            kept={tier: len(ids) for tier, ids in keep.items()},
            forgotten=gone,
            repacked=0,
            deleted_bytes=0,
            waiting_bytes=0,
            planned_only=True,
            note="" if can_delete else "this store only appends: remove the old from the side that owns it",
        )
    with leased(repository.store, repository.keys.host) as lease:
        if repo.read_state(repository, None) != state:
            raise ConflictError(f"the repository at `{repository.store.url}` changed between planning and pruning")
        return _apply(repository, state, job, keep, gone, lease.renew)


def _plan(state: State, job: PruneJob) -> dict[str, list[str]]:
    newest = max((*state.ids, *state.anchor.cold), default="")
    if newest and time_of(newest) > job.now_ns + _SKEW_NS:
        raise UsageError(
            "the clock stands before the newest snapshot: nothing pruned",
            hint="set the clock right (`date -u`); if it is, it was ahead once: go on in a new repository",
        )
    tiers = {HOT: list(state.ids), COLD: list(state.anchor.cold)}
    for snapshot_id in job.forget:
        tier = next((tier for tier, ids in tiers.items() if snapshot_id in ids), None)
        if tier is None:
            raise NotFoundError(f"no snapshot `{snapshot_id}`", hint="see `antsmem snapshots`")
        if snapshot_id == tiers[tier][-1]:
            raise UsageError(f"`{snapshot_id}` is the newest of its tier: kept", hint="make a new one first")
    if job.forget:
        return {tier: [i for i in ids if i not in job.forget] for tier, ids in tiers.items()}
    keep = {tier: kept(ids, job.policy[tier]) for tier, ids in tiers.items()}
    return {tier: [i for i in ids if i in keep[tier]] for tier, ids in tiers.items()}


def _apply(
    repository: Repository,
    state: State,
    job: PruneJob,
    keep: dict[str, list[str]],
    gone: tuple[str, ...],
    renew: Callable[[], None],
) -> PruneResult:
    store = repository.store
    lists = {snapshot_id: pack_list_of(repository, snapshot_id) for snapshot_id in keep[HOT]}
    sizes = {item.name[6:-4]: item.size_bytes for item in store.list("packs")}
    files = carry(repository, state)  # before anything is sealed to a new one
    note = ""
    done = Repacked({}, frozenset())
    try:
        done = repack(repository, lists, sizes, job.progress, renew)
    except CannotUnlockError:
        note = "the packs cannot be read here: whole packs are freed, none is rewritten"
    for snapshot_id, packs in lists.items():
        if not done.replaced.keys().isdisjoint(packs):
            lists[snapshot_id] = done.applied(packs)
            store.put(f"snapshots/{snapshot_id}.packs", [pack_lines(lists[snapshot_id])])
    renew()
    anchor = Anchor(
        sequence=state.next_sequence - 1,  # what a killed backup did not list counts as listed from now on
        head=state.ids[-1] if state.ids else "",
        snapshots=tuple(keep[HOT]),
        cold=tuple(keep[COLD]),
        sealed={i: repository.sealed[i] for i in (*keep[HOT], *keep[COLD])},
        files=files,
    )
    if anchor != state.anchor:
        repo.write_anchor(repository, anchor, state.token)
    remove_forgotten(repository, keep, job.now_ns)
    sweep_keys(repository, anchor)
    needed = {pack for packs in lists.values() for pack in packs}
    store.sweep(job.now_ns - job.grace_seconds * 1_000_000_000)
    deleted, waiting = _collect(repository, needed, sizes, job)
    return PruneResult(
        repository=store.url,
        kept={tier: len(ids) for tier, ids in keep.items()},
        forgotten=gone,
        repacked=len(done.replaced),
        deleted_bytes=deleted,
        waiting_bytes=waiting,
        planned_only=False,
        note=note,
    )


def pack_list_of(repository: Repository, snapshot_id: str) -> list[str]:
    """The packs that a hot snapshot needs; `IntegrityError` if its list is lost."""
    try:
        return parse_pack_lines(repository.store.get(f"snapshots/{snapshot_id}.packs"), snapshot_id)
    except NotFoundError:
        raise IntegrityError(f"snapshot `{snapshot_id}` has lost its pack list: nothing pruned") from None


def remove_forgotten(repository: Repository, keep: Mapping[str, Sequence[str]], now_ns: int) -> None:
    """Remove the files of snapshots that are not kept, those of earlier, killed runs too; the committing file
    first, so that none is ever half there."""
    store = repository.store
    for tier, folder, endings in (
        (HOT, "snapshots", (".age", ".sig", ".packs")),
        (COLD, "cold", (".sig", COLD_SUFFIX)),
    ):
        there = {item.name for item in store.list(folder)}
        for ending in endings:
            for name in sorted(there):
                snapshot_id = name[len(folder) + 1 :].removesuffix(ending)
                if not name.endswith(ending) or not is_id(snapshot_id) or snapshot_id in keep[tier]:
                    continue
                committed = f"{folder}/{snapshot_id}{endings[0]}" in there
                if committed or time_of(snapshot_id) < now_ns - GRACE_SECONDS * 1_000_000_000:
                    store.delete(name)


def _collect(
    repository: Repository, needed: Collection[str], sizes: Mapping[str, int], job: PruneJob
) -> tuple[int, int]:
    """Tombstone packs that nothing needs, delete those tombstoned long enough; (deleted, waiting) bytes."""
    store = repository.store
    found = store.read(GARBAGE)
    before = _tombstones(found[0] if found else b"")
    grace_ns = job.grace_seconds * 1_000_000_000
    after: dict[str, int] = {}
    deleted = 0
    for pack, size in sizes.items():
        if pack in needed:
            continue
        since = min(before.get(pack, job.now_ns), job.now_ns)
        if job.now_ns - since >= grace_ns and (pack in before or not grace_ns):
            store.delete(f"packs/{pack}.age")
            deleted += size
        else:
            after[pack] = since
    if after != before:
        rows = {pack: str(since) for pack, since in after.items()}
        text = canonical.dumps({"schema": "antsmem.garbage/1", "packs": rows})
        store.swap(GARBAGE, text, found[1] if found else None)
    return deleted, sum(sizes[pack] for pack in after)


def _tombstones(data: bytes) -> dict[str, int]:
    """Pack → when it was first found to be garbage; a damaged list starts the grace period anew."""
    try:
        rows = canonical.loads(data, 16 << 20) if data else {}
        return {str(pack): int(since) for pack, since in rows["packs"].items()} if rows else {}
    except (IntegrityError, AttributeError, KeyError, TypeError, ValueError):
        return {}
