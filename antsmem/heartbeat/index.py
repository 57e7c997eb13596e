"""A cache of what the newest month says, so that a long history costs nothing to know.

Derived: lost or damaged, the month is read again. It counts only while the line that it ends with stands where it
stood. It may know less than the journal, never other things: who finds a key in it reads the key's line.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from pathlib import Path
from typing import Final

from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError
from antsmem.core.record import members
from antsmem.heartbeat.fold import Fold

_MAGIC: Final = b"antsmem-heartbeat/3 %b\n" % sys.version.split()[0].encode()


def load_index(path: Path, month: Path) -> Fold | None:
    """What the cache at `path` knows of the file `month`; None if that is nothing."""
    try:
        data = memoryview(read_file(path))
    except AntsmemError:
        return None
    start = len(_MAGIC) + 4
    if data[: len(_MAGIC)] != _MAGIC or zlib.crc32(data[start:]).to_bytes(4, "big") != data[len(_MAGIC) : start]:
        return None
    name, values = marshal.loads(data[start:])  # noqa: S302 - ours, private, and its checksum holds
    fold = Fold(*values)
    return fold if name == os.fspath(month) and _ends_alike(month, fold) else None


def save_index(path: Path, month: Path, fold: Fold) -> None:
    """Replace the cache at `path`. Nothing waits for the disk."""
    fold.unpack()
    values = {name: getattr(fold, name) for name in members(Fold)}
    values |= {"keys": {}, "packed": marshal.dumps(fold.keys)}
    data = marshal.dumps((os.fspath(month), tuple(values.values())))
    make_private_dir(path.parent)
    write_file(path, [_MAGIC, zlib.crc32(data).to_bytes(4, "big"), data], durable=False)


def _ends_alike(month: Path, fold: Fold) -> bool:
    """Whether the last good line stands right before the end that the cache knows."""
    if not fold.last:
        return False
    try:
        fd = os.open(month, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return fold.stands_in(fd)
        finally:
            os.close(fd)
    except OSError:
        return False
