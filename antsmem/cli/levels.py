"""What commands know about an agent's reliability: its copies as they are now, and the evidence they leave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antsmem.backup.repository import read_state
from antsmem.backup.snapshot import time_of
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring
from antsmem.core.config import RepositoryConfig
from antsmem.core.disk import read_file
from antsmem.core.errors import AntsmemError
from antsmem.drill.copies import host_of
from antsmem.drill.levels import Assessment, Copy, Facts, assess
from antsmem.workspace.alarms import memory_paths
from antsmem.workspace.evidence import read_evidence, record_evidence

_MOUNTS = Path("/proc/mounts")
_LIMIT = 4 << 20


def assessed(ctx: Context) -> Assessment:
    """The level that the agent holds, by what is there now and what this host saw."""
    copies = tuple(_copy(ctx, config) for config in ctx.agent.repositories)
    facts = Facts(_memory_files(ctx), bool(ctx.log.scid), copies, read_evidence(ctx.agent_state))
    return assess(facts, ctx.now_ns)


def saw(ctx: Context, kind: str, details: Mapping[str, Any]) -> None:
    """Keep evidence of what a command just proved. Where that fails, the command itself has not."""
    try:
        record_evidence(ctx.agent_state, kind, ctx.now_ns, details)
    except AntsmemError as error:
        ctx.output.warn(f"what was proven is not recorded: {error}")


def _memory_files(ctx: Context) -> int:
    """How many files of memory there are that say something."""
    top = os.fsencode(ctx.layout.root)
    paths = memory_paths(ctx.layout.root)
    return sum(os.path.isfile(top + b"/" + path) and os.path.getsize(top + b"/" + path) > 0 for path in paths)


def _copy(ctx: Context, config: RepositoryConfig) -> Copy:
    try:
        mounts = read_file(_MOUNTS, _LIMIT).decode("utf-8", "replace")
    except AntsmemError:
        mounts = ""  # not Linux: a directory is on this host, as far as we can see
    host = host_of(config.url, config.options, mounts, ctx.host)
    interval = ctx.settings.hot.interval_seconds
    try:
        opened = ctx.repository(config, host_keyring(ctx))
        ids, url = read_state(opened, ctx.pin(opened)).ids, opened.store.url
    except AntsmemError as error:
        return Copy(config.name, config.url, host, None, interval, str(error))
    return Copy(config.name, url, host, time_of(ids[-1]) if ids else None, interval)
