"""What the last run saw and stored, so that an unchanged file costs one `lstat`.

Derived: lost, damaged or from another version, it makes the next backup slower and nothing else. It is
Python's `marshal` (ten times faster than JSON here) behind a BLAKE3 checksum, because a damaged marshal
could crash the interpreter; it is private to this user and never leaves the host.
"""

from __future__ import annotations

import marshal
import os
import stat
import struct
import sys
from pathlib import Path
from typing import Final, TypeAlias

from antsmem.backup.manifest import Entry, escape
from antsmem.core.disk import read_file, write_file
from antsmem.core.errors import AntsmemError
from antsmem.core.record import field, members, mutable_record

Key: TypeAlias = bytes
"""mtime_ns, size, inode, ctime_ns, mode, packed: a file is taken as unchanged while all five are."""

Record: TypeAlias = tuple[Key, bytes, bytes]
"""Of a file: its key; kind, owner and attributes as its manifest line has them; the digests of all objects that
it needs, 32 bytes each, joined. Of another path: no key, its manifest line, no digests. There are very many, so
the line of a file is made when it is needed."""

_KEY: Final = struct.Struct("<QiQQQL")
_64_BITS: Final = (1 << 64) - 1
_MAGIC: Final = b"antsmem-cache/3 %b\n" % sys.version.split()[0].encode()


def key_of(status: os.stat_result) -> Key:
    """What must stay the same for a file to count as unchanged."""
    mtime, ctime = status.st_mtime_ns, status.st_ctime_ns  # any time can be set: one before 1970, one after 2262
    return _KEY.pack(
        mtime & _64_BITS, mtime >> 64, status.st_size, status.st_ino, ctime & _64_BITS, status.st_mode
    )


def read_again(key: Key) -> Key:
    """`key`, so that no file has it."""
    return key[:28] + bytes(8) + key[36:]


def file_record(entry: Entry, key: Key, digests: bytes) -> Record:
    """The record of the file `entry`; if it has not the size that `key` says, it kept changing: as it was read."""
    if entry.size_bytes != int.from_bytes(key[12:20], "little"):
        key = key[:12] + entry.size_bytes.to_bytes(8, "little") + key[20:]
    return key, b"%b\t%d:%d\t%b" % (entry.kind, *entry.owner, entry.attributes), digests


def size_of(made: Record) -> int:
    """The size in bytes of a file."""
    return int.from_bytes(made[0][12:20], "little")


def line_of(path: bytes, made: Record) -> bytes:
    """The manifest line of `path`."""
    key, text, digests = made
    if not digests:
        return text
    mtime, high, size, _, _, mode = _KEY.unpack(key)
    kind, owner, attributes = text.split(b"\t", 2)
    return b"%b\t%o\t%b\t%d\t%d\t%b\t%b%b\n" % (
        kind, stat.S_IMODE(mode), owner, high << 64 | mtime, size, digests[:32].hex().encode(), escape(path),
        b"\t" + attributes if attributes else b"",
    )  # fmt: skip


@mutable_record
class Cache:
    """`basis` names the rules it was made under (classes, scanner); another basis means reading all again.
    `folders` maps a directory to its own line and its records by name; `objects` a digest to an index into
    `packs`, of which the first `indexed` are in the repository's index and those in `small` are worth joining.
    `root`, `meta` (digests of the manifest's objects), `used` (indices of the packs needed) and `totals` belong to
    the last snapshot."""

    basis: bytes = b""
    folders: dict[bytes, tuple[bytes, dict[bytes, Record]]] = field(default_factory=dict)
    objects: dict[bytes, int] = field(default_factory=dict)
    packs: list[str] = field(default_factory=list)
    small: set[int] = field(default_factory=set)
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
