"""The workspace's HEARTBEAT.md as a plan, without any key: where every command of the heartbeat starts."""

from __future__ import annotations

import os

from antsmem.cli.context import Context
from antsmem.core.disk import read_file
from antsmem.core.errors import ConfigError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.heartbeat.document import MAX_BYTES
from antsmem.heartbeat.plan import Plan, Zone
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.zones import zone_of_user

NAME = "HEARTBEAT.md"


@record
class HeartbeatFile:
    """The file and what it means; `data` is None where there is no file, which is a plan without tasks."""

    data: bytes | None
    plan: Plan


def read_heartbeat(ctx: Context) -> HeartbeatFile:
    """Read the file. Larger than 128 KiB, or no regular file, is a `UsageError`."""
    try:
        data = read_file(ctx.layout.root / NAME, MAX_BYTES)
    except NotFoundError:
        data = None
    return HeartbeatFile(data, read_plan(data or b"", zone(ctx)))


def zone(ctx: Context) -> Zone:
    """The local time of the agent: USER.md, else agent.yaml, else this host. Where nobody says, whatever needs it
    is an error: UTC would be a guess. What is not asked is not read."""
    for origin, asked in (("USER.md", _user), ("agent.yaml", _agent), ("host", host_zone)):
        if name := asked(ctx):
            return Zone(name, origin)
    return Zone("", "nobody")


def _user(ctx: Context) -> str | None:
    try:
        return zone_of_user(read_file(ctx.layout.root / "USER.md", MAX_BYTES).decode(errors="replace"))
    except (NotFoundError, UsageError):
        return None


def _agent(ctx: Context) -> str | None:
    """What `agent.yaml` says, if it does: the default there is no more than a default."""
    try:
        name = ctx.settings.time_zone
        return name if name != "UTC" or b"\ntime_zone:" in read_file(ctx.layout.settings, MAX_BYTES) else None
    except ConfigError as error:
        ctx.output.warn(str(error))
        return None


def host_zone(ctx: Context) -> str | None:
    """This machine's time zone by name, if it has one."""
    if (named := ctx.environment.get("TZ", "").removeprefix(":")) and "/" in named and not named.startswith("/"):
        return named
    try:
        return os.readlink("/etc/localtime").partition("zoneinfo/")[2] or None
    except OSError:
        return "UTC" if ctx.environment.get("TZ") in {"UTC", "UTC0"} else None
