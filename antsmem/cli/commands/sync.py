"""`antsmem sync`: one agent on many machines."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.memories import backends, job, memory
from antsmem.cli.output import table
from antsmem.cli.synced import sync_now
from antsmem.core.errors import ConflictError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.memory.digest import state_digest
from antsmem.memory.exchange import NOWHERE, remote_heads
from antsmem.memory.intake import catch_up
from antsmem.memory.resolving import Version
from antsmem.memory.resolving import conflicts as find_conflicts
from antsmem.memory.resolving import resolve as resolve_conflict

app = group("Bring this workspace and the agent's others together, both ways. Or one of the commands below.")
app.info.invoke_without_command = True
app.info.no_args_is_help = False


@record
class DeviceRow:
    """A device: its newest event here and in the backend (None: nobody was asked)."""

    device: str
    here: int
    backend: int | None
    this: bool


@app.callback()
def sync(context: typer.Context) -> None:
    """Bring this workspace and the agent's others together, both ways. Or one of the commands below."""
    if context.invoked_subcommand is None:
        raise typer.Exit(sync_now(context.obj))


@app.command()
def push(context: typer.Context) -> None:
    """Record what changed here and give it to the backends; take nothing."""
    raise typer.Exit(sync_now(context.obj, take=False))


@app.command()
def pull(context: typer.Context) -> None:
    """Take what other devices wrote and merge it; what changed here is recorded, but not given yet."""
    raise typer.Exit(sync_now(context.obj, give=False))


@app.command()
def status(context: typer.Context) -> None:
    """Show the devices, what waits, conflicts, and the digest that is equal where all files are."""
    ctx: Context = context.obj
    with backends(ctx) as between, memory(ctx) as opened:
        catch_up(opened)
        heads = opened.index.heads()
        remote = remote_heads(opened, between.durable) if between is not None else None
        known = read_known(ctx)
        names = sorted({*heads, *(remote or {})})
        rows = []
        for name in names:
            here = heads[name].sequence if name in heads else 0
            there = remote.get(name, NOWHERE).sequence if remote is not None else None
            rows.append(DeviceRow(name, here, there, name == known))
        found = find_conflicts(opened)
        digest = state_digest(opened.index)
        held = len(opened.index.held())
    waiting = sum(max(0, row.here - (row.backend or 0)) for row in rows)
    lacking = sum(max(0, (row.backend or 0) - row.here) for row in rows)
    report = {
        "devices": rows,
        "to_push": waiting,
        "to_pull": lacking,
        "held": held,
        "conflicts": len(found),
        "digest": digest,
    }

    def said() -> str:
        lines = [
            (
                ("this " if row.this else "") + row.device,
                str(row.here),
                "-" if row.backend is None else str(row.backend),
            )
            for row in rows
        ]
        return (
            f"{table(lines, ('device', 'here', 'backend'))}\n"
            f"to push: {waiting}, to pull: {lacking}, held: {held}, conflicts: {len(found)}\ndigest: {digest}"
        )

    ctx.output.result("sync-status", report, said)


def read_known(ctx: Context) -> str:
    """The name of this device; empty before its first sync."""
    from antsmem.memory.author import read_device

    device = read_device(job(ctx).state)
    return device.name if device else ""


@app.command("conflicts")
def conflicts_(context: typer.Context) -> None:
    """List the files that two devices changed, with their versions."""
    ctx: Context = context.obj
    with memory(ctx) as opened:
        catch_up(opened)
        found = find_conflicts(opened)

    def line(version: Version) -> tuple[str, ...]:
        return ("", version.id, version.device, version.time, version.place)

    rows = [row for path, versions in found.items() for row in [(path, "", "", "", ""), *map(line, versions)]]
    ctx.output.result("sync-conflicts", {"conflicts": found}, table(rows) or "no conflicts")


@app.command()
def resolve(
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="A file that `sync conflicts` lists.")],
    take: Annotated[str, typer.Option(help="The id of the version that counts. Default: the file as it is.")] = "",
) -> None:
    """Decide a conflict: the file as it stands now, or one version, is what all came to."""
    ctx: Context = context.obj
    with memory(ctx) as opened:
        catch_up(opened)
        found = find_conflicts(opened)
        if path not in found:
            raise NotFoundError(f"`{path}` has no conflict", hint="antsmem sync conflicts")
        if take and take not in {version.id for version in found[path]}:
            raise UsageError(f"`{path}` has no version `{take[:40]}`", hint="antsmem sync conflicts")
        if not resolve_conflict(opened, job(ctx), path, take):
            raise ConflictError(f"`{path}` was changed since the last sync", hint="antsmem sync")
    ctx.output.result(
        "sync-resolve", {"path": path, "taken": take}, f"{path}: resolved; `antsmem sync` tells others"
    )
