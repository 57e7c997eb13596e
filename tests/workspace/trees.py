"""All that can be seen of a tree without changing it, to compare before and after."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def fingerprint(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Each path below `root` with its kind, mode, owner, times of change, links, and content."""
    found: dict[bytes, tuple[object, ...]] = {}
    stack = [os.fsencode(root)]
    while stack:
        path = stack.pop()
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        with suppress(PermissionError):
            if kind == stat.S_IFDIR:
                stack += [path + b"/" + name for name in os.listdir(path)]
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind == stat.S_IFREG and status.st_size < 1 << 24:
                content = Path(os.fsdecode(path)).read_bytes()
        seen = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns)
        found[path] = (*seen, status.st_size if kind != stat.S_IFDIR else 0, content)
    return found
