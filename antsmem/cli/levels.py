"""What commands know about an agent's reliability: its copies as they are now, and the evidence they leave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antsmem.backup.repository import Keyring, read_state
from antsmem.backup.snapshot import time_of
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring
from antsmem.core.config import RepositoryConfig
from antsmem.core.disk import read_file
from antsmem.core.errors import AntsmemError
from antsmem.core.record import replace
from antsmem.drill.copies import host_of, is_here
from antsmem.drill.levels import Copy, Facts
from antsmem.workspace.alarms import memory_paths
from antsmem.workspace.evidence import read_evidence, record_evidence

_MOUNTS = Path("/proc/mounts")
_LIMIT = 4 << 20


def facts_of(ctx: Context) -> Facts:
    """What decides the level of the agent: what is there now, and what this host saw."""
    keys, fault, helps = None, "", ""
    try:
        keys = host_keyring(ctx)
    except AntsmemError as error:
        fault, helps = str(error), error.hint
    copies = tuple(_copy(ctx, config, keys) for config in ctx.agent.repositories)
    return Facts(_memory_files(ctx), copies, read_evidence(ctx.agent_state), fault, helps)


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


def _copy(ctx: Context, config: RepositoryConfig, keys: Keyring | None) -> Copy:
    """A repository as this host's `keys` show it; without them nobody looks into it."""
    try:
        mounts = read_file(_MOUNTS, _LIMIT).decode("utf-8", "replace")
    except AntsmemError:
        mounts = ""  # not Linux: a directory is on this host, as far as we can see
    copy = Copy(
        config.name,
        config.url,
        host_of(config.url, config.options, mounts, lambda name: name == ctx.host.lower() or is_here(name)),
        None,
        ctx.settings.hot.interval_seconds,
    )
    if keys is None:
        return copy
    try:
        opened = ctx.repository(config, keys)
        ids = read_state(opened, ctx.pin(opened)).ids
    except AntsmemError as error:
        return replace(copy, problem=str(error), helps=error.hint)
    return replace(copy, url=opened.store.url, newest_ns=time_of(ids[-1]) if ids else None)
