"""Read an instant as people write one: `2026-11-20`, `2026-11-20 11:23`, `3h ago`, `yesterday`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from antsmem.core.errors import UsageError

_UNITS: Final = {"m": 60, "min": 60, "h": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800}
_AGO: Final = re.compile(r"(\d{1,6}) ?(min|m|h|days?|d|weeks?|w)( ago)?")


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970 UTC. A date or time without a zone is this machine's local time; a date alone means
    its last moment. `UsageError` for anything else."""
    found = _AGO.fullmatch(text.strip().lower())
    if found:
        return now_ns - int(found[1]) * _UNITS[found[2].rstrip("s")] * 1_000_000_000
    if text.strip().lower() == "yesterday":
        return now_ns - 86400 * 1_000_000_000
    try:
        moment = datetime.fromisoformat(text.strip())
        if len(text.strip()) <= 10:
            moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_000)
        zoned = moment if moment.tzinfo else moment.astimezone()
        return int(zoned.astimezone(UTC).timestamp() * 1000) * 1_000_000
    except (ValueError, OverflowError):
        raise UsageError(f"`{text}` is no time", hint="write 2026-11-20, 2026-11-20T11:23, or `3h ago`") from None
