"""Hybrid logical clocks: instants that follow the wall clock, and never run behind what a device has seen.

Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases" (2014). The
text `1795175999123-0007` (milliseconds since 1970, then a counter) sorts as the clocks do.
"""

from __future__ import annotations

import re
from typing import Final

from antsmem.core.errors import IntegrityError

MAX_AHEAD_MS: Final = 86_400_000
"""How far another device's clock may drag ours ahead of the wall: a day."""

START: Final = "0000000000000-0000"
_TEXT: Final = re.compile(r"([0-9]{13})-([0-9]{4})")
_COUNTS: Final = 10_000


def check_clock(text: str) -> None:
    """`IntegrityError` unless `text` is a clock."""
    if not _TEXT.fullmatch(text):
        raise IntegrityError("an event's clock is not `<13 digits>-<4 digits>`")


def last_believed(now_ns: int) -> str:
    """The highest clock that counts at `now_ns`: one that is further ahead does not drag ours along."""
    return f"{now_ns // 1_000_000 + MAX_AHEAD_MS:013d}-9999"


def next_clock(now_ns: int, latest: str) -> str:
    """The clock after `latest`, at `now_ns` if that is later."""
    now = now_ns // 1_000_000
    ms, count = int(latest[:13]), int(latest[14:]) + 1
    if now > ms:
        ms, count = now, 0
    if count == _COUNTS:
        ms, count = ms + 1, 0
    return f"{ms:013d}-{count:04d}"


def clock_ns(text: str) -> int:
    """Nanoseconds since 1970 of the clock `text`."""
    return int(text[:13]) * 1_000_000
