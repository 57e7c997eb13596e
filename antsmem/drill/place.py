"""Where a test happens: a private directory that goes when the test ends, or, killed, with the next test."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import disk_error, locked
from antsmem.core.errors import LockedError

_PREFIX: Final = "antsmem-drill-"
_LOCK: Final = "lock"
_TRIES: Final = 50
_PAUSE_SECONDS: Final = 0.1


@contextmanager
def drill_place(base: Path) -> Iterator[Path]:
    """A new empty directory (0700) below `base`. What tests that were killed left there is removed first.

    Raises `NotFoundError`, `DiskError` or `UsageError` where none can be made.
    """
    _sweep(base)
    place = base / f"{_PREFIX}{os.urandom(6).hex()}"
    try:
        place.mkdir(mode=0o700)
    except OSError as error:
        raise disk_error("make", place, error) from error
    try:
        with locked(place / _LOCK, "this test's own directory is in use"):
            yield place.resolve()
    finally:
        remove_tree(place)


def remove_tree(place: Path) -> None:
    """Remove `place` and all below it, also what the agent made unwritable for itself."""

    def again(_function: object, path: str, _error: object) -> None:
        with suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700, follow_symlinks=False) if os.path.isdir(path) else None
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)

    shutil.rmtree(place, onerror=again)


def _sweep(base: Path) -> None:
    """Remove the directories of tests that were killed: nobody holds their lock."""
    for old in base.glob(f"{_PREFIX}*"):
        with suppress(OSError, LockedError):
            status = old.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or not (old / _LOCK).is_file():
                continue
            with locked(old / _LOCK, "a test is running there"):
                for _ in range(_TRIES):  # where it cannot be ended it ends by itself, and may write until then
                    ended = _end(old.resolve())
                    remove_tree(old)
                    if not ended and not old.exists():
                        break
                    time.sleep(_PAUSE_SECONDS)


def _end(place: Path) -> int:
    """Kill what lives below `place`, where the system tells (proc(5)); how many that were. They would make their
    directories again."""
    home, found = b"\0HOME=%b/" % os.fsencode(place), 0
    for told in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if home in b"\0" + told.read_bytes():
                os.kill(int(told.parent.name), signal.SIGKILL)
                found += 1
    return found
