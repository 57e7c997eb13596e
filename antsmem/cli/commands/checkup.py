"""`antsmem heartbeat doctor`: would a wake work that nobody watches?"""

from __future__ import annotations

import typer

from antsmem.cli.context import Context
from antsmem.cli.output import table
from antsmem.core.errors import legible


def doctor(context: typer.Context) -> None:
    """Look at the agent's program, the configuration, the clock, the locks, and what cron would find."""
    from antsmem.cli.checkup import checkup

    ctx: Context = context.obj
    rows = tuple(checkup(ctx))
    shown = [(row.state, row.name, legible(row.what)) for row in rows]
    hints = [f"  → {legible(row.hint)}" for row in rows if row.hint and row.state != "ok"]
    ctx.output.result("heartbeat-doctor", {"rows": rows}, lambda: "\n".join([table(shown), *hints]))
    if any(row.state == "fail" for row in rows):
        raise typer.Exit(3)
