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


def parse_file_stamp(text: str) -> int:
    """The instant that `file_stamp` wrote, nanoseconds since 1970 UTC; `ValueError` for anything else.

    By arithmetic (days from civil, Howard Hinnant, "chrono-compatible low-level date algorithms"): importing
    `calendar` or `strptime` costs more than a whole listing.
    """
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    hour, minute, second, milli = int(text[9:11]), int(text[11:13]), int(text[13:15]), int(text[16:19])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        raise ValueError(text)
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    return ((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli) * 1_000_000


def parse_utc(text: str) -> int:
    """The instant that `utc_text` wrote, nanoseconds since 1970 UTC; `ValueError` for anything else."""
    return parse_file_stamp(text.replace("-", "").replace(":", ""))
