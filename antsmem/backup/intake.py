"""Read files truthfully: stable bytes, live databases at rest, holes passed over, no secrets.

A file is read again when it changed under the reading, at most three times; then it is stored as read, with a
warning. Every byte passes the scanner before it goes anywhere.
"""

from __future__ import annotations

import base64
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from antsmem.backup.cache import Record, file_record, key_of, read_again
from antsmem.backup.manifest import Entry, shown
from antsmem.backup.pack import OBJECT_BYTES
from antsmem.backup.sqlite import HEADER_BYTES, MAGIC, held, may_be_database, rests
from antsmem.backup.walk import Task, is_racy, joined, left_out_line, status_line
from antsmem.core import canonical
from antsmem.core.record import field, mutable_record, record
from antsmem.identity.scanner import Finding, Scanner, line_of, masked
from antsmem.identity.waivers import Waivers

NAMES: Final = b"the manifest"
"""Where a secret stands that is no file's content: in the name of a path, or in what a link points to."""
_ATTEMPTS: Final = 3
WINDOW: Final = 4 << 20
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_XATTR_BYTES: Final = 64 << 10


@record
class Leak:
    """A secret that stands in a file: where, which rule, and a masked form that is safe to show."""

    path: str
    line: int
    rule: str
    shown: str


@mutable_record
class Tally:
    """What an intake met. `leaks` are refused findings, `waived` those with a recorded permission."""

    read_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    waived: list[Leak] = field(default_factory=list)
    unreadable: int = 0


