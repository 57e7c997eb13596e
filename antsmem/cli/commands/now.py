"""`antsmem now`: what the agent is at."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.core.errors import legible
from antsmem.workspace.now import LABELS, read_now, write_now


def now(
    context: typer.Context,
    objective: Annotated[str | None, typer.Option(help="What it is all for.")] = None,
    next_action: Annotated[str | None, typer.Option("--next", help="What comes next.")] = None,
    blocked: Annotated[str | None, typer.Option(help="What it waits for.")] = None,
    forbidden: Annotated[str | None, typer.Option(help="What must not be done.")] = None,
) -> None:
    """Show what the agent is at, or set it: an empty text clears a line, everything else in NOW.md stays."""
    ctx: Context = context.obj
    given = {"objective": objective, "next_action": next_action, "blocked": blocked, "forbidden": forbidden}
    changes = {key: text for key, text in given.items() if text is not None}
    if changes:
        ctx.ready_to_write()
    found = write_now(ctx.layout, changes) if changes else read_now(ctx.layout)
    lines = [f"{label}: {legible(getattr(found, key))}".rstrip() for key, label in LABELS.items()]
    ctx.output.result("now", found, "\n".join(lines) if found.found else "no NOW.md: antsmem now --objective TEXT")
