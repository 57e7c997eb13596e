"""What a tree of files is, in all that a backup promises to bring back, and how two of them differ."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from antsmem.core.disk import disk_error
from antsmem.core.record import record

_CHUNK: Final = 1 << 20


@record
class Seen:
    """One path. `kind`: file, directory, link or other; `content`: SHA-256 of a file, or where a link leads."""

    kind: str
    mode: int
    time_ns: int
    content: str


Tree: TypeAlias = Mapping[bytes, Seen]
"""Relative path, as bytes on disk → what is there."""


def look(root: Path) -> dict[bytes, Seen]:
    """Everything below `root`, no link followed."""
    top = os.fsencode(root)
    return {path: _seen(top + b"/" + path) for path in paths_below(top)}


def paths_below(top: bytes) -> Iterator[bytes]:
    """Every path below `top`, relative, a directory before what is in it."""
    stack = [b""]
    while stack:
        folder = stack.pop()
        with os.scandir(top + b"/" + folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                path = folder + b"/" + entry.name if folder else entry.name
                yield path
                if entry.is_dir(follow_symlinks=False):
                    stack.append(path)


def _seen(path: bytes) -> Seen:
    try:
        status = os.lstat(path)
        mode, time_ns = stat.S_IMODE(status.st_mode), status.st_mtime_ns
        if stat.S_ISLNK(status.st_mode):
            return Seen("link", mode, time_ns, os.fsdecode(os.readlink(path)))
        if stat.S_ISDIR(status.st_mode):
            return Seen("directory", mode, time_ns, "")
        if not stat.S_ISREG(status.st_mode):
            return Seen("other", mode, time_ns, "")
        with open(path, "rb") as file:
            return Seen("file", mode, time_ns, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise disk_error("look at", os.fsdecode(path), error) from error


def look_into(archive: tarfile.TarFile) -> dict[bytes, Seen]:
    """Everything in an archive of one directory, its own name taken off."""
    found: dict[bytes, Seen] = {}
    for member in archive:
        path = os.fsencode(member.name).partition(b"/")[2]
        if not path:
            continue
        time_ns = _nanoseconds(member.pax_headers.get("mtime", "")) or int(member.mtime) * 1_000_000_000
        if member.isdir():
            found[path] = Seen("directory", member.mode, time_ns, "")
        elif member.issym():
            found[path] = Seen("link", 0o777, time_ns, member.linkname)
        elif member.islnk():
            found[path] = found[os.fsencode(member.linkname).partition(b"/")[2]]
        elif (file := archive.extractfile(member)) is not None:
            digest = hashlib.sha256()
            while part := file.read(_CHUNK):
                digest.update(part)
            found[path] = Seen("file", member.mode, time_ns, digest.hexdigest())
        else:
            found[path] = Seen("other", member.mode, time_ns, "")
    return found


def _nanoseconds(text: str) -> int:
    """`1700000000.123456789` without a float in between; 0 for nothing."""
    seconds, _, rest = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(rest[:9].ljust(9, "0")) if seconds else 0


def differences(before: Tree, after: Tree, passed_over: Collection[bytes] = ()) -> list[str]:
    """What differs, a line each: missing, new, or another kind, mode, time or content. Paths in `passed_over`, and
    what is below them, are not compared; nor are the times of directories that hold one of those."""
    wrong = []
    holders = {each.rpartition(b"/")[0] for each in passed_over}
    for path in sorted(before.keys() | after.keys()):
        if is_below(path, passed_over):
            continue
        old, new = before.get(path), after.get(path)
        shown = path.decode(errors="backslashreplace")
        if old is None or new is None:
            wrong.append(f"{shown} is {'new' if old is None else 'missing'}")
            continue
        names = [
            name
            for name in ("kind", "mode", "time_ns", "content")
            if getattr(old, name) != getattr(new, name) and not (name == "time_ns" and path in holders)
        ]
        wrong += [f"{shown} has another {name.removesuffix('_ns')}" for name in names]
    return wrong


def is_below(path: bytes, tops: Collection[bytes]) -> bool:
    """Whether `path` is one of `tops`, or below one."""
    parts = path.split(b"/")
    return any(b"/".join(parts[:count]) in tops for count in range(1, len(parts) + 1))
