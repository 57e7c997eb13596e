"""When a failed task may be tried again, and when it is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

FIRST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 6 * 3600
OPEN_AFTER: Final = 5
OFF_AFTER: Final = 10


def delay_seconds(attempt: int, draw: Callable[[], float]) -> float:
    """How long to wait after the `attempt`-th failure (from 1): from 0 to 60 s, doubled each time up to 6 h.

    `draw` gives a number in [0, 1): "full jitter", see M. Brooker, "Exponential Backoff And Jitter" (2015).
    """
    longest = FIRST_SECONDS << min(max(attempt, 1) - 1, 20)
    return draw() * min(longest, LONGEST_SECONDS)


def breaker(failures: int) -> Literal["closed", "open", "off"]:
    """Whether a task that failed `failures` times in a row may run: `closed` it may; `open`: its slots are skipped
    but for one try each longest delay; `off`: a person switches it on again."""
    if failures >= OFF_AFTER:
        return "off"
    return "open" if failures >= OPEN_AFTER else "closed"
