"""Tell a monitor that wakes happen, so that somebody hears it when they stop.

As healthchecks.io and what speaks like it want it: `URL/start` when work begins, `URL/<exit code>` when the wake
ends, both with the same `rid`. A wake that had nothing to do tells only now and then, because that costs more than
such a wake. Nothing that goes wrong here is an error of the wake: it is written down for whoever looks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, ConfigError
from antsmem.core.record import field, record

SECONDS: Final = 4.0
"""How long the monitor may take to answer."""

_NS: Final = 1_000_000_000


@record
class Pinger:
    """Whom to tell, by which means. `url` gives the address when it is needed, `get` asks for one within `SECONDS`
    and follows nothing; both raise what they like of `AntsmemError`. `memory` is a file in which it is kept when
    the monitor was last told, and of what; `idle_seconds` how often a wake tells that had nothing to do."""

    url: Callable[[], str] = field(repr=False)
    get: Callable[[str], None] = field(repr=False)
    memory: Path
    idle_seconds: int


def new_run() -> str:
    """A random run id (UUID, version 4: RFC 9562)."""
    data = bytearray(os.urandom(16))
    data[6], data[8] = data[6] & 0x0F | 0x40, data[8] & 0x3F | 0x80
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def ping_started(pinger: Pinger, run: str) -> bool:
    """Say that work begins, before the first action of the wake `run`; whether the monitor heard it."""
    return _told(pinger, "start", run)


def ping_ended(pinger: Pinger, run: str, exit_code: int, now_ns: int, *, worked: bool) -> bool:
    """Say how the wake `run` ended; whether the monitor heard it. Where it did not `work` (start anything), it is
    said only if the exit code is another one than last time, or the last time is `idle_seconds` ago."""
    if not worked and not _is_due(pinger, exit_code, now_ns):
        return False
    heard = _told(pinger, str(exit_code), run)
    if heard:
        with suppress(AntsmemError):
            make_private_dir(pinger.memory.parent)
            write_file(pinger.memory, [f"{now_ns} {exit_code}".encode()], durable=False)
    return heard


def unheard(memory: Path) -> str:
    """What went wrong when the monitor was last told, as an error's slug; empty where nothing did."""
    try:
        return read_file(_unheard_file(memory), 64).decode("ascii", "replace")
    except AntsmemError:
        return ""


def ping_address(url: str, last: str, run: str) -> str:
    """`url` with `/last` behind its path and `rid=run` in its query. `ConfigError` if it is no address for this:
    `http` or `https`, a host, and no user in it. The message does not show it: who knows it can silence it."""
    try:
        parts = urlsplit(url.strip())
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        fit = fit and url.isascii() and url.strip().isprintable() and " " not in url.strip()
        _ = parts.port
    except ValueError:
        fit = False
    if not fit:
        raise ConfigError("`heartbeat.ping_url` is no http address", hint="write https://HOST/PATH")
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("rid", run)])
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{last}", query, ""))


def _told(pinger: Pinger, last: str, run: str) -> bool:
    try:
        pinger.get(ping_address(pinger.url(), last, run))
    except AntsmemError as error:
        with suppress(AntsmemError):
            make_private_dir(pinger.memory.parent)
            write_file(_unheard_file(pinger.memory), [error.slug.encode()], durable=False)  # not its words
        return False
    with suppress(OSError):
        _unheard_file(pinger.memory).unlink(missing_ok=True)
    return True


def _unheard_file(memory: Path) -> Path:
    return memory.with_name(f"{memory.name}.unheard")


def _is_due(pinger: Pinger, exit_code: int, now_ns: int) -> bool:
    try:
        told, _, code = read_file(pinger.memory, 64).decode().partition(" ")
        since = now_ns - int(told)
    except (AntsmemError, ValueError):
        return True
    return code != str(exit_code) or not 0 <= since < pinger.idle_seconds * _NS
