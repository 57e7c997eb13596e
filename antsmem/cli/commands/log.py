"""`antsmem log`: one line or more into today's daily log."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.core.errors import UsageError
from antsmem.workspace.dailylog import append_entry
from antsmem.workspace.settings import name_from


def log(
    context: typer.Context,
    text: Annotated[list[str] | None, typer.Argument(help="The text; without it, standard input.")] = None,
) -> None:
    """Append an entry to the agent's daily log, safely beside other writers."""
    ctx: Context = context.obj
    layout = ctx.layout  # before anybody is asked for a text
    said = " ".join(text) if text else "" if sys.stdin.isatty() else sys.stdin.read()
    if not said.strip():
        raise UsageError("nothing to log", hint='antsmem log "what happened", or pipe it in')
    ctx.ready_to_write()
    result = append_entry(layout, said, ctx.now_ns, ctx.settings.time_zone, name_from(ctx.host))
    if result.healed:
        ctx.output.warn(f"`{result.path}` ended in a torn line: closed")
    ctx.output.result("log", result, "" if ctx.options.quiet else f"{result.path}")
