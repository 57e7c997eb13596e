"""Trying again when a store does not answer: full-jitter back-off, bounded in time.

The waits are those of "Exponential Backoff And Jitter" (M. Brooker, AWS Architecture Blog, 2015): the n-th one
is drawn evenly from 0 to min(4 s, 0.1 s · 2ⁿ), so that many clients do not come back together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from antsmem.core.errors import BackendError, ConfigError

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 30.0
_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 4.0


def retried(action: Callable[[], T], timeout_seconds: float) -> T:
    """What `action` returns. While it raises `BackendError` it is called again, until a further try could only
    begin later than `timeout_seconds` from now; but at least once more, however long the first one took."""
    give_up = time.monotonic() + timeout_seconds
    tries = 0
    while True:
        try:
            return action()
        except BackendError:
            wait = _fraction() * min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**tries)
            tries += 1
            if tries > 1 and time.monotonic() + wait > give_up:
                raise
            time.sleep(wait)


def timeout_seconds(options: Mapping[str, str]) -> float:
    """The option `timeout_seconds` that every driver of a remote store has: the bound of `retried`."""
    text = options.get("timeout_seconds", str(TIMEOUT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise ConfigError(f"option `timeout_seconds` must be 0.1 to 3600, not `{text[:40]}`")
    return seconds


def _fraction() -> float:
    return int.from_bytes(os.urandom(4)) / 2**32
