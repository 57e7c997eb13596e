"""The one place that writes files: a reader sees the old bytes or the new ones, never half of them.

Writing is always: temporary file (0600) in the same directory → write all → fsync → rename → fsync of the
directory. Locks are `flock`s, so a killed process leaves none behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from antsmem.core.errors import DiskError, LockedError, NotFoundError, UsageError, WouldOverwriteError

Buffer: TypeAlias = bytes | bytearray | memoryview
AnyPath: TypeAlias = str | Path

_TEMP_MARK = ".antsmem-tmp-"
_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}


def temp_name(name: str) -> str:
    """A name for a half-written file, in the same directory as `name`; `is_temp` knows it again."""
    return f"{_TEMP_MARK}{os.urandom(6).hex()}-{name[:50]}"  # at most 227 bytes, of the 255 that a name may have


def is_temp(name: str) -> bool:
    """Whether `name` was made by `temp_name`: left by a run that was killed, safe to sweep when old."""
    return name.startswith(_TEMP_MARK)


def fsync_dir(path: AnyPath) -> None:
    """Make the names in directory `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, part: Buffer) -> None:
    """Write every byte of `part`; a short write goes on, a full disk raises `OSError`."""
    view = memoryview(part).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def write_file(
    path: AnyPath, parts: Iterable[Buffer], *, mode: int = 0o600, new: bool = False, durable: bool = True
) -> None:
    """Put the bytes of `parts` at `path`, whole or not at all.

    `new` refuses a path that exists (`WouldOverwriteError`), decided by the kernel. `durable` fsyncs file and
    directory. A full, failing or read-only disk raises `DiskError`; the old file is then still there.
    """
    target = os.fspath(path)
    parent, name = os.path.split(target)
    temp = os.path.join(parent, temp_name(name))
    try:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            try:
                for part in parts:
                    write_all(fd, part)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            if new:
                os.link(temp, target)
                os.unlink(temp)
            else:
                os.rename(temp, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise
        if durable:
            fsync_dir(parent or ".")
    except FileExistsError:
        raise WouldOverwriteError(f"`{target}` exists already: not written") from None
    except OSError as error:
        raise disk_error("write", target, error) from error


def require_room(path: AnyPath, size_bytes: int = 1 << 16) -> None:
    """Return if a new file of that size can be written at `path` now, else raise as `write_file` does."""
    target = os.fspath(path)
    if os.path.lexists(target):
        raise WouldOverwriteError(f"`{target}` exists already")
    parent, name = os.path.split(target)
    temp = os.path.join(parent, temp_name(name))
    try:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.unlink(temp)
            write_all(fd, bytes(size_bytes))
        finally:
            os.close(fd)
    except OSError as error:
        raise disk_error("write", target, error) from error


def append_file(path: AnyPath, data: Buffer) -> None:
    """Put `data` at the end of the file `path`, which must be there, by one write, and make it durable.

    Nobody else may append meanwhile: a write that does not fit is taken back. `DiskError` where the disk is full
    or failing; if it fails while we wait for it, `data` may stand there or not.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(fd).st_size
            if (written := os.write(fd, data)) != len(data):
                if written > 0:
                    os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise disk_error("append to", path, error) from error


def read_file(path: AnyPath, limit: int | None = None) -> bytes:
    """All bytes of the regular file `path`, which must not be a symlink. More than `limit` bytes is refused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise disk_error("read", path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # a pipe would look like an empty file
        os.close(fd)
        raise UsageError(
            f"`{os.fspath(path)}` is no regular file: not read", hint="look at its owner, mode and kind"
        )
    parts, wanted = [], limit + 1 if limit is not None else 1 << 62
    try:
        while wanted > 0 and (part := os.read(fd, min(wanted, 1 << 24))):
            parts.append(part)
            wanted -= len(part)
    except OSError as error:
        raise disk_error("read", path, error) from error
    finally:
        os.close(fd)
    if not wanted:
        raise UsageError(f"`{os.fspath(path)}` is larger than {limit} bytes: not read", hint="make it smaller")
    return b"".join(parts)


def disk_error(verb: str, path: AnyPath, error: OSError) -> DiskError | NotFoundError | UsageError:
    """Our error for what the operating system said while we tried to `verb` the file at `path`."""
    shown = os.fspath(path)
    why = (error.strerror or str(error)).lower()
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFoundError(f"could not {verb} `{shown}`: {why}", hint="is the path right?")
    if error.errno in _DISK_TROUBLE:
        return DiskError(f"could not {verb} `{shown}`: {why}")
    return UsageError(f"could not {verb} `{shown}`: {why}", hint="look at its owner, mode and kind")


def make_private_dir(path: AnyPath) -> None:
    """Make directory `path` and its missing parents, all 0700."""
    missing = []
    place = Path(path)
    try:
        while not place.exists():
            missing.append(place)
            place = place.parent
        while missing:
            place = missing.pop()
            place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise disk_error("make", place, error) from error


@contextmanager
def locked(path: AnyPath, busy: str) -> Iterator[int]:
    """Hold an exclusive lock on the file `path` (made if missing) and give its descriptor.

    Raises `LockedError(busy)` at once when another process holds it.
    """
    make_private_dir(Path(path).parent)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise disk_error("lock", path, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(busy) from None
        except OSError as error:  # a file system without locks
            raise disk_error("lock", path, error) from error
        yield fd
    finally:
        os.close(fd)


@contextmanager
def locked_within(seconds: float, path: AnyPath, busy: str) -> Iterator[int]:
    """As `locked`, but wait up to `seconds` for whoever holds it."""
    give_up = time.monotonic() + seconds
    with ExitStack() as held:
        while True:
            try:
                fd = held.enter_context(locked(path, busy))
                break
            except LockedError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
        yield fd
