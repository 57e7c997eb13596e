"""Look for secrets in files and directories, in memory of one window, and say where they stand."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from antsmem.core.disk import disk_error
from antsmem.core.record import field, mutable_record, record
from antsmem.identity.scanner import Scanner, masked

_WINDOW: Final = 4 << 20
MOST_FOUND: Final = 10_000
"""So many findings are listed; more are only counted."""

Read = Callable[[int], bytes]
"""Gives at most so many bytes of something, none at its end."""

Skip = Callable[[bytes, bytes, bool], bool]
"""Whether to pass over: name, path below the start, whether it is a directory."""


@record
class Place:
    """A secret in the file `path`, line `line` (from 1). `shown` is what is safe to show of it."""

    path: bytes
    line: int
    rule: str
    form: str
    shown: str
    fingerprint: bytes = field(repr=False)
    object_id: str = ""
    """Of the git object that holds it, if it was found in git."""


@mutable_record
class Scanned:
    """What was looked at and what was found. `unread` are paths that could not be read, with the reason."""

    places: list[Place] = field(default_factory=list)
    unlisted: int = 0
    files: int = 0
    size_bytes: int = 0
    left_out: int = 0
    unread: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, place: Place) -> None:
        """One more."""
        if len(self.places) < MOST_FOUND:
            self.places.append(place)
        else:
            self.unlisted += 1


def scan_stream(scanner: Scanner, read: Read, path: bytes, scanned: Scanned, object_id: str = "") -> None:
    """Scan all that `read` gives, under the name `path`."""
    scanned.files += 1
    kept, lines, part = b"", 0, read(_WINDOW)
    while True:
        scanned.size_bytes += len(part)
        following = read(_WINDOW) if len(part) == _WINDOW else b""
        window = kept + part if kept else part
        for found in scanner.scan(window, seen=len(kept), more=bool(following)):
            line = lines + window.count(b"\n", 0, found.start) + 1
            shown = masked(window[found.start : found.end])
            scanned.add(Place(path, line, found.rule, found.form, shown, found.fingerprint, object_id))
        if not following:
            return
        kept = window[-scanner.overlap :]
        lines += window.count(b"\n", 0, len(window) - len(kept))
        part = following


def scan_file(scanner: Scanner, place: bytes, shown: bytes, scanned: Scanned) -> None:
    """Scan the regular file at `place`; anything else, and what cannot be read, is told of in `scanned`."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                scan_stream(scanner, lambda size: _full(fd, size), shown, scanned)
        finally:
            os.close(fd)
    except OSError as error:
        scanned.unread.append((shown, str(error.strerror or "no reason given").lower()))


def scan_tree(scanner: Scanner, root: bytes, prefix: bytes, skip: Skip, scanned: Scanned) -> None:
    """Scan every regular file below `root` that `skip` does not pass over; links are not followed. The paths in
    `scanned` begin with `prefix`."""
    for relative in _files(root, skip, scanned):
        scan_file(scanner, os.path.join(root, relative), os.path.normpath(os.path.join(prefix, relative)), scanned)


def _files(root: bytes, skip: Skip, scanned: Scanned) -> Iterator[bytes]:
    todo = [b""]
    while todo:
        folder = todo.pop()
        try:
            entries = sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise disk_error("list", os.fsdecode(root), error) from None
            scanned.unread.append((folder, str(error.strerror or "no reason given").lower()))
            continue
        folders = []
        for entry in entries:
            relative = os.path.join(folder, entry.name)
            is_directory = entry.is_dir(follow_symlinks=False)
            if skip(entry.name, relative, is_directory):
                scanned.left_out += 1
            elif is_directory:
                folders.append(relative)
            elif entry.is_file(follow_symlinks=False):
                yield relative
        todo += reversed(folders)


def _full(fd: int, size: int) -> bytes:
    """`size` bytes, fewer only at the end of the file."""
    part = os.read(fd, size)
    while part and len(part) < size and (more := os.read(fd, size - len(part))):
        part += more
    return part
