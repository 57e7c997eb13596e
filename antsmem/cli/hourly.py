"""`antsmem backup` without a command line to parse: that costs as much as a small backup, and cron gives none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from antsmem.backup.hot import BackupResult, Job, back_up_hot
from antsmem.backup.repository import Repository
from antsmem.backup.snapshot import COLD, HOT, TIERS
from antsmem.cli.context import Context
from antsmem.cli.guarding import look
from antsmem.cli.keys import host_keyring
from antsmem.cli.output import size
from antsmem.core.config import RepositoryConfig, local_folder
from antsmem.core.errors import AntsmemError, LeakError, RollbackError, UsageError
from antsmem.core.record import record
from antsmem.identity.waivers import Waivers
from antsmem.workspace.classes import Classifier


@record
class BackupReport:
    """What happened in each repository. `failed` maps a repository to why it got nothing."""

    snapshots: tuple[BackupResult, ...]
    failed: dict[str, str]


def back_up(ctx: Context, tier: str = HOT, wanted: Sequence[str] = (), *, rehash: bool = False) -> int:
    """Back up the workspace into the repositories `wanted` (all configured ones if empty) and show what happened;
    the exit code."""
    if tier not in TIERS:
        raise UsageError(f"`{tier}` is no tier: there are {', '.join(TIERS)}")
    with ctx.working():
        configs = ctx.named(wanted)
        keys = host_keyring(ctx, HOT, COLD)
        refuse_overlap(ctx.layout.root, configs)
        classifier, waivers = Classifier(ctx.settings.classes), ctx.waivers()  # what is wrong there is said once
        look(ctx, "backup")
        done: list[BackupResult] = []
        failed: dict[str, AntsmemError] = {}
        for config in configs:
            try:
                opened = ctx.repository(config, keys)
                done.append(_one(ctx, opened, tier, rehash, classifier, waivers))
                ctx.keep_pin(opened, done[-1].pin)
                if (trouble := _publish_ledger(ctx, config, opened)) is not None:
                    failed[config.name] = trouble
                    ctx.output.error(trouble)
            except LeakError:
                raise  # the same secret would stand in the other repositories
            except AntsmemError as error:
                if len(configs) == 1:
                    raise
                failed[config.name] = error
                ctx.output.error(error)
    report = BackupReport(tuple(done), {name: str(error) for name, error in failed.items()})
    for result in done:
        for warning in result.warnings:
            ctx.output.warn(warning)
        for leak in result.waived:
            ctx.output.warn(f"`{leak.path}:{leak.line}` holds {leak.rule} {leak.shown}: stored, as was waived")
    if ctx.options.verbose and done:
        _list_left_out(ctx, classifier)
    ctx.output.result("backup", report, "" if ctx.options.quiet else "\n".join(map(_line, done)))
    if not done:
        return next(iter(failed.values())).exit_code
    return 3 if failed or not all(result.complete for result in done) else 0


def _publish_ledger(ctx: Context, config: RepositoryConfig, opened: Repository) -> AntsmemError | None:
    """Give the repository the newest ledger, if it does not have it; why that failed. Without a ledger nothing is
    loaded, and where nothing changed nobody is asked."""
    if ctx.custody is None:
        return None
    from antsmem.backup.ledger_anchor import RepositoryAnchor
    from antsmem.cli.ledger import closed_ledger, is_pending, publish_to

    custody = closed_ledger(ctx, ctx.custody)
    if not is_pending(ctx, config.name):
        return None
    try:
        failed = publish_to(ctx, custody, [RepositoryAnchor(config.name, lambda: opened.store)]).failed
    except RollbackError as error:
        return error
    return failed.get(config.name)


def refuse_overlap(workspace: Path, configs: Sequence[RepositoryConfig]) -> None:
    """A repository inside the workspace would back itself up; a workspace inside a repository would be pruned."""
    root = workspace.resolve()
    for config in configs:
        place = local_folder(config.url)
        if place is None:
            continue
        if root.is_relative_to(place) or os.path.commonpath([place, root]) == str(root):
            raise UsageError(
                f"the repository `{place}` and the workspace `{root}` lie in one another: nothing backed up",
                hint="antsmem repository add NAME URL with a place outside",
            )


def _one(
    ctx: Context, repository: Repository, tier: str, rehash: bool, classifier: Classifier, waivers: Waivers
) -> BackupResult:
    job = Job(
        root=os.fsencode(ctx.layout.root),
        classifier=classifier,
        scanner=ctx.scanner(),
        waivers=waivers,
        cache_path=ctx.agent_state / f"cache-{repository.id}",
        now_ns=ctx.now_ns,
        pin=ctx.pin(repository),
        rehash=rehash,
        progress=ctx.output.progress("backing up"),
    )
    if tier == HOT:
        return back_up_hot(repository, job)
    from antsmem.backup.cold import back_up_cold

    return back_up_cold(repository, job)


def _list_left_out(ctx: Context, classifier: Classifier) -> None:
    """Name what a backup leaves out: the result counts it."""
    from antsmem.backup.manifest import shown
    from antsmem.workspace.survey import survey

    for item in survey(ctx.layout.root, classifier).left_out:
        ctx.output.note(f"left out: `{shown(item.path)}` ({item.verdict.path_class}: {item.verdict.reason})")


def _line(result: BackupResult) -> str:
    skipped = ", ".join(f"{count} {why}" for why, count in sorted(result.left_out.items()))
    return (
        f"{result.snapshot}  {result.tier}  {result.files} files, {size(result.size_bytes)}; "
        f"added {size(result.added_bytes)} to {result.repository}" + (f"; left out: {skipped}" if skipped else "")
    )
