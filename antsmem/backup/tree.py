"""Build a tree below a directory that we own, never outside of it: openat(2) style, no symlink followed."""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Final, TypeAlias

from antsmem.backup.manifest import ROOT, Entry, shown
from antsmem.core import canonical
from antsmem.core.disk import Buffer, disk_error, fsync_dir, write_all
from antsmem.core.errors import IntegrityError

_OPEN_FOLDERS: Final = 128
_OPEN_FILES: Final = 64
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What a file system says of a name, a kind or a mode that it does not have; EEXIST of names that differ in their
# case only, the last three below a directory that it did not take or took for something else.
_CANNOT: Final = {
    errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.EMLINK,
    errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP,
}  # fmt: skip
_FAILING: Final = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_TIME: Final = "this file system cannot give it its exact time"
_COMMON_TIMES: Final = range(1 << 31)


Told: TypeAlias = tuple[set[bytes], dict[str, tuple[bytes, int]]]
"""Paths that were not made; by what was lost, the first path and how many."""


class Tree:
    """Writes entries below `root`. Every path is reached from `root`'s descriptor, one name at a time; names
    come from a checked manifest, so none is `..`. What the file system cannot hold becomes one of `warnings`, its
    path one of `unmade`; raises `DiskError` where the disk does not take it."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.as_root = os.geteuid() == 0
        self._own = (os.geteuid(), os.getegid())
        self.unmade: set[bytes] = set()
        self._lost: dict[str, tuple[bytes, int]] = {}
        self._times_proved = False
        self._top = os.open(root, _FOLDER)
        self._folders: OrderedDict[bytes, int] = OrderedDict()
        self._files: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (*self._folders.values(), *self._files.values(), self._top):
            os.close(fd)
        self._folders.clear()
        self._files.clear()

    @property
    def warnings(self) -> list[str]:
        """What is not as it was, one line a kind: the first path it happened to, and how many more."""
        return [
            f"`{shown(path)}`{f' and {count - 1} more' if count > 1 else ''}: {what}"
            for what, (path, count) in self._lost.items()
        ]

    def told(self) -> Told:
        """What it could not do so far, for the tree of another process on the same root."""
        return self.unmade, self._lost

    def learn(self, told: Told) -> None:
        """Take over what another process's tree could not do."""
        unmade, lost = told
        self.unmade |= unmade
        for what, (path, count) in lost.items():
            first, known = self._lost.get(what, (path, 0))
            self._lost[what] = (first, known + count)

    def folder(self, path: bytes, keep: int = -1) -> int:
        """A descriptor of the directory `path`, open until the next call; the next call can spare one: `keep`."""
        if not path or path == ROOT:
            return self._top
        fd = self._folders.get(path)
        if fd is not None:
            self._folders.move_to_end(path)
            return fd
        parent, _, name = path.rpartition(b"/")
        fd = os.open(name, _FOLDER, dir_fd=self.folder(parent, keep))
        if len(self._folders) >= _OPEN_FOLDERS:
            oldest = next(known for known, old in self._folders.items() if old != keep)
            os.close(self._folders.pop(oldest))
        self._folders[path] = fd
        return fd

    def make_folder(self, path: bytes) -> None:
        """A directory, 0700 until `finish_folder`."""
        parent, _, name = path.rpartition(b"/")
        try:
            os.mkdir(name, 0o700, dir_fd=self.folder(parent))
        except OSError as error:
            self._cannot(path, error)

    def finish_folder(self, entry: Entry) -> None:
        """The directory's own owner, mode and times, when all that is in it is there."""
        if entry.path in self.unmade:
            return
        try:
            self._finish(self.folder(entry.path), entry)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error

    def write_file(self, entry: Entry, data: Buffer) -> None:
        """A whole file with its metadata."""
        parent, _, name = entry.path.rpartition(b"/")
        try:
            fd = os.open(name, _NEW, 0o600, dir_fd=self.folder(parent))
        except OSError as error:
            self._cannot(entry.path, error)
            return
        try:
            write_all(fd, data)
            self._finish(fd, entry)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error
        finally:
            os.close(fd)

    def start_file(self, entry: Entry) -> None:
        """A file of its full size, all holes, to be filled by `write_at`."""
        try:
            fd = self._file(entry.path, os.O_EXCL | os.O_CREAT)
        except OSError as error:
            self._cannot(entry.path, error)
            return
        try:
            os.ftruncate(fd, entry.size_bytes)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error

    def write_at(self, path: bytes, offset: int, data: Buffer) -> None:
        """Fill a part of a started file."""
        view = memoryview(data)
        try:
            fd = self._file(path, 0)
            while view:
                count = os.pwrite(fd, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise disk_error("restore", os.fsdecode(path), error) from error

    def finish_file(self, entry: Entry) -> None:
        """A started file's metadata."""
        if entry.path in self.unmade:
            return
        try:
            self._finish(self._file(entry.path, 0), entry)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error

    def link(self, entry: Entry) -> None:
        """`l`, `h` and `p` entries; sockets and devices are not made."""
        parent, _, name = entry.path.rpartition(b"/")
        try:
            where = self.folder(parent)
            if entry.kind == b"h" and entry.link in self.unmade:
                raise FileNotFoundError(errno.ENOENT, "its other name is not there")
            if entry.kind == b"h":
                other, _, first = entry.link.rpartition(b"/")
                source = self.folder(other, where)
                os.link(first, name, src_dir_fd=source, dst_dir_fd=where, follow_symlinks=False)
                return
            if entry.kind == b"p":
                os.mkfifo(name, 0o600, dir_fd=where)
                os.chmod(name, entry.mode, dir_fd=where)
            else:
                os.symlink(entry.link, name, dir_fd=where)
        except OSError as error:
            self._cannot(entry.path, error)
            return
        if self.as_root:
            try:
                os.chown(name, *entry.owner, dir_fd=where, follow_symlinks=False)
            except (OSError, OverflowError):
                self._warn("this file system or user cannot give it its owner", entry.path)
        try:
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=where, follow_symlinks=False)
            same = os.stat(name, dir_fd=where, follow_symlinks=False).st_mtime_ns == entry.mtime_ns
        except (OSError, OverflowError):
            same = False
        if not same:
            self._warn(_TIME, entry.path)

    def _file(self, path: bytes, flags: int) -> int:
        fd = self._files.get(path)
        if fd is None:
            parent, _, name = path.rpartition(b"/")
            mode = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags
            fd = os.open(name, mode, 0o600, dir_fd=self.folder(parent))
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[path] = fd
        return fd

    def _finish(self, fd: int, entry: Entry) -> None:
        """Owner first, because changing it clears mode bits; times last, because all else touches them."""
        mode = stat.S_IMODE(entry.mode)
        if self.as_root and entry.owner != self._own:
            try:
                os.fchown(fd, *entry.owner)
            except (OSError, OverflowError):
                self._warn("this file system or user cannot give it its owner", entry.path)
                mode &= 0o1777  # never the owner's rights for somebody else
        if entry.attributes:
            self._set_xattrs(fd, entry)
        try:
            os.fchmod(fd, mode)
        except PermissionError:
            self._warn("this file system cannot give it its mode", entry.path)
        try:
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            same = not self._doubtful(entry.mtime_ns) or self._kept_time(fd, entry.mtime_ns)
        except OSError as error:
            if error.errno in _FAILING:
                raise
            same = False
        except OverflowError:
            same = False
        if not same:
            self._warn(_TIME, entry.path)

    def _doubtful(self, mtime_ns: int) -> bool:
        """Whether it must be seen that a time was taken: the kernel rounds and cuts without a word."""
        return not self._times_proved or mtime_ns // 1_000_000_000 not in _COMMON_TIMES

    def _kept_time(self, fd: int, mtime_ns: int) -> bool:
        same = os.fstat(fd).st_mtime_ns == mtime_ns
        self._times_proved = self._times_proved or (same and mtime_ns % 1000 != 0)
        return same

    def _set_xattrs(self, fd: int, entry: Entry) -> None:
        xattrs = attributes_of(entry).get("xattr", {})
        if not isinstance(xattrs, dict):
            return
        for name, value in xattrs.items():
            try:
                os.setxattr(fd, name, base64.b64decode(value))
            except (AttributeError, OSError, TypeError, ValueError):
                self._warn(f"this file system cannot give it its extended attribute {name!r}", entry.path)

    def _cannot(self, path: bytes, error: OSError) -> None:
        """A warning where this file system is the reason, else the error."""
        if error.errno not in _CANNOT:
            raise disk_error("restore", os.fsdecode(path), error) from error
        self.unmade.add(path)
        self._warn(f"could not be made on this file system: {(error.strerror or '').lower()}", path)

    def _warn(self, what: str, path: bytes) -> None:
        first, count = self._lost.get(what, (path, 0))
        self._lost[what] = (first, count + 1)


def attributes_of(entry: Entry) -> dict[str, object]:
    """The decoded last field of a manifest line."""
    if not entry.attributes:
        return {}
    try:
        text = base64.b64decode(entry.attributes, validate=True)
    except ValueError:
        raise IntegrityError(f"the manifest holds malformed attributes of `{shown(entry.path)}`") from None
    found = canonical.loads(text, 1 << 20)
    return found if isinstance(found, dict) else {}


def make_durable(folder: Path) -> None:
    """fsync every file and directory below `folder`; all of the disk where a file's mode does not let us."""
    for where, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = where + b"/" + name
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except PermissionError:
                os.sync()
                continue
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        fsync_dir(os.fsdecode(where))
