"""The monitor that the operator configured, if any, and how it is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from antsmem.core.clock import now_ns
from antsmem.core.config import resolve
from antsmem.core.errors import AntsmemError, BackendError, BusyError

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.heartbeat.epoch import Post
    from antsmem.heartbeat.ping import Pinger


class WakePings:
    """What one wake tells the monitor."""

    def __init__(self, context: Context, here: Post) -> None:
        self._context, self._here = context, here
        self._run = ""

    def working(self) -> None:
        """Something is going to be done."""
        found = self._pinger()
        if found is not None and not self._run:
            from antsmem.heartbeat.ping import new_run, ping_started

            self._run = new_run()
            ping_started(found, self._run)

    def ended(self, code: int) -> None:
        """The wake ends with `code`. One that found another at work has nothing to tell."""
        found = self._pinger()
        if found is not None and code != BusyError.exit_code:
            from antsmem.heartbeat.ping import new_run, ping_ended

            ping_ended(found, self._run or new_run(), code, now_ns(), worked=bool(self._run))

    def _pinger(self) -> Pinger | None:
        return pinger(self._context, self._here)


def unheard(context: Context, here: Post) -> tuple[str, str]:
    """Why the monitor did not hear the last wake, and what helps, without a word of its address; nothing where it
    did, or none is configured."""
    found = pinger(context, here)
    if found is None:
        return "", ""
    from antsmem.heartbeat.ping import unheard

    why = unheard(found.memory)
    if why == BackendError.slug:
        return (
            "the monitor at `heartbeat.ping_url` did not hear the last wake",
            "is it reachable from this machine?",
        )
    hint = "antsmem config show names what it refers to: it must be there where cron starts wakes, too"
    return ("`heartbeat.ping_url` gave the last wake no http address", hint) if why else ("", "")


def is_address(context: Context, here: Post) -> bool:
    """Whether what is configured gives an address now."""
    found = pinger(context, here)
    if found is None:
        return False
    from antsmem.heartbeat.ping import new_run, ping_address

    try:
        return bool(ping_address(found.url(), "0", new_run()))
    except AntsmemError:
        return False


def pinger(context: Context, here: Post) -> Pinger | None:
    """Whom to tell that wakes happen; None where nobody is configured, and nothing is loaded then."""
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

    # Not beside the wake's own file: what changes there makes the next wake look.
    return Pinger(url, get, context.state_dir / "pings" / here.agent, config.ping_seconds)


def get(url: str) -> None:
    """Ask for `url`, within a few seconds, also where names are slow to be found. `BackendError` for all but a
    yes, without a word of the address."""
    from antsmem.drivers.relay_http import Bounds, exchange
    from antsmem.heartbeat.ping import SECONDS

    said: list[int] = []

    def ask() -> None:
        try:
            said.append(exchange("GET", url, Bounds(0, SECONDS)).status)
        except (AntsmemError, ValueError, OSError):
            return

    import threading

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS + 1)
    if not said or not 200 <= said[0] < 300:
        raise BackendError("the monitor at `heartbeat.ping_url` was not reached")
