"""`antsmem compact`: save what is in the agent's mind before its context is lost, and give it a fresh one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.core.errors import UsageError
from antsmem.heartbeat.context import BUDGET_TOKENS, LEAST_TOKENS, MOST_TOKENS
from antsmem.workspace.dailylog import MAX_LENGTH, append_entry
from antsmem.workspace.settings import name_from


def compact(
    context: typer.Context,
    tokens: Annotated[
        int, typer.Option(help="How long the new context may be, in tokens.", min=LEAST_TOKENS, max=MOST_TOKENS)
    ] = BUDGET_TOKENS,
) -> None:
    """Append the summary on standard input to the daily log, then print what to go on with."""
    from antsmem.cli.turns import context_here, show_context

    ctx: Context = context.obj
    layout = ctx.layout  # before anybody is asked for a text
    said = "" if sys.stdin.isatty() else sys.stdin.read(MAX_LENGTH + 1)
    if not said.strip():
        raise UsageError("no summary on standard input: nothing saved", hint="antsmem compact < summary.md")
    ctx.ready_to_write()
    saved = append_entry(layout, f"Summary:\n\n{said}", ctx.now_ns, ctx.settings.time_zone, name_from(ctx.host))
    ctx.output.note(f"saved in `{saved.path}`")
    show_context(ctx, "compact", context_here(ctx, tokens))
