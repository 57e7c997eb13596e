"""`antsmem sync` without a command line to parse: it is called often, and most times nothing has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from antsmem.cli.backends import devices_meet
from antsmem.cli.memories import run_sync
from antsmem.core.errors import IntegrityError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.memory.sync import SyncResult


@record
class SyncReport:
    """What a sync did. `clashes`: path → what became of two versions; `left` and `skipped`: path → why."""

    recorded: tuple[str, ...]
    deleted: tuple[str, ...]
    pushed: int
    blobs: int
    token: int
    pulled: int
    written: tuple[str, ...]
    removed: tuple[str, ...]
    clashes: dict[str, str]
    left: dict[str, str]
    skipped: dict[str, str]
    gaps: dict[str, int]
    refused: tuple[str, ...]
    offline: bool


def sync_now(ctx: Context, *, give: bool = True, take: bool = True) -> int:
    """Sync the workspace and show what happened; the exit code: 3 if something is left to be done.

    `IntegrityError` after all else is done, if there were events that are not believed.
    """
    result = run_sync(ctx, give=give, take=take)
    offline = not devices_meet(ctx)
    report = _report(result, offline)
    for path, why in report.clashes.items():
        ctx.output.warn(f"`{path}` was changed on two devices: {why}")
    for path, why in report.left.items():
        ctx.output.warn(f"`{path}` is not up to date yet: {why}")
    for device, count in report.gaps.items():
        ctx.output.warn(
            f"{count} events of `{device}` did not come yet: run `antsmem sync` again later; if they stay away, "
            "`antsmem backend rebuild log` on a device that has them"
        )
    if report.skipped and ctx.options.verbose:
        for path, why in report.skipped.items():
            ctx.output.note(f"`{path}` stays on this host: {why}")
    if offline and not ctx.options.quiet:
        ctx.output.note("no backend is configured: changes wait here (antsmem backend add embedded DIR)")
    ctx.output.result("sync", report, "" if ctx.options.quiet else _text(report))
    if report.refused:
        raise IntegrityError(
            f"{len(report.refused)} events are not believed, the first one: {report.refused[0]}",
            hint="antsmem events verify",
        )
    return 0 if result.complete else 3


def _report(result: SyncResult, offline: bool) -> SyncReport:
    return SyncReport(
        recorded=tuple(result.recorded.changed),
        deleted=tuple(result.recorded.deleted),
        pushed=result.pushed.events,
        blobs=result.pushed.blobs,
        token=result.pushed.token,
        pulled=result.pulled.new,
        written=tuple(result.arranged.written),
        removed=tuple(result.arranged.removed),
        clashes=dict(result.arranged.clashes),
        left=dict(result.arranged.left),
        skipped=dict(result.recorded.skipped),
        gaps=dict(result.pulled.gaps),
        refused=tuple(f"{item.device} {item.sequence}: {item.why}" for item in result.refused),
        offline=offline,
    )


def _text(report: SyncReport) -> str:
    changed = len(report.recorded) + len(report.deleted)
    told = [
        (changed, "changed here"),
        (report.pushed, "events pushed"),
        (report.pulled, "events pulled"),
        (len(report.written), "files written"),
        (len(report.removed), "files removed"),
    ]
    return ", ".join(f"{count} {what}" for count, what in told if count) or "nothing new"
