"""Where the agent's clock stands: USER.md, else agent.yaml, else this host; HEARTBEAT.md may say otherwise."""

from __future__ import annotations

import re
from typing import Final

from antsmem.heartbeat.plan import Zone

_LABEL: Final = re.compile(
    r"^[^\w\n]{0,20}(?:time ?zone|tz|zona horaria|huso horario|fuso hor[aá]rio|zeitzone|时区|時區|タイムゾーン)"
    r"[^\w\n]{1,20}([A-Za-z]{2,32}(?:/[A-Za-z0-9_+-]{1,32}){1,2}|UTC)(?![\w/])",
    re.IGNORECASE | re.MULTILINE,
)


def zone_of_user(text: str) -> str | None:
    """The IANA name behind `Time zone:` in USER.md, in any of six languages; None where there is none."""
    found = _LABEL.search(text[:65536])
    return found[1] if found else None


def local_zone(user: str | None, agent: str | None, host: str | None) -> Zone | None:
    """The first zone that somebody named; None where nobody did, which is not the same as UTC."""
    for name, origin in ((user, "USER.md"), (agent, "agent.yaml"), (host, "host")):
        if name:
            return Zone(name, origin)
    return None
