"""How a command that has commands below it is declared."""

from __future__ import annotations

import typer


def group(summary: str) -> typer.Typer:
    """A group of commands with the help text `summary`."""
    return typer.Typer(
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
