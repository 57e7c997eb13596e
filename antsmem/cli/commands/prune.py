"""`antsmem prune` and `antsmem forget`: keep what the tiers keep, free the rest."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.backup.prune import GRACE_SECONDS, PruneJob, PruneResult
from antsmem.backup.prune import prune as drop
from antsmem.backup.replace import REPLACED
from antsmem.backup.repository import Repository, State, read_state
from antsmem.backup.restore import remove_tree
from antsmem.cli.commands.open import one_of
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring
from antsmem.cli.output import size
from antsmem.core.errors import AntsmemError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.workspace.settings import Tier

_Repository = Annotated[
    list[str] | None, typer.Option(help="Name or URL; may be given several times. Default: all configured.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and do nothing.")]
_Grace = Annotated[
    int, typer.Option(help="Hours that freed packs wait, for readers that are still at them.", min=0)
]


@record
class PruneReport:
    """What was done in each repository; `replaced` are directories of replaced files that were removed; `failed`
    maps a repository to why nothing was done there."""

    repositories: tuple[PruneResult, ...]
    replaced: tuple[str, ...]
    failed: dict[str, str]


def prune(
    context: typer.Context,
    repository: _Repository = None,
    dry_run: _DryRun = False,
    grace_hours: _Grace = GRACE_SECONDS // 3600,
) -> None:
    """Forget snapshots that no tier keeps and free their space."""
    _run(context.obj, repository or [], (), dry_run, grace_hours)


def forget(
    context: typer.Context,
    snapshot: Annotated[list[str], typer.Argument(help="Ids of the snapshots to forget.")],
    repository: _Repository = None,
    dry_run: _DryRun = False,
    grace_hours: _Grace = GRACE_SECONDS // 3600,
) -> None:
    """Forget these snapshots, whatever the tiers say; the newest of a tier stays."""
    if not snapshot:
        raise UsageError("which snapshots?", hint="see `antsmem snapshots`")
    _run(context.obj, repository or [], tuple(snapshot), dry_run, grace_hours)


def _run(ctx: Context, wanted: list[str], forget: tuple[str, ...], dry_run: bool, grace_hours: int) -> None:
    results = []
    removed = []
    failed: dict[str, AntsmemError] = {}
    with ctx.working():
        keys = host_keyring(ctx, "hot", "cold")
        configs = ctx.named(wanted)
        there: dict[str, tuple[Repository, State]] = {}
        for config in configs:
            with one_of(ctx, configs, config, failed):
                opened = ctx.repository(config, keys)
                there[config.name] = opened, read_state(opened, ctx.pin(opened))
        ids = {i for _, state in there.values() for i in (*state.ids, *state.anchor.cold)}
        if not failed and (unknown := sorted(set(forget) - ids)):
            raise NotFoundError(f"no snapshot `{unknown[0]}`", hint="see `antsmem snapshots`")
        for config in configs:
            if config.name not in there:
                continue
            opened, state = there[config.name]
            named = tuple(i for i in forget if i in state.ids or i in state.anchor.cold)
            if forget and not named:
                continue  # each repository has snapshots of its own
            with one_of(ctx, configs, config, failed):
                results.append(drop(opened, state, _job(ctx, named, dry_run, grace_hours)))
        kept = ctx.layout.root / REPLACED
        ours = kept.is_dir() and not kept.is_symlink()  # a workspace may come from anywhere: nothing outside goes
        for old in sorted(kept.iterdir()) if ours and not dry_run and not forget else ():
            remove_tree(old)
            removed.append(str(old))
    report = PruneReport(tuple(results), tuple(removed), {name: str(error) for name, error in failed.items()})
    ctx.output.result("prune", report, "\n".join(map(_text, results)))
    if failed:
        raise typer.Exit(3 if results else next(iter(failed.values())).exit_code)


def _job(ctx: Context, forget: tuple[str, ...], dry_run: bool, grace_hours: int) -> PruneJob:
    return PruneJob(
        policy={"hot": _counts(ctx.settings.hot), "cold": _counts(ctx.settings.cold)},
        now_ns=ctx.now_ns,
        forget=forget,
        plan_only=dry_run,
        grace_seconds=grace_hours * 3600,
        progress=ctx.output.progress("pruning"),
    )


def _counts(tier: Tier) -> dict[str, int]:
    names = ("hourly", "daily", "weekly", "monthly", "newest")
    return {name: getattr(tier, name) for name in names if getattr(tier, name)}


def _text(result: PruneResult) -> str:
    kept = ", ".join(f"{count} {tier}" for tier, count in result.kept.items())
    verb = "would forget" if result.planned_only else "forgot"
    lines = [f"{result.repository}: kept {kept}; {verb} {len(result.forgotten)}"]
    if not result.planned_only:
        lines[0] += f"; freed {size(result.deleted_bytes)}"
        if result.waiting_bytes:
            lines[0] += f", {size(result.waiting_bytes)} more when the grace period has passed"
    if result.note:
        lines.append(result.note)
    if result.planned_only:
        lines += [f"  {snapshot_id}" for snapshot_id in result.forgotten]
    return "\n".join(lines)
