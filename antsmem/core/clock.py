"""The one place that tells time."""

from __future__ import annotations

import time


def now_ns() -> int:
    """Wall clock, nanoseconds since 1970 UTC."""
    return time.time_ns()


def utc_text(instant_ns: int) -> str:
    """`2026-11-20T11:23:31.123Z`, to the millisecond: how antsmem writes an instant for people and files."""
    seconds, rest = divmod(instant_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"


def file_stamp(instant_ns: int) -> str:
    """`20261120T112331.123Z`: an instant as a part of a file name; sorts by time."""
    seconds, rest = divmod(instant_ns, 1_000_000_000)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"
