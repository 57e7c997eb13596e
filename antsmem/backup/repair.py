"""Repair: fetch good copies from other repositories, rebuild what is derived, name what is lost.

Other repositories of the agent hold the same objects in other packs, so copies are fetched object by object.
Nothing that could still be read is removed: a damaged pack or head is set aside under `damaged/`, and what is
sound in it is packed anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

from blake3 import blake3

from antsmem.backup import repository as repo
from antsmem.backup.carry import carry_files
from antsmem.backup.index import load_index, pack_toc, put_index
from antsmem.backup.lease import leased
from antsmem.backup.manifest import CHUNKED, Entry, checked, parse_line, parse_object_list, shown
from antsmem.backup.pack import open_damaged_pack
from antsmem.backup.packer import Kind, Packer
from antsmem.backup.prune import pack_list_of
from antsmem.backup.reader import ObjectReader
from antsmem.backup.repository import ANCHOR, Anchor, Keyring, Repository, list_ids, read_head, read_signature
from antsmem.backup.snapshot import COLD, HOT, pack_lines
from antsmem.backup.store import Store
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, NotFoundError, RefusedError
from antsmem.core.record import field, mutable_record
from antsmem.identity.statement import open_statement


@mutable_record
class RepairResult:
    """What was mended. `fetched` and `rescued` count objects, from other repositories and from damaged packs;
    `lost` maps a snapshot to the paths that cannot be had any more; `dropped` are snapshots without a manifest."""

    fetched: int = 0
    rescued: int = 0
    set_aside: list[str] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        said = [f"damaged pack `{name}` is set aside" for name in self.set_aside]
        said += [f"{self.rescued} sound objects of damaged packs are packed anew"] if self.rescued else []
        said += [f"fetched {self.fetched} objects from another repository"] if self.fetched else []
        said += [f"snapshot `{name}` cannot be read any more: dropped" for name in self.dropped]
        for snapshot_id, paths in self.lost.items():
            said += [f"snapshot `{snapshot_id}` has lost `{path}`" for path in paths]
        return said


def mend_statement(store: Store, keys: Keyring, now_ns: int) -> bool:
    """Make `repository.json` anew where it is lost or damaged; whether it was. What it says stands in the anchor,
    too, which a key of today has signed. Raises `IntegrityError` where that is damaged as well."""
    try:
        repo.open_repository(store, keys)
    except (IntegrityError, NotFoundError):
        found = store.read(ANCHOR)
    else:
        return False
    if found is None:
        return False
    anchor = open_statement(found[0], "antsmem.anchor/1", keys.signers(former=False), ANCHOR)
    store.put("repository.json", [repo.statement_of(str(anchor["repository"]), keys, now_ns)])
    return True


def repair(repository: Repository, others: Sequence[Repository]) -> RepairResult:
    """Mend `repository`. `others` are the agent's other repositories, as far as they can be reached. Raises
    `CannotUnlockError` where this host cannot read it, `LockedError`, and what the store raises."""
    if not repository.keys.identities:
        raise CannotUnlockError("a repair needs the keys that open the packs", hint="run it on the agent's host")
    repository.keys.must_sign()
    with leased(repository.store, repository.keys.host):
        return _Repair(repository, others).run()


class _Repair:
    def __init__(self, repository: Repository, others: Sequence[Repository]) -> None:
        self.repository = repository
        self.result = RepairResult()
        self.where: dict[bytes, str] = {}
        self.fresh: dict[bytes, bytes] = {}
        self.reader = ObjectReader(repository, self.where)
        self.anchor = self._believe()
        self.others = [ObjectReader(other, where) for other, where in _indexed(others)]

    def run(self) -> RepairResult:
        repository, store = self.repository, self.repository.store
        damaged = self._sound_packs()
        _, recipient = repository.keys.sealing[HOT]
        with Packer(store, [recipient]) as packer:
            for pack in damaged:
                self._rescue(pack, packer)
            needed = {snapshot_id: self._mend(snapshot_id, packer) for snapshot_id in list_ids(repository)}
            for written in packer.finish():
                self.where.update(dict.fromkeys(written.digests, written.name))
        self._rebuild_index()
        live = [snapshot_id for snapshot_id, digests in needed.items() if digests]
        for snapshot_id in live:
            packs = {self.where[digest] for digest in needed[snapshot_id] if digest in self.where}
            store.put(f"snapshots/{snapshot_id}.packs", [pack_lines(packs)])
        for snapshot_id in needed.keys() - live:
            if self._set_aside(f"snapshots/{snapshot_id}.age", f"{snapshot_id}.age"):
                self.result.dropped.append(snapshot_id)
        for pack in damaged:
            if self._set_aside(f"packs/{pack}.age", f"{pack}.age"):
                self.result.set_aside.append(pack)
        self._rebuild_anchor(live)
        return self.result

    def _sound_packs(self) -> list[str]:
        """Fill `where` from the packs that are what their names say; the others. One that no key here opens is
        left alone if no snapshot needs it: of an erased epoch, orphans may be left."""
        damaged = []
        listed: set[str] | None = None
        for item in self.repository.store.list("packs"):
            pack = item.name[6:-4]
            if hashlib.sha256(self.repository.store.get(item.name)).hexdigest() != pack:
                damaged.append(pack)
                continue
            try:
                self.where.update({digest: pack for digest, _ in pack_toc(self.repository, pack)})
            except IntegrityError:  # as it was stored, but never one of ours
                damaged.append(pack)
            except CannotUnlockError:
                listed = self._listed() if listed is None else listed
                if listed is None or pack in listed:
                    raise
        return damaged

    def _listed(self) -> set[str] | None:
        """The packs that some snapshot's list names; None where a list is lost."""
        try:
            lists = [pack_list_of(self.repository, i) for i in list_ids(self.repository)]
        except IntegrityError:
            return None
        return set[str]().union(*lists)

    def _rescue(self, pack: str, packer: Packer) -> None:
        """Pack anew what is still sound in a damaged pack."""
        sealed = self.repository.store.get(f"packs/{pack}.age")
        with suppress(IntegrityError, CannotUnlockError):
            for digest, data in open_damaged_pack(sealed, self.repository.keys.identities, pack):
                if digest not in self.where and blake3(data).digest() == digest:
                    self._keep(digest, bytes(data), packer)
                    self.result.rescued += 1

    def _keep(self, digest: bytes, data: bytes, packer: Packer) -> None:
        packer.put(Kind.TEXT, digest, data)
        self.where[digest] = ""
        self.fresh[digest] = data

    def _object(self, digest: bytes, packer: Packer) -> bytes:
        """An object's bytes, from here or fetched and packed anew. `IntegrityError` where nobody has it."""
        if self.where.get(digest):
            return self.reader.get(digest)
        if digest in self.fresh:
            return self.fresh[digest]
        for other in self.others:
            with suppress(AntsmemError):
                data = other.get(digest)
                if digest not in self.where:
                    self._keep(digest, data, packer)
                    self.result.fetched += 1
                return data
        raise IntegrityError(f"object {digest.hex()[:16]}… is nowhere")

    def _mend(self, snapshot_id: str, packer: Packer) -> set[bytes]:
        """See that all that a snapshot needs is there; its digests, none if it cannot be read at all."""
        try:
            root = read_head(self.repository, snapshot_id).root
            segments = parse_object_list(self._object(root, packer))
            text = b"".join([self._object(segment, packer) for segment in segments])
            entries = checked(list(map(parse_line, text.splitlines())))
        except (IntegrityError, NotFoundError):
            return set()
        except CannotUnlockError:  # another host may open it
            if self.anchor is None or snapshot_id in self.anchor.snapshots or snapshot_id > self.anchor.head:
                raise
            return set()
        needed = {root, *segments}
        for entry in entries:
            if entry.is_file:
                try:
                    needed.update(self._content(entry, packer))
                except IntegrityError:
                    self.result.lost.setdefault(snapshot_id, []).append(shown(entry.path))
        return needed

    def _content(self, entry: Entry, packer: Packer) -> Iterator[bytes]:
        """The digests of a file's objects, each of them there."""
        yield self._present(entry.digest, packer)
        if entry.kind in CHUNKED:
            for part in parse_object_list(self._object(entry.digest, packer)):
                yield self._present(part, packer)
                for chunk in parse_object_list(self._object(part, packer)):
                    yield self._present(chunk, packer)

    def _present(self, digest: bytes, packer: Packer) -> bytes:
        if digest not in self.where:
            self._object(digest, packer)
        return digest

    def _rebuild_index(self) -> None:
        store = self.repository.store
        before = list(store.names("index"))
        contents: dict[str, list[bytes]] = {}
        for digest, pack in self.where.items():
            contents.setdefault(pack, []).append(digest)
        name = put_index(self.repository, contents) if contents else ""
        with suppress(RefusedError):  # a store that only appends
            for old in before:
                if old != name:
                    store.delete(old)

    def _set_aside(self, name: str, kept: str) -> bool:
        """Move an object to `damaged/`; whether it is there no more. A store that only appends keeps it."""
        store = self.repository.store
        try:
            store.put(f"damaged/{kept}", [store.get(name)])
            store.delete(name)
        except RefusedError:
            return False
        except NotFoundError:
            pass
        return True

    def _rebuild_anchor(self, live: list[str]) -> None:
        """Publish an anchor over what is there. Without the old one, snapshots that an earlier prune forgot and
        did not sweep yet come back: better than losing one, and the next prune forgets them again."""
        repository = self.repository
        raw = repository.store.read(repo.ANCHOR)
        anchor = self.anchor
        ids = tuple(i for i in live if anchor is None or i in anchor.snapshots or i > anchor.head)
        signed = {i: read_signature(repository, i) for i in ids}
        for cold_id in list_ids(repository, COLD):
            with suppress(IntegrityError):
                signed[cold_id] = read_signature(repository, cold_id, COLD)
        cold = tuple(i for i in signed if i not in ids)
        sealed = {i: statement["sealed_sha256"] for i, statement in signed.items()}
        newest = max((statement["sequence"] for statement in signed.values()), default=0)
        sequence = max(newest, anchor.sequence if anchor else 0)
        files = carry_files(repository, {})
        mended = Anchor(sequence, ids[-1] if ids else "", ids, cold, sealed, files)
        repo.write_anchor(repository, mended, raw[1] if raw else None)

    def _believe(self) -> Anchor | None:
        """The anchor. Without one, believe every snapshot that a key of the agent signed, a revoked one too:
        whether it is from before cannot be known any more, and losing it would be worse."""
        repository = self.repository
        with suppress(IntegrityError):
            if found := repo.read_anchor(repository):
                return found[0]
        for tier in (HOT, COLD):
            for snapshot_id in list_ids(repository, tier):
                with suppress(IntegrityError):
                    statement = read_signature(repository, snapshot_id, tier, former=True)
                    repository.sealed[snapshot_id] = statement["sealed_sha256"]
        return None


def _indexed(others: Sequence[Repository]) -> Iterator[tuple[Repository, dict[bytes, str]]]:
    """Each of the other repositories that can be read, with its index."""
    for other in others:
        with suppress(AntsmemError):
            packs = {item.name[6:-4] for item in other.store.list("packs")}
            yield other, load_index(other, packs)
