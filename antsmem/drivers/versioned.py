"""A row as one value of a cache: its version in twenty digits, then its bytes.

So one command reads both together, and a cache compares two versions as text.
"""

from __future__ import annotations

import re
from typing import Final

from antsmem.core.errors import UsageError
from antsmem.memory.roles import Row

DIGITS: Final = 20
_match_version = re.compile(rb"[0-9]{20}").match


def packed(row: Row) -> bytes:
    """The value for `row`. `UsageError` for a version that does not fit."""
    if not 0 <= row.version < 10**DIGITS:
        raise UsageError(f"`{row.version}` is no version of a row")
    return b"%020d" % row.version + row.value


def unpacked(value: bytes | None) -> Row | None:
    """The row in `value`; None for what is none: a cache may hold anything."""
    if value is None or not _match_version(value):
        return None
    return Row(int(value[:DIGITS]), bytes(value[DIGITS:]))
