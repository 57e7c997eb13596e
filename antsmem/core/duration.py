"""Times as people write them: a whole number and a unit, `90s`, `15m`, `2h`, `7d`."""

from __future__ import annotations

import re
from typing import Final

from antsmem.core.errors import UsageError

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_match = re.compile(r"([0-9]{1,8})([smhd])").fullmatch


def seconds_of(text: str) -> int | None:
    """The seconds that `text` means; None if it is no duration."""
    found = _match(text)
    return int(found[1]) * UNITS[found[2]] if found else None


def typed_seconds(text: str) -> int:
    """The same for what a person types, where a number alone is seconds; `UsageError` for anything else."""
    seconds = seconds_of(text if text[-1:] in UNITS else f"{text}s")
    if seconds is None:
        raise UsageError(f"`{text}` is no duration", hint="write 90s, 15m or 2h")
    return seconds
