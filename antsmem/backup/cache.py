"""What the last run saw and stored, so that an unchanged file costs one `lstat`.

Derived: lost, damaged or from another version, it makes the next backup slower and nothing else. It is
Python's `marshal` (ten times faster than JSON here) behind a BLAKE3 checksum, because a damaged marshal
could crash the interpreter; it is private to this user and never leaves the host.
"""

from __future__ import annotations

import marshal
import sys
from pathlib import Path
from typing import Final, TypeAlias

from antsmem.core.disk import read_file, write_file
from antsmem.core.errors import AntsmemError
from antsmem.core.record import field, members, mutable_record

Key: TypeAlias = tuple[int, int, int, int, int]
"""mtime_ns, size, inode, ctime_ns, mode: a file is taken as unchanged while all five are."""

Record: TypeAlias = tuple[Key | None, bytes, bytes, int]
"""Key (None: read again next time), manifest line, digests of all objects it needs (32 bytes each, joined),
size in bytes. Without content of its own the digests are empty."""

_MAGIC: Final = b"antsmem-cache/1 %b\n" % sys.version.split()[0].encode()


@mutable_record
class Cache:
    """`basis` names the rules it was made under (classes, scanner); another basis means reading all again.
    `folders` maps a directory to its own line and its records by name; `objects` a digest to an index into
    `packs`, of which the first `indexed` are in the repository's index. `root`, `meta` (digests of the
    manifest's objects), `used` (indices of the packs needed) and `totals` belong to the last snapshot."""

    basis: bytes = b""
    folders: dict[bytes, tuple[bytes, dict[bytes, Record]]] = field(default_factory=dict)
    objects: dict[bytes, int] = field(default_factory=dict)
    packs: list[str] = field(default_factory=list)
    indexed: int = 0
    root: bytes = b""
    meta: bytes = b""
    used: list[int] = field(default_factory=list)
    totals: tuple[int, int, int] = (0, 0, 0)


def load_cache(path: Path) -> Cache:
    """The cache at `path`, or an empty one."""
    import blake3

    try:
        data = memoryview(read_file(path))
    except AntsmemError:
        return Cache()
    start = len(_MAGIC) + 32
    if data[: len(_MAGIC)] != _MAGIC or blake3.blake3(data[start:]).digest() != data[len(_MAGIC) : start]:
        return Cache()
    return Cache(*marshal.loads(data[start:]))  # noqa: S302 - ours, private, and its checksum holds


def save_cache(path: Path, cache: Cache) -> None:
    """Replace the cache at `path`."""
    import blake3

    data = marshal.dumps(tuple(getattr(cache, name) for name in members(Cache)))
    write_file(path, [_MAGIC, blake3.blake3(data).digest(), data], durable=False)
