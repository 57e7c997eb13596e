"""A few threads on one job, whose first failure becomes the caller's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_ARENA_MAX: Final = -8  # malloc.h


def share_heap() -> None:
    """Let threads started from now on allocate from one heap (glibc's `mallopt`): otherwise each keeps what it
    once needed, several packs' worth. Elsewhere nothing happens."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


class Crew:
    """Starts `count` threads, each running `job(crew)`; the job looks at `failed` to stop early."""

    def __init__(self, job: Callable[[Crew], None], count: int) -> None:
        self._job = job
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        if count > 1:
            share_heap()
        for thread in self._threads:
            thread.start()

    @property
    def failed(self) -> bool:
        """Whether one of them gave up."""
        return bool(self._failures)

    def wait(self) -> None:
        """Until all have ended; raises the first failure."""
        try:
            for thread in self._threads:
                thread.join()
        except BaseException as error:  # a signal: nobody must go on writing while the caller cleans up
            self._failures.append(error)
            for thread in self._threads:
                thread.join()
            raise
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        try:
            self._job(self)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            self._failures.append(error)
