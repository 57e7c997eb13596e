"""A directory in memory for files that hold secrets, which goes when its user ends, however that ends.

A guard, a process of its own, waits for the end of the one that asked: killed, crashed or done. Then it removes
the directory and ends the programs that it was told of. If the guard is killed too, the next use sweeps: a
directory whose lock nobody holds is nobody's any more. A machine that stops forgets it all. Not promised: that the
kernel never swaps it out, and that no program of the same user reads it while it is there.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final, NoReturn

from antsmem.core.disk import locked, write_file
from antsmem.core.errors import AntsmemError, LockedError, NotFoundError, UsageError

_PREFIX: Final = "antsmem-exec-"
_LOCK: Final = ".lock"  # no variable, and so no file, has such a name
_PATIENCE_SECONDS: Final = 2.0
_MOST_DESCRIPTORS: Final = 4096
_TOLD: Final = struct.Struct("=?i")
_BUSY: Final = "a private directory is in use"


class Guard:
    """What looks after us. `directory` is where files go, if any were wanted."""

    def __init__(self, pipe: int, directory: Path | None) -> None:
        self._pipe = pipe
        self._directory = directory

    def watch(self, process: int) -> None:
        """End `process` (negative: a process group) if we are gone before it."""
        os.write(self._pipe, _TOLD.pack(True, process))

    def forget(self, process: int) -> None:
        """It has ended."""
        os.write(self._pipe, _TOLD.pack(False, process))

    def path(self, name: str) -> Path:
        """Where a file `name` lies, or would."""
        if self._directory is None:
            raise UsageError("there is no private directory")
        return self._directory / name

    def put(self, name: str, data: bytes) -> Path:
        """A file `name` with `data`, which only we can read (0600)."""
        write_file(self.path(name), [data], new=True, durable=False)
        return self.path(name)


@contextmanager
def guarded(places: Sequence[Path], *, files: bool) -> Iterator[Guard]:
    """Something that looks after what we leave behind; with `files` it has a new directory in the first of
    `places` that is fit: in memory, and ours. `NotFoundError` if none is.

    Best entered before any secret is in memory: the guard is a copy of this process.
    """
    with ExitStack() as held:
        directory, lock = held.enter_context(_new_directory(places)) if files else (None, -1)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _stand_guard(reading, lock, directory)
        os.close(reading)
        try:
            yield Guard(writing, directory)
        finally:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
            os.close(writing)
            os.waitpid(child, 0)


@contextmanager
def _new_directory(places: Sequence[Path]) -> Iterator[tuple[Path, int]]:
    """A new directory and the descriptor that keeps it locked."""
    fit = [place for place in places if _is_fit(place)]
    if not fit:
        raise NotFoundError(
            "there is no directory in memory for private files", hint="use --env instead, or set XDG_RUNTIME_DIR"
        )
    sweep(fit)
    for _ in range(3):
        directory = fit[0] / f"{_PREFIX}{os.urandom(8).hex()}"
        directory.mkdir(mode=0o700)
        with ExitStack() as held:
            try:
                lock = held.enter_context(locked(directory / _LOCK, _BUSY))
            except LockedError:  # a sweep was quicker
                continue
            yield directory, lock
            return
    raise LockedError(_BUSY)


def sweep(places: Sequence[Path]) -> int:
    """Remove what killed runs left in `places`; how many directories that were."""
    swept = 0
    for place in places:
        for left in place.glob(f"{_PREFIX}*"):
            try:
                if left.is_symlink() or left.lstat().st_uid != os.geteuid():
                    continue
                with locked(left / _LOCK, _BUSY):
                    shutil.rmtree(left, ignore_errors=True)
                    swept += 1
            except (AntsmemError, OSError):
                continue  # in use, or gone meanwhile
    return swept


def _is_fit(place: Path) -> bool:
    """Whether `place` is a directory in memory where others cannot replace what is ours."""
    try:
        state = place.stat()
    except OSError:
        return False
    ours = state.st_uid == os.geteuid() and not state.st_mode & 0o077
    shared = state.st_uid == 0 and bool(state.st_mode & stat.S_ISVTX)
    return (ours or shared) and os.access(place, os.W_OK | os.X_OK) and _in_memory(place)


def _in_memory(place: Path) -> bool:
    """Whether `place` is on a tmpfs or ramfs, by the kernel's table of mounts (proc(5))."""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    real, best = os.path.realpath(place), ("", "")
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        point = point.encode(errors="surrogateescape").decode("unicode_escape") if "\\" in point else point
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1] in {"tmpfs", "ramfs"}


def _stand_guard(pipe: int, lock: int, directory: Path | None) -> NoReturn:
    """The guard's whole life: it holds the lock, so that nobody sweeps while it stands."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        borders = [2, *sorted({pipe, lock} - {-1}), _MOST_DESCRIPTORS]
        for below, above in pairwise(borders):
            os.closerange(below + 1, above)
        watched: set[int] = set()
        while told := os.read(pipe, _TOLD.size):
            added, process = _TOLD.unpack(told)
            (watched.add if added else watched.discard)(process)
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        _end(watched)
    finally:
        os._exit(0)


def _end(watched: set[int]) -> None:
    give_up = time.monotonic() + _PATIENCE_SECONDS
    _send(watched, signal.SIGTERM)
    while watched and time.monotonic() < give_up:
        time.sleep(0.05)
        _send(watched, 0)
    _send(watched, signal.SIGKILL)


def _send(watched: set[int], number: int) -> None:
    """Send a signal to all that are still there, and forget the others."""
    for process in list(watched):
        try:
            os.kill(process, number)
        except OSError:
            watched.discard(process)
