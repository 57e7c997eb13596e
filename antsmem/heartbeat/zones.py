"""The time zone that a person wrote into USER.md."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = re.compile(
    r"^[^\w\n]{0,20}(?:time ?zone|tz|zona horaria|huso horario|fuso hor[aá]rio|zeitzone|时区|時區|タイムゾーン)"
    r"[^\w\n]{1,20}([A-Za-z]{2,32}(?:/[A-Za-z0-9_+-]{1,32}){1,2}|UTC)(?![\w/])",
    re.IGNORECASE | re.MULTILINE,
)


def zone_of_user(text: str) -> str | None:
    """The IANA name behind `Time zone:` in USER.md, in any of six languages; None where there is none."""
    found = _LABEL.search(text[:65536])
    return found[1] if found else None
