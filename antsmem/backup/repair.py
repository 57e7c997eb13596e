"""Repair: fetch good copies from other repositories, rebuild what is derived, name what is lost.

Nothing that could still be read is removed: a damaged pack that no other repository has is kept aside under
`damaged/`, and what is sound in it is packed anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from antsmem.backup import repository as repo
from antsmem.backup.index import pack_toc, put_index
from antsmem.backup.lease import leased
from antsmem.backup.manifest import parse_object_list, read_manifest, shown
from antsmem.backup.packer import Kind, Packer
from antsmem.backup.reader import ObjectReader, read_pack
from antsmem.backup.readme import README
from antsmem.backup.repository import Anchor, Repository, list_ids, read_head, read_signature
from antsmem.backup.snapshot import COLD, HOT, pack_lines
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from antsmem.backup.store import Store


@dataclass(slots=True)
class RepairResult:
    """What was mended. `lost` maps a snapshot to the paths that cannot be had any more; `dropped` are
    snapshots whose head or manifest is gone."""

    fetched: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    rescued_objects: int = 0
    lost: dict[str, list[str]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        said = [f"fetched a good copy of `{name}` from another repository" for name in self.fetched]
        said += [f"pack `{name}` is damaged: set aside" for name in self.set_aside]
        said += [f"snapshot `{name}` cannot be read any more: dropped" for name in self.dropped]
        for snapshot_id, paths in self.lost.items():
            said += [f"snapshot `{snapshot_id}` has lost `{path}`" for path in paths]
        return said


def repair(repository: Repository, others: Sequence[Store], now_ns: int) -> RepairResult:
    """Mend `repository`. `others` are stores that may hold copies of the same packs. Raises
    `CannotUnlockError` where this host cannot read it, `LockedError`, and what the store raises."""
    if not repository.keys.identities:
        raise CannotUnlockError("a repair needs the keys that open the packs", hint="run it on the agent's host")
    result = RepairResult()
    with leased(repository.store, repository.keys.host):
        repo.carry_keys(repository, {})  # before anything is sealed to a new epoch
        where = _sound_packs(repository, others, result)
        _rebuild_index(repository, where)
        live = _snapshots(repository, where, result)
        _rebuild_anchor(repository, live)
        repository.store.put("README", [README])
    return result


def _sound_packs(repository: Repository, others: Sequence[Store], result: RepairResult) -> dict[bytes, str]:
    """Digest → pack over the packs that are sound, after fetching and rescuing."""
    store = repository.store
    needed = {pack for names in _listed(repository) for pack in names}
    there = {item.name[6:-4] for item in store.list("packs")}
    where: dict[bytes, str] = {}
    damaged: list[tuple[str, bytes]] = []
    for pack in sorted(needed | there):
        try:
            data = store.get(f"packs/{pack}.age")
        except NotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != pack and not _fetch(repository, others, pack, result):
            if data:
                damaged.append((pack, data))
            continue
        where.update({digest: pack for digest, _ in pack_toc(repository, pack)})
    rescued = _rescue(repository, damaged, where, result)
    return {**where, **rescued}


def _fetch(repository: Repository, others: Iterable[Store], pack: str, result: RepairResult) -> bool:
    for other in others:
        try:
            data = other.get(f"packs/{pack}.age")
        except AntsmemError:
            continue
        if hashlib.sha256(data).hexdigest() == pack:
            repository.store.put(f"packs/{pack}.age", [data])
            result.fetched.append(pack)
            return True
    return False


def _rescue(
    repository: Repository, damaged: Sequence[tuple[str, bytes]], where: dict[bytes, str], result: RepairResult
) -> dict[bytes, str]:
    """Pack anew what is sound in damaged packs, then set those aside."""
    _, recipient = repository.keys.sealing[HOT]
    found: dict[bytes, str] = {}
    with Packer(repository.store, [recipient]) as packer:
        for pack, _ in damaged:
            try:
                for digest, data in read_pack(repository, pack):
                    if digest not in where and digest not in found and blake3(data).digest() == digest:
                        packer.put(Kind.TEXT, digest, data)
                        found[digest] = ""
            except (IntegrityError, CannotUnlockError):
                continue
        for written in packer.finish():
            found.update(dict.fromkeys(written.digests, written.name))
    result.rescued_objects = len(found)
    for pack, sealed in damaged:
        repository.store.put(f"damaged/{pack}.age", [sealed])
        repository.store.delete(f"packs/{pack}.age")
        result.set_aside.append(pack)
    return found


def _rebuild_index(repository: Repository, where: dict[bytes, str]) -> None:
    before = [item.name for item in repository.store.list("index")]
    contents: dict[str, list[bytes]] = {}
    for digest, pack in where.items():
        contents.setdefault(pack, []).append(digest)
    name = put_index(repository, contents) if contents else ""
    for old in before:
        if old != name:
            repository.store.delete(old)


def _snapshots(repository: Repository, where: dict[bytes, str], result: RepairResult) -> list[str]:
    """Write the pack list of every snapshot anew; name what each has lost; drop those without a manifest."""
    reader = ObjectReader(repository, where)
    live = []
    for snapshot_id in list_ids(repository):
        try:
            root = read_head(repository, snapshot_id).root
            entries = read_manifest(root, reader.get)
        except (IntegrityError, CannotUnlockError, NotFoundError):
            repository.store.put(
                f"damaged/{snapshot_id}.age", [repository.store.get(f"snapshots/{snapshot_id}.age")]
            )
            repository.store.delete(f"snapshots/{snapshot_id}.age")
            result.dropped.append(snapshot_id)
            continue
        packs = {where[root], *(where[digest] for digest in parse_object_list(reader.get(root)))}
        lost = []
        for entry in entries:
            if not entry.is_file:
                continue
            try:
                chunks = reader.chunks(entry)
                needed = [entry.digest, *chunks]
                if entry.kind != b"f":
                    needed += parse_object_list(reader.get(entry.digest))
                packs |= {where[digest] for digest in needed}
            except (IntegrityError, KeyError):
                lost.append(shown(entry.path))
        if lost:
            result.lost[snapshot_id] = lost
        repository.store.put(f"snapshots/{snapshot_id}.packs", [pack_lines(packs)])
        live.append(snapshot_id)
    return live


def _rebuild_anchor(repository: Repository, live: list[str]) -> None:
    """Publish an anchor over what is there. Snapshots that an earlier prune forgot come back: better than losing
    one; the next prune forgets them again."""
    try:
        found = repo.read_anchor(repository)
    except IntegrityError:
        found = None
    token = found[1] if found else None
    if found is None and (raw := repository.store.read(repo.ANCHOR)):
        token = raw[1]
    newest = max((read_signature(repository, i)["sequence"] for i in live), default=0)
    sequence = max(newest, found[0].sequence if found else 0)
    epochs = repo.carry_keys(repository, {})
    known = {i for i in live if not found or i in found[0].snapshots or i > found[0].head}
    ids = tuple(i for i in live if i in known)
    anchor = Anchor(sequence, ids[-1] if ids else "", ids, tuple(list_ids(repository, COLD)), epochs)
    repo.write_anchor(repository, anchor, token)


def _listed(repository: Repository) -> Iterable[list[str]]:
    from antsmem.backup.snapshot import parse_pack_lines

    for snapshot_id in list_ids(repository):
        try:
            yield parse_pack_lines(repository.store.get(f"snapshots/{snapshot_id}.packs"), snapshot_id)
        except (IntegrityError, NotFoundError):
            continue
