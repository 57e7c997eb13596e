"""The monitor that the operator configured, if any, and how it is reached."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from antsmem.core.config import resolve
from antsmem.core.errors import AntsmemError, BackendError

if TYPE_CHECKING:
    from pathlib import Path

    from antsmem.cli.context import Context
    from antsmem.heartbeat.ping import Pinger


def pinger(context: Context, memory: Path) -> Pinger | None:
    """Whom to tell that wakes happen; None where nobody is configured, and nothing is loaded then. `memory` is the
    file that remembers the last time."""
    config = context.operator.heartbeat
    if not config.ping_url:
        return None
    from antsmem.heartbeat.ping import Pinger

    def url() -> str:
        if config.ping_url.startswith("secret://"):
            found = context.secrets.value(config.ping_url).decode(errors="replace")
        else:
            found = resolve(config.ping_url, context.environment)
        context.output.hide(lambda: [("ping_url", found.encode(errors="replace"))])
        return found

    return Pinger(url, get, memory, config.ping_seconds)


def get(url: str) -> None:
    """Ask for `url`, within a few seconds, also where names are slow to be found. `BackendError` for all but a
    yes, without a word of the address."""
    from antsmem.drivers.relay_http import Bounds, exchange
    from antsmem.heartbeat.ping import SECONDS

    said: list[int] = []

    def ask() -> None:
        try:
            said.append(exchange("GET", url, Bounds(64 << 10, SECONDS)).status)
        except (AntsmemError, ValueError, OSError):
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS + 1)
    if not said or not 200 <= said[0] < 300:
        raise BackendError("the monitor at `heartbeat.ping_url` was not reached")
