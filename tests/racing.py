"""Several at once, as the tests of races have them, and waiting for what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from antsmem.core.errors import BackendError

T = TypeVar("T")


def together(actions: Sequence[Callable[[], object]]) -> None:
    """Run `actions` in a thread each, all begun at once; the first failure fails the caller."""
    gate = threading.Barrier(len(actions))
    failures: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        gate.wait()
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def patiently(action: Callable[[], T], seconds: float = 60.0) -> T:
    """What `action` returns; it may find for so long that the server does not answer."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return action()
        except BackendError:
            if time.monotonic() > give_up:
                raise


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Ask until `what()` is true."""
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "did not happen in time"
        time.sleep(0.01)
