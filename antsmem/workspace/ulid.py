"""Make ULIDs: 26 letters and digits that sort by time, to the millisecond (https://github.com/ulid/spec)."""

from __future__ import annotations

import os
from typing import Final

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid(now_ns: int) -> str:
    """A new identifier: 48 bits of milliseconds since 1970, 80 random bits, in Crockford's base 32."""
    number = (now_ns // 1_000_000 % (1 << 48)) << 80 | int.from_bytes(os.urandom(10))
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))
