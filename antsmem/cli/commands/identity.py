"""`antsmem identity`: who the agent is."""

from __future__ import annotations

import typer

from antsmem.cli.commands.rotate import rotate

app = typer.Typer(
    help="Who the agent is: rotate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(rotate)


@app.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""
