"""The lock of one piece of work: held by whoever runs it, and by every process that it leaves behind.

The lock is a `flock`, which belongs to the open file, and the action gets that file: if the runner is killed, its
child keeps the lock, and nobody starts the same work beside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import disk_error, locked
from antsmem.core.errors import BusyError, LockedError, UsageError

_UNRELIABLE: Final = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ncpfs",
        "davfs",
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.s3fs",
    }
    | {"fuse.davfs", "fuse.gcsfuse", "fuse.curlftpfs", "fuse.mergerfs"}
)
_MOUNTS: Final = "/proc/self/mountinfo"


def lock_path(locks: Path, name: str) -> Path:
    """The lock file of the work `name` (a task or a key)."""
    return locks / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"


@contextmanager
def run_lock(locks: Path, name: str) -> Iterator[int]:
    """Hold the lock of the work `name`; gives the descriptor to pass on. `BusyError` if it is being done."""
    with ExitStack() as stack:
        fd = _held(stack, lock_path(locks, name), f"`{name}` is being done right now: not started")
        yield fd


def remove_lock(locks: Path, name: str) -> None:
    """Remove the lock file of work that is settled for ever. Who holds the lock may."""
    with suppress(OSError):
        os.unlink(lock_path(locks, name))


def file_system(path: Path, mounts: str = _MOUNTS) -> str:
    """The type of the file system that holds `path` as Linux names it; empty where the kernel does not tell."""
    place, found, length = os.path.realpath(path), "", -1
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                fields = before.split(" ")
                if len(fields) < 5 or not after:
                    continue
                point = fields[4].replace("\\040", " ").replace("\\134", "\\")
                inside = place == point or place.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= length:
                    found, length = after.split(" ")[0], len(point)
    except OSError:
        return ""
    return found


def _held(stack: ExitStack, path: Path, busy: str) -> int:
    while True:
        try:
            fd = stack.enter_context(locked(path, busy))
        except LockedError:
            raise BusyError(busy, hint="try again when it has ended") from None
        if _is_at(fd, path):
            _require_reliable(path)
            return fd
        stack.pop_all().close()  # removed in between by who finished it


def _is_at(fd: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    return False


def _require_reliable(path: Path) -> None:
    """Refuse a file system on which a lock does not keep others out."""
    kind = file_system(path.parent)
    if kind in _UNRELIABLE or not _excludes(path):
        raise UsageError(
            f"`{path.parent}` is on a file system whose locks do not hold ({kind or 'unknown'}): nothing started",
            hint="keep the workspace, or `$XDG_STATE_HOME`, on a local disk",
        )


def _excludes(path: Path) -> bool:
    """Whether a second open file is kept out while the lock is held."""
    try:
        other = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise disk_error("lock", path, error) from error
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise disk_error("lock", path, error) from error
    finally:
        os.close(other)
    return False
