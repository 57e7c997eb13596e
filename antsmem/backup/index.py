"""Which pack holds which object: consolidated tables of contents, derived from the packs.

    index/<sha256 of the file>.age = age( zstd( `P <pack sha256>` then `<blake3 hex>` a line … ) )

Lost or stale costs time only: packs that no index file covers are asked for their own table of contents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from antsmem.backup.pack import compress, decompress, read_toc
from antsmem.backup.snapshot import HOT
from antsmem.core.crew import Crew
from antsmem.core.errors import CannotUnlockError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from antsmem.backup.cache import Cache
    from antsmem.backup.repository import Repository

_EVERY: Final = 16
_TOC_BYTES: Final = 96 << 10
_THREADS: Final = 8
_LIMIT: Final = 1 << 30
_PACK: Final = b"P "


def load_index(repository: Repository, packs: Collection[str], *, salvage: bool = False) -> dict[bytes, str]:
    """Digest → a pack that holds it, for the packs named. Raises `CannotUnlockError`, `IntegrityError`."""
    return flattened(load_contents(repository, packs, salvage=salvage))


def load_contents(
    repository: Repository, packs: Collection[str], *, salvage: bool = False
) -> dict[str, list[bytes]]:
    """Pack → the digests of its objects, for the packs named; two packs may hold the same object. An index file
    that cannot be read is passed over, with `salvage` a pack too. Raises `CannotUnlockError`, `IntegrityError`."""
    wanted = set(packs)
    found: dict[str, list[bytes]] = {}
    for name in repository.store.names("index"):
        with suppress(CannotUnlockError, IntegrityError, NotFoundError):  # derived: `check` names it
            contents = read_index_file(repository, name)
            found.update({pack: digests for pack, digests in contents.items() if pack in wanted})
    tocs = _tocs(repository, [pack for pack in packs if pack not in found], salvage)
    return found | {pack: [digest for digest, _ in toc] for pack, toc in tocs.items()}


def flattened(contents: Mapping[str, Iterable[bytes]]) -> dict[bytes, str]:
    """Digest → a pack that holds it."""
    where: dict[bytes, str] = {}
    for pack, digests in contents.items():
        where.update(dict.fromkeys(digests, pack))
    return where


def read_index_file(repository: Repository, name: str) -> dict[str, list[bytes]]:
    """Pack → digests, of one index file; a damaged one is an `IntegrityError`."""
    from antsmem.core import age

    sealed = repository.store.get(name)
    if name != f"index/{hashlib.sha256(sealed).hexdigest()}.age":
        raise IntegrityError(
            f"`{name}` is not what its name says", hint="antsmem check --repair rebuilds the index"
        )
    text = decompress(age.unseal(sealed, repository.keys.identities), _LIMIT)
    try:
        return dict(map(_contents_of, _blocks(text)))
    except ValueError:
        raise IntegrityError(f"`{name}` is malformed", hint="antsmem check --repair rebuilds the index") from None


def _blocks(text: bytes) -> Iterator[str]:
    """The parts of an index file, one a pack. One at a time: all of them together are large."""
    at = text.find(_PACK)
    while at >= 0:
        end = text.find(_PACK, at + 1)
        yield text[at + len(_PACK) : end if end >= 0 else None].decode("ascii")
        at = end


def _contents_of(block: str) -> tuple[str, list[bytes]]:
    pack, _, rows = block.partition("\n")
    digests = bytes.fromhex(rows)  # passes over the newlines
    if len(rows) != 65 * (len(digests) // 32) or len(digests) % 32:
        raise ValueError
    return pack, [digests[at : at + 32] for at in range(0, len(digests), 32)]


def put_index(repository: Repository, contents: Mapping[str, Collection[bytes]]) -> str:
    """Write one index file over `contents` (pack → digests); returns its name."""
    from antsmem.core import age

    blocks = [
        f"P {pack}\n" + (b"".join(digests).hex("\n", 32) + "\n" if digests else "")
        for pack, digests in contents.items()
    ]
    _, recipient = repository.keys.sealing[HOT]
    parts = age.seal([compress("".join(blocks).encode(), 3)], [recipient])
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    name = f"index/{sha256.hexdigest()}.age"
    repository.store.put(name, parts)
    return name


def extend_index(repository: Repository, cache: Cache, at_least: int = _EVERY) -> bool:
    """Cover the packs that `cache` knows and no index file does, once there are many; whether it did."""
    if len(cache.packs) - cache.indexed < at_least:
        return False
    contents: dict[str, list[bytes]] = {name: [] for name in cache.packs[cache.indexed :]}
    for digest, index in cache.objects.items():
        if index >= cache.indexed:
            contents[cache.packs[index]].append(digest)
    put_index(repository, contents)
    cache.indexed = len(cache.packs)
    return True


def _tocs(repository: Repository, packs: Sequence[str], salvage: bool) -> dict[str, list[tuple[bytes, int]]]:
    """The table of contents of each pack, several asked for at once."""
    found: dict[str, list[tuple[bytes, int]]] = {}
    todo = list(packs)

    def work(crew: Crew | None) -> None:
        while not (crew and crew.failed):
            try:
                pack = todo.pop()
            except IndexError:
                return
            try:
                found[pack] = pack_toc(repository, pack)
            except (CannotUnlockError, IntegrityError):
                if not salvage:
                    raise

    if len(packs) < _THREADS:
        work(None)
    else:
        Crew(work, _THREADS).wait()
    return found


def pack_toc(repository: Repository, pack: str) -> list[tuple[bytes, int]]:
    """(digest, size) of the objects in one pack, from its first bytes where they suffice."""
    store, name = repository.store, f"packs/{pack}.age"
    try:
        first = store.get(name, 0, _TOC_BYTES)
    except NotFoundError:
        raise pack_lost(repository, pack, "gone") from None

    def chunks() -> Iterable[bytes]:
        yield first
        at = len(first)
        while at and (more := store.get(name, at, 1 << 20)):
            yield more
            at += len(more)

    try:
        return read_toc(chunks(), repository.keys.identities, pack)
    except IntegrityError as error:
        raise pack_lost(repository, pack, f"damaged: {error}") from error


def pack_lost(repository: Repository, pack: str, how: str) -> IntegrityError:
    """The error for a pack that is needed and cannot be had."""
    return IntegrityError(
        f"pack `{pack[:16]}…` in `{repository.store.url}` is {how}",
        hint="antsmem check --repair names the files hit; another repository may hold them",
    )