class Intake(ABC):
    """Reads the files of one run; a subclass says where their bytes go."""

    def __init__(self, root: bytes, scanner: Scanner, waivers: Waivers, now_ns: int) -> None:
        self.root = root
        self.scanner = scanner
        self.waivers = waivers
        self.now_ns = now_ns
        self.tally = Tally()
        self._window: bytearray | None = None

    @abstractmethod
    def content(self, fd: int, status: os.stat_result, relative: bytes) -> tuple[bytes, int, bytes]:
        """Take the bytes of the file open at `fd` once: (kind, size in bytes, digests of its objects, the
        first of which stands in its manifest line)."""

    def take(self, task: Task) -> None:
        """Read the file of `task`; its record goes where the task says. The -wal and -journal of a database
        are read under the same hold."""
        path, fds = self.root + b"/" + task.path, list[int]()
        try:
            fd = self._open(task.path, task.name, task.records, fds)
            if fd is None:
                return
            why, header = "", b""
            if task.companions or may_be_database(os.fstat(fd).st_size):
                try:
                    header = os.pread(fd, HEADER_BYTES, 0)
                except OSError as error:  # a bad disk, or it became something else since the walk
                    self._unreadable(task.path, task.name, task.records, error)
                    return
            if not header.startswith(MAGIC):
                self._read_group(task, fd, fds)
            elif rests(header, path):
                self._read_group(task, fd, fds)
                if not rests(header, path):
                    why = "it was opened meanwhile"
            else:
                with held(path) as why:
                    self._read_group(task, fd, fds, still=not why)
            if why:
                self.tally.warnings.append(f"database `{shown(task.path)}` was copied as it stood: {why}")
        finally:
            for each in fds:
                os.close(each)

    def mend_links(self, linked: list[list[tuple[Task, os.stat_result]]]) -> None:
        """See that hard links do not lead to a path that vanished or could not be read: the next path of the same
        inode that can be had is then the file."""
        for group in linked:
            for at, (task, _) in enumerate(group):
                if at:
                    task.records.pop(task.name, None)
                    self.take(task)
                record = task.records.get(task.name)
                if record is not None and record[2]:
                    for other, status in group[at + 1 :] if at else ():
                        text = status_line(b"h", other.path, status, task.path)
                        other.records[other.name] = (b"", text, b"")
                    break

    def _read_group(self, task: Task, fd: int, fds: list[int], *, still: bool = False) -> None:
        self._read(fd, task.path, task, still)
        for name in task.companions:
            relative = joined(task.folder, name)
            other = self._open(relative, name, task.records, fds)
            if other is not None:
                self._read(other, relative, task._replace(name=name), still)

    def _read(self, fd: int, relative: bytes, task: Task, still: bool) -> None:
        try:
            task.records[task.name] = self.stable(fd, relative, still=still)
        except OSError as error:
            self._unreadable(relative, task.name, task.records, error)

    def _open(self, relative: bytes, name: bytes, records: dict[bytes, Record], fds: list[int]) -> int | None:
        """A descriptor, also appended to `fds`: those stay open until the hold on a database has ended."""
        try:
            fds.append(os.open(self.root + b"/" + relative, _FLAGS))
        except FileNotFoundError:
            return None  # deleted since the walk: as if it had never been there
        except OSError as error:
            self._unreadable(relative, name, records, error)
            return None
        return fds[-1]

    def _unreadable(self, relative: bytes, name: bytes, records: dict[bytes, Record], error: OSError) -> None:
        self.tally.unreadable += 1
        self.tally.warnings.append(f"could not read `{shown(relative)}`: {(error.strerror or '').lower()}")
        records[name] = (b"", left_out_line(relative, "unreadable"), b"")

    def repeatable(self, status: os.stat_result) -> bool:
        """Whether `content` may be called again for a file that changed meanwhile."""
        return True

    def done(self, entry: Entry) -> None:
        """The file of `entry` was read to the end for the last time."""
        return

    def stable(self, fd: int, relative: bytes, *, still: bool = False) -> Record:
        """Take the file open at `fd`, again while it changes; its record. `still`: it is part of a held database,
        where a change cannot harm (sqlite.py)."""
        known_waived, before = len(self.tally.waived), os.fstat(fd)
        for attempt in range(_ATTEMPTS):
            kind, size, digests = self.content(fd, before, relative)
            after = os.fstat(fd)
            same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
            if still or (same and size == after.st_size):
                break
            if attempt == _ATTEMPTS - 1 or not self.repeatable(before):
                self.tally.warnings.append(f"`{shown(relative)}` kept changing while it was read: stored as read")
                break
            before = after
        self.tally.read_bytes += size
        owner, mode = (after.st_uid, after.st_gid), stat.S_IMODE(after.st_mode)
        attributes = self.attributes(fd, is_sparse(after) and size >= OBJECT_BYTES, relative)
        entry = Entry(kind, mode, owner, after.st_mtime_ns, size, digests[:32], b"", relative, attributes)
        self.done(entry)
        waived = len(self.tally.waived) > known_waived  # looked at again each time, until the waiver expires
        key = key_of(after)
        if waived or key != key_of(before) or is_racy(after, self.now_ns):
            key = read_again(key)
        return file_record(entry, key, digests)

    def windows(self, fd: int, chunk: int, sparse: bool, relative: bytes) -> Iterator[tuple[int, memoryview]]:
        """The file in windows of whole chunks, each scanned together with the end of the one before. Of a
        sparse file, windows that lie in a hole are passed over (the end of the file always comes)."""
        overlap = self.scanner.overlap
        if self._window is None:
            self._window = bytearray(overlap + WINDOW)
        view, at, kept = memoryview(self._window), 0, 0
        size = os.fstat(fd).st_size  # not further: a file that grows as fast as it is read would never end
        while True:
            data = _next_data(fd, at) if sparse else at
            if data >= at + chunk:
                self._scan_part(view[overlap - kept : overlap], (at - kept, kept, False), relative, fd)
                at, kept = data - data % chunk, 0
            count = _read_full(fd, view[overlap : overlap + min(WINDOW, max(size - at, 0))], at)
            more = count == WINDOW and at + count < size
            self._scan_part(view[overlap - kept : overlap + count], (at - kept, kept, more), relative, fd)
            if count:
                yield at, view[overlap : overlap + count]
            if not more:
                return
            view[:overlap] = view[WINDOW : WINDOW + overlap]
            at, kept = at + count, overlap

    def attributes(self, fd: int, sparse: bool, relative: bytes) -> bytes:
        """The last field of a manifest line: whether there are holes, and extended attributes in `user.`."""
        found: dict[str, object] = {"sparse": True} if sparse else {}
        names: list[str] = []
        with suppress(AttributeError, OSError):  # a system or a file system that has none
            names = os.listxattr(fd)
        xattrs = {name: os.getxattr(fd, name) for name in names if name.startswith("user.")}
        if xattrs and (sum(map(len, xattrs.values())) > _XATTR_BYTES or not all(map(str.isascii, xattrs))):
            self.tally.warnings.append(
                f"the extended attributes of `{shown(relative)}` are too large or oddly named"
            )
        elif xattrs:
            for name, value in xattrs.items():  # in the manifest they are encoded twice: no scanner looks there
                self.inspect(memoryview(name.encode() + b"=" + value), relative)
            found["xattr"] = {name: base64.b64encode(value).decode() for name, value in sorted(xattrs.items())}
        return base64.b64encode(canonical.dumps(found)) if found else b""

    def inspect(self, view: memoryview, relative: bytes) -> None:
        """Scan the whole content of a file; findings are tallied as leaks or as waived."""
        for finding in self.scanner.scan(view):
            self._found(finding, line_of(view, finding.start), view, relative)

    def _scan_part(self, view: memoryview, place: tuple[int, int, bool], relative: bytes, fd: int) -> None:
        """Scan a window: `place` is its offset in the file, how much of it was scanned, whether more follows."""
        offset, seen, more = place
        for finding in self.scanner.scan(view, seen=seen, more=more):
            row = line_of(view, finding.start) + _lines_before(fd, offset)
            self._found(finding, row, view, relative)

    def _found(self, finding: Finding, row: int, view: memoryview, relative: bytes) -> None:
        leak = Leak(shown(relative), row, finding.rule, masked(bytes(view[finding.start : finding.end])))
        heap = self.tally.waived if self.waivers.allows(relative, finding) else self.tally.leaks
        if leak not in heap:
            heap.append(leak)


def _read_full(fd: int, view: memoryview, at: int) -> int:
    count = 0
    while count < len(view):
        more = os.preadv(fd, [view[count:]], at + count)
        if not more:
            break
        count += more
    return count


def _next_data(fd: int, at: int) -> int:
    """Where the next bytes that are not a hole begin; at the end of the file, its last chunk's start."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError:
        return max(os.fstat(fd).st_size - 1, 0)


def _lines_before(fd: int, offset: int) -> int:
    """Newlines in the first `offset` bytes."""
    count = at = 0
    while at < offset:
        data = os.pread(fd, min(1 << 20, offset - at), at)
        if not data:
            break
        count += data.count(b"\n")
        at += len(data)
    return count


def is_sparse(status: os.stat_result) -> bool:
    """Whether the file has holes: fewer blocks than its size needs."""
    return status.st_blocks * 512 < status.st_size - 4096
