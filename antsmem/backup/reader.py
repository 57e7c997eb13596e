"""Read objects back, each one verified against its name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from blake3 import blake3

from antsmem.backup.index import load_index, pack_lost
from antsmem.backup.manifest import CHUNKED, Entry, parse_object_list, read_manifest, shown
from antsmem.backup.pack import open_pack, open_pack_for
from antsmem.backup.repository import Repository, read_head
from antsmem.backup.snapshot import Head, parse_pack_lines
from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.core.record import field, mutable_record, record

_HELD_BYTES: Final = 64 << 20


@mutable_record
class ObjectReader:
    """Gives objects by digest. `where` says which pack holds which; `held` keeps what was read along."""

    repository: Repository
    where: dict[bytes, str]
    held: dict[bytes, memoryview] = field(default_factory=dict)

    def get(self, digest: bytes) -> bytes:
        """The bytes of one object; its pack's other objects are kept for the next calls."""
        if digest not in self.held:
            pack = self.pack_of(digest)
            if sum(map(len, self.held.values())) > _HELD_BYTES:
                self.held.clear()
            self.held.update(read_pack(self.repository, pack))
        data = self.held.get(digest)
        if data is None or blake3(data).digest() != digest:
            raise IntegrityError(
                f"object {digest.hex()[:16]}… in pack `{self.where[digest]}` is not what its name says"
            )
        return bytes(data)

    def release(self) -> None:
        """Let go of the index and of what was read along: all that is needed of them is planned."""
        self.where, self.held = {}, {}

    def pack_of(self, digest: bytes) -> str:
        """The pack that holds an object; `IntegrityError` if there is none."""
        pack = self.where.get(digest)
        if pack is None:
            raise IntegrityError(f"object {digest.hex()[:16]}… is in no pack of the repository")
        return pack

    def chunks(self, entry: Entry) -> list[bytes]:
        """The digests of a file's content in order: one for `f`, one a chunk for `c` and `C`."""
        if entry.kind == b"f":
            return [entry.digest]
        lists = [self.get(digest) for digest in parse_object_list(self.get(entry.digest))]
        digests = [digest for text in lists for digest in parse_object_list(text)]
        if len(digests) != -(-entry.size_bytes // CHUNKED[entry.kind]):
            raise IntegrityError(f"`{shown(entry.path)}` has another size than its manifest line says")
        return digests


@record
class Opened:
    """A hot snapshot ready to be read: its head, its entries, and the reader of its objects."""

    head: Head
    entries: list[Entry]
    reader: ObjectReader


def open_snapshot(
    repository: Repository, snapshot_id: str, paths: Collection[bytes] = (), *, salvage: bool = False
) -> Opened:
    """Verify and open a hot snapshot. Raises `NotFoundError`, `IntegrityError`, `CannotUnlockError`. With `paths`
    (relative, clean) no entries but those that concern them are read. With `salvage`, packs that cannot be had
    count as empty."""
    head = read_head(repository, snapshot_id)
    try:
        packs = parse_pack_lines(repository.store.get(f"snapshots/{snapshot_id}.packs"), snapshot_id)
    except NotFoundError:
        raise IntegrityError(f"snapshot `{snapshot_id}` has lost its pack list") from None
    reader = ObjectReader(repository, load_index(repository, packs, salvage=salvage))
    entries = read_manifest(head.root, reader.get, head.entries, paths)
    return Opened(head, entries, reader)


def read_pack(
    repository: Repository, pack: str, few: Collection[bytes] = ()
) -> Iterator[tuple[bytes, memoryview]]:
    """The objects of a pack as they stand there, not yet verified. With `few`, no more of it is read than those
    need."""
    try:
        if few:
            chunks = repository.store.download(f"packs/{pack}.age")
            return open_pack_for(few, chunks, repository.keys.identities, pack)
        return open_pack(repository.store.get(f"packs/{pack}.age"), repository.keys.identities, pack)
    except NotFoundError:
        raise pack_lost(repository, pack, "gone") from None
    except IntegrityError as error:
        raise pack_lost(repository, pack, f"damaged: {error}") from error
