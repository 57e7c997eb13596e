"""`antsmem backup`, with options."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.backup.snapshot import HOT
from antsmem.cli.hourly import back_up


def backup(
    context: typer.Context,
    tier: Annotated[
        str, typer.Option(help="Which kind: hot (incremental, hourly) or cold (one self-contained file, weekly).")
    ] = HOT,
    repository: Annotated[
        list[str] | None, typer.Option(help="Name or URL; may be given several times. Default: all configured.")
    ] = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, trust no recorded time.")] = False,
) -> None:
    """Back up the workspace, encrypted and signed, into its repositories."""
    if code := back_up(context.obj, tier, repository or (), rehash=rehash):
        raise typer.Exit(code)
