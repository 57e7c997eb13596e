"""Which pack holds which object: consolidated tables of contents, derived from the packs.

    index/<sha256 of the file>.age = age( zstd( `P <pack sha256>` then `<blake3 hex>` a line … ) )

Lost or stale costs time only: packs that no index file covers are asked for their own table of contents.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from antsmem.backup.pack import compress, decompress, read_toc
from antsmem.backup.snapshot import HOT
from antsmem.core.errors import AntsmemError, IntegrityError

if TYPE_CHECKING:
    from antsmem.backup.cache import Cache
    from antsmem.backup.repository import Repository

_EVERY: Final = 64
_TOC_BYTES: Final = 96 << 10
_THREADS: Final = 8
_LIMIT: Final = 1 << 30


def load_index(repository: Repository, packs: Collection[str]) -> dict[bytes, str]:
    """Digest → the pack that holds it, for the packs named. Raises `CannotUnlockError`, `IntegrityError`."""
    where: dict[bytes, str] = {}
    wanted, covered = set(packs), set[str]()
    for item in repository.store.list("index"):
        for pack, digests in read_index_file(repository, item.name).items():
            if pack in wanted:
                covered.add(pack)
                where.update(dict.fromkeys(digests, pack))
    uncovered = [pack for pack in packs if pack not in covered]
    for pack, toc in zip(uncovered, _tocs(repository, uncovered), strict=True):
        where.update({digest: pack for digest, _ in toc})
    return where


def read_index_file(repository: Repository, name: str) -> dict[str, list[bytes]]:
    """Pack → digests, of one index file; a damaged one is an `IntegrityError`."""
    from antsmem.core import age

    sealed = repository.store.get(name)
    if name != f"index/{hashlib.sha256(sealed).hexdigest()}.age":
        raise IntegrityError(
            f"`{name}` is not what its name says", hint="antsmem check --repair rebuilds the index"
        )
    found: dict[str, list[bytes]] = {}
    held: list[bytes] = []
    try:
        for row in decompress(age.unseal(sealed, repository.keys.identities), _LIMIT).decode().splitlines():
            if row.startswith("P "):
                held = found.setdefault(row[2:], [])
            else:
                held.append(bytes.fromhex(row))
    except ValueError:
        raise IntegrityError(f"`{name}` is malformed", hint="antsmem check --repair rebuilds the index") from None
    return found


def put_index(repository: Repository, contents: Mapping[str, Iterable[bytes]]) -> str:
    """Write one index file over `contents` (pack → digests); returns its name."""
    from antsmem.core import age

    rows = []
    for pack, digests in contents.items():
        rows.append(f"P {pack}\n")
        rows += [f"{digest.hex()}\n" for digest in digests]
    _, recipient = repository.keys.sealing[HOT]
    parts = age.seal([compress("".join(rows).encode(), 3)], [recipient])
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    name = f"index/{sha256.hexdigest()}.age"
    repository.store.put(name, parts)
    return name


def extend_index(repository: Repository, cache: Cache) -> bool:
    """Cover the packs that `cache` knows and no index file does, once there are many; whether it did."""
    if len(cache.packs) - cache.indexed < _EVERY:
        return False
    contents: dict[str, list[bytes]] = {name: [] for name in cache.packs[cache.indexed :]}
    for digest, index in cache.objects.items():
        if index >= cache.indexed:
            contents[cache.packs[index]].append(digest)
    put_index(repository, contents)
    cache.indexed = len(cache.packs)
    return True


def _tocs(repository: Repository, packs: Sequence[str]) -> list[list[tuple[bytes, int]]]:
    """The table of contents of each pack, several asked for at once."""
    found: list[list[tuple[bytes, int]]] = [[] for _ in packs]
    failed: list[AntsmemError] = []

    def work(first: int) -> None:
        try:
            for at in range(first, len(packs), _THREADS):
                found[at] = pack_toc(repository, packs[at])
        except AntsmemError as error:
            failed.append(error)

    if len(packs) < _THREADS:
        return [pack_toc(repository, pack) for pack in packs]
    threads = [threading.Thread(target=work, args=(first,), daemon=True) for first in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found


def pack_toc(repository: Repository, pack: str) -> list[tuple[bytes, int]]:
    """(digest, size) of the objects in one pack, from its first bytes where they suffice."""
    store, name = repository.store, f"packs/{pack}.age"
    first = store.get(name, 0, _TOC_BYTES)

    def chunks() -> Iterable[bytes]:
        yield first
        at = len(first)
        while at and (more := store.get(name, at, 1 << 20)):
            yield more
            at += len(more)

    return read_toc(chunks(), repository.keys.identities, pack)
