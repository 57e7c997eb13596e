"""`antsmem secret`: give secrets to programs that ask for them."""

from __future__ import annotations

import typer

from antsmem.cli.commands.resolve import resolve

app = typer.Typer(
    help="Keep and give secrets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keep and give secrets."""


app.command()(resolve)
