"""A second process for half of a job: Python's threads share one core where the work is many short calls.

The twin is a fork, so it has all that the caller has, and nothing has to be loaded again. It hands back one value.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

from antsmem.core.errors import AntsmemError, DiskError
from antsmem.core.hardening import prctl

_TICKETS: Final = 4096
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def may_fork() -> bool:
    """Whether a twin would be safe and of use: Linux, no other thread, more than one core."""
    return sys.platform == "linux" and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


class Tickets:
    """The numbers below `count`, each given to one asker only, whichever thread it is; if `shared`, whichever
    process: a pipe holds them, made before the fork."""

    def __init__(self, count: int, *, shared: bool = False) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._mine = [] if shared else list(range(count))[::-1]
        self._read = -1
        if shared:
            self._step = max(1, -(-count // _TICKETS))
            self._read, write = os.pipe()
            os.write(write, b"".join(at.to_bytes(8, "big") for at in range(0, count, self._step)))
            os.close(write)

    def take(self) -> int | None:
        """The next number, None when all are gone."""
        with self._lock:
            if not self._mine and self._read >= 0 and (taken := os.read(self._read, 8)):
                at = int.from_bytes(taken, "big")
                self._mine = list(range(at, min(at + self._step, self._count)))[::-1]
            return self._mine.pop() if self._mine else None

    def close(self) -> None:
        """Forget those that nobody took."""
        if self._read >= 0:
            os.close(self._read)
            self._read = -1


class Twin:
    """Runs `job` in a fork of this process. Leaving the block ends it; it dies with its parent."""

    def __init__(self, job: Callable[[], object]) -> None:
        parent = os.getpid()
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(write)
            return
        code = 1
        try:
            os.close(self._read)
            _die_with(parent)
            with os.fdopen(write, "wb") as out:
                try:
                    result: tuple[bool, object] = (True, job())
                except AntsmemError as error:
                    result = (False, error)
                pickle.dump(result, out)
            code = 0
        except BaseException as error:  # noqa: BLE001 - nothing of the parent's runs on here
            if isinstance(error, Exception):  # a bug: shown as one
                sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def result(self) -> object:
        """What `job` returned, when it has; raises the `AntsmemError` that it raised, and `DiskError` if the
        process did not live to say."""
        with os.fdopen(os.dup(self._read), "rb") as pipe:
            told = pipe.read()
        code = self._reap()
        if code:
            raise DiskError("the process that did half of the work ended early", hint="run it again")
        fine, value = pickle.loads(told)  # noqa: S301 - our own process wrote it
        if not fine:
            raise value
        return value

    def _reap(self) -> int:
        pid, self._pid = self._pid, 0
        os.close(self._read)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _die_with(parent: int) -> None:
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
