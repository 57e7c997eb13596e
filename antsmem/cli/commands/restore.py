"""`antsmem restore`: bring files back, beside the workspace or in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from antsmem.backup.manifest import shown
from antsmem.backup.reader import open_snapshot
from antsmem.backup.replace import differences, restore_in_place
from antsmem.backup.repository import Repository
from antsmem.backup.restore import RestoreResult, clean, plan_restore, restore_to, select
from antsmem.backup.snapshot import COLD
from antsmem.cli.commands.open import choose, open_for_reading, state_of
from antsmem.cli.context import Context
from antsmem.cli.output import size, table
from antsmem.core.errors import UsageError
from antsmem.core.record import record
from antsmem.workspace.classes import Classifier

_KEYSTORE: Final = ".antsmem/keystore"  # not in a backup and nothing to put back: `recover` makes a new one


@record
class PlanReport:
    """What a restore would do."""

    snapshot: str
    files: int
    size_bytes: int
    packs: int
    place: tuple[str, ...]
    put_away: tuple[str, ...]


def restore(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(help="An id or a part of one, `latest`, `hot` or `cold`.")] = "latest",
    at: Annotated[
        str | None, typer.Option(help="The newest hot snapshot as old as this: a time, or `3h ago`.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Restore into this new or empty directory.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Make the workspace equal the snapshot.")] = False,
    path: Annotated[list[str] | None, typer.Option(help="Only this path; may be given several times.")] = None,
    repository: Annotated[str | None, typer.Option(help="Name or URL. Default: the first configured.")] = None,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit, where this host has no keys.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and do nothing.")] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Leave out what is damaged instead of refusing.")
    ] = False,
) -> None:
    """Restore a snapshot, every byte verified before anything is visible."""
    ctx: Context = context.obj
    if not plan and (to is None) != in_place:
        raise UsageError("say where: --to DIR, or --in-place over the workspace (what it replaces is kept)")
    if salvage and in_place:
        raise UsageError("--salvage goes with --to, not with --in-place", hint="take the paths from there")
    if to is not None and to.name in {"", ".."}:
        to = Path(os.path.abspath(to))  # what is staged beside it takes its name
    opened = open_for_reading(ctx, repository, kit)
    tier, chosen = choose(opened, state_of(ctx, opened, kit), snapshot, at, ctx.now_ns)
    paths = [os.fsencode(item) for item in path or ()]
    if tier == COLD:
        result = _cold(ctx, opened, chosen, to, bool(paths or plan or in_place or salvage))
    elif plan:
        _show_plan(ctx, opened, chosen, paths, in_place=in_place, salvage=salvage)
        return
    elif in_place:
        result = _in_place(ctx, opened, chosen, paths)
    else:
        snapshot_open = open_snapshot(opened, chosen, clean(paths), salvage=salvage)
        planned = plan_restore(snapshot_open, select(snapshot_open.entries, paths), salvage=salvage)
        progress = ctx.output.progress("restoring")
        result = restore_to(snapshot_open, to or Path(), planned, salvage=salvage, progress=progress)
        if kit is None and not paths and result.complete:
            from antsmem.cli.levels import saw

            saw(ctx, "restore-proven", {"repository": opened.store.url, "snapshot": chosen, "files": result.files})
    _report(ctx, result, in_place)


def _report(ctx: Context, result: RestoreResult, in_place: bool) -> None:
    """Show a result; exit 3 where not everything is there."""
    for warning in result.warnings:
        ctx.output.warn(warning)
    for damaged in result.damaged:
        ctx.output.warn(f"`{damaged}` is damaged in the repository: not restored")
    ctx.output.result("restore", result, lambda: _replaced(result) if in_place else text(ctx, result))
    if not result.complete:
        raise typer.Exit(3)


def _replaced(result: RestoreResult) -> str:
    """The result of a restore in place for people."""
    done = f"{result.target}: {result.changed} paths are again as in {result.snapshot}, verified"
    return f"{done}\nwhat was there before is kept in {result.replaced}" if result.replaced else done


def text(ctx: Context, result: RestoreResult) -> str:
    """The result for people."""
    lines = [
        f"restored {result.snapshot} to {result.target}: {result.files} files, {size(result.size_bytes)}, verified"
    ]
    secrets = [path for path, why in result.left_out if why == "secret" and path != _KEYSTORE]
    if secrets:
        listed = ", ".join(secrets[:5]) + (" …" if len(secrets) > 5 else "")
        lines.append(f"not in any backup, put them back from where you keep secrets: {listed}")
    if ctx.options.verbose:
        lines.append(table([(path, why) for path, why in result.left_out]))
    elif others := sum(why != "secret" for _, why in result.left_out):
        lines.append(f"{others} other paths were never in it (-v lists them)")
    return "\n".join(lines)


def _cold(ctx: Context, repository: Repository, chosen: str, to: Path | None, partly: bool) -> RestoreResult:
    from antsmem.backup.thaw import restore_cold

    if partly or to is None:
        raise UsageError("a cold archive is restored whole, with --to DIR", hint="take the paths from there")
    return restore_cold(repository, chosen, to, ctx.output.progress("restoring"))


def _in_place(ctx: Context, repository: Repository, chosen: str, paths: list[bytes]) -> RestoreResult:
    with ctx.working():
        opened = open_snapshot(repository, chosen)
        classifier = Classifier(ctx.settings.classes)
        difference = differences(opened, os.fsencode(ctx.layout.root), paths, classifier)
        return restore_in_place(opened, ctx.layout.root, difference, ctx.now_ns, ctx.output.progress("restoring"))


def _show_plan(
    ctx: Context, repository: Repository, chosen: str, paths: list[bytes], *, in_place: bool, salvage: bool
) -> None:
    opened = open_snapshot(repository, chosen, () if in_place else clean(paths), salvage=salvage)
    entries = select(opened.entries, paths)
    place: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    if in_place:
        found = differences(opened, os.fsencode(ctx.layout.root), paths, Classifier(ctx.settings.classes))
        entries = [entry for entry in found.place if entry.is_file]
        place = tuple(shown(entry.path) for entry in found.place)
        away = tuple(map(shown, found.away))
    plan = plan_restore(opened, entries, salvage=salvage)
    for path in sorted(map(shown, plan.damaged)):
        ctx.output.warn(f"`{path}` is damaged in the repository: it would be left out")
    packed = PlanReport(chosen, plan.files, plan.size_bytes, len(plan.packs), place, away)

    def said() -> str:
        lines = [
            f"{chosen}: {plan.files} files, {size(plan.size_bytes)}, from {len(plan.packs)} packs; nothing done"
        ]
        lines += [f"restore   {item}" for item in place]
        lines += [f"put away  {item}" for item in away]
        return "\n".join(lines)

    ctx.output.result("restore-plan", packed, said)
