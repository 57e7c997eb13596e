"""Build a tree below a directory that we own, never outside of it: openat(2) style, no symlink followed."""

from __future__ import annotations

import base64
import os
import stat
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from antsmem.backup.manifest import ROOT, Entry, shown
from antsmem.core import canonical
from antsmem.core.disk import Buffer, disk_error, write_all

_OPEN_FOLDERS: Final = 128
_OPEN_FILES: Final = 64
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """Writes entries below `root`. Every path is reached from `root`'s descriptor, one name at a time; names
    come from a checked manifest, so none is `..`. Raises `DiskError` where the disk does not take it."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.as_root = os.geteuid() == 0
        self._own = (os.geteuid(), os.getegid())
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self.warnings: list[str] = []
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

    def folder(self, path: bytes) -> int:
        """A descriptor of the directory `path`, kept open for the next calls."""
        if not path or path == ROOT:
            return self._top
        fd = self._folders.get(path)
        if fd is None:
            parent, _, name = path.rpartition(b"/")
            fd = os.open(name, _FOLDER, dir_fd=self.folder(parent))
            if len(self._folders) >= _OPEN_FOLDERS:
                os.close(self._folders.popitem(last=False)[1])
            self._folders[path] = fd
        return fd

    def make_folder(self, path: bytes) -> None:
        """A directory, 0700 until `finish_folder`."""
        parent, _, name = path.rpartition(b"/")
        try:
            os.mkdir(name, 0o700, dir_fd=self.folder(parent))
        except OSError as error:
            raise disk_error("make", os.fsdecode(path), error) from error

    def finish_folder(self, entry: Entry) -> None:
        """The directory's own owner, mode and times, when all that is in it is there."""
        self._finish(self.folder(entry.path), entry)

    def write_file(self, entry: Entry, data: Buffer) -> None:
        """A whole file with its metadata."""
        parent, _, name = entry.path.rpartition(b"/")
        try:
            fd = os.open(name, _NEW, entry.mode & 0o777, dir_fd=self.folder(parent))
            try:
                write_all(fd, data)
                self._finish(fd, entry, has_mode=not entry.mode & (0o7000 | self._umask))
            finally:
                os.close(fd)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error

    def start_file(self, entry: Entry) -> None:
        """A file of its full size, all holes, to be filled by `write_at`."""
        try:
            os.ftruncate(self._file(entry.path, os.O_EXCL | os.O_CREAT), entry.size_bytes)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error

    def write_at(self, path: bytes, offset: int, data: memoryview) -> None:
        """Fill a part of a started file."""
        try:
            fd = self._file(path, 0)
            while data:
                count = os.pwrite(fd, data, offset)
                data, offset = data[count:], offset + count
        except OSError as error:
            raise disk_error("restore", os.fsdecode(path), error) from error

    def finish_file(self, entry: Entry) -> None:
        """A started file's metadata."""
        self._finish(self._file(entry.path, 0), entry)

    def link(self, entry: Entry) -> None:
        """`l`, `h` and `p` entries; sockets and devices are not made."""
        parent, _, name = entry.path.rpartition(b"/")
        where = self.folder(parent)
        try:
            if entry.kind == b"h":
                other, _, first = entry.link.rpartition(b"/")
                os.link(first, name, src_dir_fd=self.folder(other), dst_dir_fd=where, follow_symlinks=False)
                return
            if entry.kind == b"p":
                os.mkfifo(name, 0o600, dir_fd=where)
                os.chmod(name, entry.mode, dir_fd=where)
            else:
                os.symlink(entry.link, name, dir_fd=where)
            if self.as_root:
                os.chown(name, *entry.owner, dir_fd=where, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=where, follow_symlinks=False)
        except OSError as error:
            raise disk_error("restore", os.fsdecode(entry.path), error) from error

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

    def _finish(self, fd: int, entry: Entry, *, has_mode: bool = False) -> None:
        """Owner first, because changing it clears mode bits; times last, because all else touches them."""
        if self.as_root and entry.owner != self._own:
            has_mode = False
            with suppress(OSError):
                os.fchown(fd, *entry.owner)
        if entry.attributes:
            self._set_xattrs(fd, entry)
        if not has_mode:
            os.fchmod(fd, stat.S_IMODE(entry.mode))
        try:
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        except (OSError, OverflowError):
            self.warnings.append(f"`{shown(entry.path)}` keeps today's time: this file system takes no other")

    def _set_xattrs(self, fd: int, entry: Entry) -> None:
        xattrs = attributes_of(entry).get("xattr", {})
        if not isinstance(xattrs, dict):
            return
        for name, value in xattrs.items():
            try:
                os.setxattr(fd, name, base64.b64decode(value))
            except (AttributeError, OSError, ValueError):
                self.warnings.append(
                    f"`{shown(entry.path)}` lost its extended attribute {name!r} on this file system"
                )


def attributes_of(entry: Entry) -> dict[str, object]:
    """The decoded last field of a manifest line."""
    if not entry.attributes:
        return {}
    found = canonical.loads(base64.b64decode(entry.attributes), 1 << 20)
    return found if isinstance(found, dict) else {}
