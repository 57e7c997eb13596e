"""`antsmem wake`: all that an agent needs to know when it wakes, as one text."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.heartbeat.context import BUDGET_TOKENS, LEAST_TOKENS, MOST_TOKENS


def wake(
    context: typer.Context,
    tokens: Annotated[
        int, typer.Option(help="How long it may be, in tokens.", min=LEAST_TOKENS, max=MOST_TOKENS)
    ] = BUDGET_TOKENS,
) -> None:
    """Print what the agent needs to know now: rules, due tasks, what was done, who it is, what it remembers."""
    from antsmem.cli.turns import context_here, show_context

    ctx: Context = context.obj
    ctx.finish_restore()
    show_context(ctx, "wake", context_here(ctx, tokens))
