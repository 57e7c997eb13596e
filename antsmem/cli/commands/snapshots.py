"""`antsmem snapshots`: what there is to go back to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.repository import Repository, read_head, read_signature
from antsmem.backup.snapshot import COLD, HOT, time_of
from antsmem.cli.commands.open import open_for_reading, state_of
from antsmem.cli.context import Context
from antsmem.cli.output import ago, size, table
from antsmem.core.clock import utc_text
from antsmem.core.errors import CannotUnlockError
from antsmem.core.record import record


@record
class Row:
    """One snapshot. What only the right key shows is None without it."""

    id: str
    tier: str
    time: str
    host: str | None
    files: int | None
    size_bytes: int | None
    warnings: int | None


@record
class Listing:
    """The snapshots shown, oldest first, and how many older ones were not."""

    repository: str
    snapshots: tuple[Row, ...]
    not_shown: int


def snapshots(
    context: typer.Context,
    repository: Annotated[str | None, typer.Option(help="Name or URL. Default: the first configured.")] = None,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit, where this host has no keys.")] = None,
    last: Annotated[int, typer.Option(help="Show so many of each tier; 0 shows all.", min=0)] = 50,
) -> None:
    """List the snapshots of a repository."""
    ctx: Context = context.obj
    opened = open_for_reading(ctx, repository, kit)
    state = state_of(ctx, opened, kit)
    tiers = {HOT: state.ids, COLD: state.anchor.cold}
    shown = {tier: ids[-last:] if last else ids for tier, ids in tiers.items()}
    rows = sorted((_row(opened, tier, i) for tier, ids in shown.items() for i in ids), key=lambda row: row.id)
    hidden = sum(len(tiers[tier]) - len(ids) for tier, ids in shown.items())
    ctx.output.result(
        "snapshots", Listing(opened.store.url, tuple(rows), hidden), lambda: _text(ctx, rows, hidden)
    )


def _row(repository: Repository, tier: str, snapshot_id: str) -> Row:
    time = utc_text(time_of(snapshot_id))
    if tier == HOT:
        try:
            head = read_head(repository, snapshot_id)
            return Row(snapshot_id, tier, time, head.host, head.files, head.size_bytes, head.warnings)
        except CannotUnlockError:
            return Row(snapshot_id, tier, time, None, None, None, None)
    statement = read_signature(repository, snapshot_id, COLD)
    size_bytes = statement.get("size_bytes")
    return Row(snapshot_id, tier, time, None, None, size_bytes if isinstance(size_bytes, int) else None, None)


def _text(ctx: Context, rows: list[Row], hidden: int) -> str:
    lines = [
        (
            row.id,
            row.tier,
            f"{ago((ctx.now_ns - time_of(row.id)) / 1e9)} ago",
            row.host or "",
            "" if row.files is None else f"{row.files} files",
            "" if row.size_bytes is None else size(row.size_bytes),
            f"{row.warnings} warnings" if row.warnings else "",
        )
        for row in rows
    ]
    more = f"\n{hidden} older ones: --last 0" if hidden else ""
    return (table(lines) if lines else "no snapshots yet") + more
