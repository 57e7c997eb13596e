"""`antsmem heartbeat`: what HEARTBEAT.md asks for, and when."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.commands import beat, checkup, effects, hosts, install, wakes
from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.heartbeats import NAME, HeartbeatFile, read_heartbeat
from antsmem.cli.output import table
from antsmem.cli.posts import opened_journal
from antsmem.cli.wakes import wake_up
from antsmem.core.clock import utc_text
from antsmem.core.record import record
from antsmem.heartbeat.due import next_of, next_slots
from antsmem.heartbeat.plan import Plan, Remark, Task, Zone, grace_seconds
from antsmem.heartbeat.progress import Standing, stand
from antsmem.heartbeat.schedule import duration_text, schedule_text
from antsmem.heartbeat.slots import NANO
from antsmem.workspace.humantime import human_time

app = group(
    "One wake, as cron calls it: finish what was interrupted, do what is due. Or one of the commands below."
)
app.info.no_args_is_help = False  # on its own it is what cron calls


@record
class TaskRow:
    """A task as `plan` shows it. `state` is `runs`, `done`, `paused`, `empty` or `error`; `next` is UTC."""

    id: str
    line: int
    headings: tuple[str, ...]
    title: str
    source: str
    state: str
    error: str
    schedule: str
    time_zone: str
    next: str | None
    catchup: str
    grace_seconds: int | None
    timeout_seconds: int | None
    effect: str
    verify: str | None
    budget: str | None
    urgent: bool
    size_bytes: int


@record
class PlanReport:
    """How the file was understood."""

    found: bool
    time_zone: Zone
    base_seconds: int
    quiet: str | None
    tasks: tuple[TaskRow, ...]
    prose_bytes: int
    errors: tuple[Remark, ...]
    warnings: tuple[Remark, ...]
    offers: tuple[Remark, ...]


@record
class ComingRow:
    """A slot to come. `key` is the name of that piece of work; `at` is UTC."""

    key: str
    task: str
    title: str
    at: str
    due: bool


@app.callback(invoke_without_command=True)
def _group(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    only: Annotated[str, typer.Option(help="Only the task with this id.")] = "",
) -> None:
    """One wake, as cron calls it: finish what was interrupted, do what is due. Or one of the commands below."""
    if context.invoked_subcommand is None and (code := wake_up(context.obj, only=only, dry_run=dry_run)):
        raise typer.Exit(code)


@app.command()
def plan(context: typer.Context) -> None:
    """Show how HEARTBEAT.md was understood: its tasks, when each runs next, and what is wrong."""
    ctx: Context = context.obj
    file = read_heartbeat(ctx)
    standing = _standing(ctx, file)
    found = standing.plan
    report = PlanReport(
        found=file.data is not None,
        time_zone=found.zone,
        base_seconds=found.settings.base_seconds,
        quiet=_quiet(found),
        tasks=tuple(_row(ctx, standing, task) for task in found.tasks),
        prose_bytes=sum(span.end - span.start for span in found.prose),
        errors=found.all_errors,
        warnings=found.warnings,
        offers=found.offers,
    )
    for remark in report.errors:
        ctx.output.warn(f"{_place(remark)}: error: {_clean(remark.text)}")
    for remark in report.warnings:
        ctx.output.warn(f"{_place(remark)}: {_clean(remark.text)}")
    for remark in report.offers:
        ctx.output.note(f"{_place(remark)}: {_clean(remark.text)}")
    ctx.output.result("heartbeat-plan", report, lambda: _plan_text(ctx, standing, report))
    if report.errors:
        raise typer.Exit(2)


@app.command(name="next")
def coming(
    context: typer.Context,
    count: Annotated[int, typer.Option(help="Show so many.", min=1, max=50)] = 10,
) -> None:
    """List what runs next, soonest first."""
    ctx: Context = context.obj
    standing = _standing(ctx, read_heartbeat(ctx))
    slots = next_slots(standing.plan, standing.progress, ctx.now_ns, count)
    rows = [
        ComingRow(slot.key, slot.task.id, slot.task.title, _utc(slot.at), slot.at * NANO <= ctx.now_ns)
        for slot in slots
    ]
    shown = [(_local(ctx, slot.task, slot.at), slot.task.id, _clean(slot.task.title)) for slot in slots]
    ctx.output.result("heartbeat-next", {"slots": rows}, lambda: table(shown) if shown else "nothing to do")


def _standing(ctx: Context, file: HeartbeatFile) -> Standing:
    """The plan, and how far the work of it is."""
    return stand(opened_journal(ctx), file.plan, file.data or b"", ctx.now_ns)


def _row(ctx: Context, standing: Standing, task: Task) -> TaskRow:
    found = standing.plan
    at = next_of(found, task, standing.progress, ctx.now_ns) if task.runs else None
    options = task.options
    return TaskRow(
        id=task.id,
        line=task.line,
        headings=task.path,
        title=task.title,
        source=task.source,
        state="error" if task.error else task.off or "runs",
        error=task.error,
        schedule=schedule_text(task.schedule),
        time_zone=task.zone.name,
        next=None if at is None else _utc(at),
        catchup=options.catchup,
        grace_seconds=grace_seconds(task, found.settings.base_seconds),
        timeout_seconds=options.timeout_seconds,
        effect=options.effect,
        verify=options.verify,
        budget=options.budget,
        urgent=options.urgent,
        size_bytes=sum(span.end - span.start for span in task.spans),
    )


def _plan_text(ctx: Context, standing: Standing, report: PlanReport) -> str:
    found = standing.plan
    if not report.found:
        return f"no {NAME}: nothing to do"
    if not found.tasks:
        return f"{NAME} asks for nothing: only headings, comments and examples"
    rows = []
    for task, row in zip(found.tasks, report.tasks, strict=True):
        at = next_of(found, task, standing.progress, ctx.now_ns) if task.runs else None
        when = row.schedule if row.state == "runs" else row.state
        rows.append((str(row.line), row.id, _clean(row.title), when, "" if at is None else _local(ctx, task, at)))
    quiet = f", quiet {report.quiet}" if report.quiet else ""
    base = duration_text(report.base_seconds)
    clock = f"{_clean(found.zone.name) or 'unknown'}, as {found.zone.origin} says"
    return (
        f"{table(rows, ('line', 'task', 'what', 'when', 'next'))}\na tick is {base}{quiet}; the clock is {clock}"
    )


def _quiet(found: Plan) -> str | None:
    if found.settings.quiet is None:
        return None
    return "-".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in found.settings.quiet)


def _local(ctx: Context, task: Task, at: int) -> str:
    """A slot on the clock of its task."""
    if at * NANO <= ctx.now_ns:
        return "now"
    human = human_time(at * NANO, task.zone.name or "UTC")
    return f"{human.day} {human.clock[:5]}"


def _utc(at: int) -> str:
    return utc_text(at * NANO)


def _place(remark: Remark) -> str:
    return f"{NAME}:{remark.line}"


def _clean(text: str) -> str:
    """`text` of the file without what a terminal would obey, and not too long."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown if len(shown) <= 160 else shown[:159] + "…"


for hand in (wakes.run, wakes.pause, wakes.resume):
    app.command()(hand)
app.command()(wakes.approve)
app.command()(install.install)
app.command()(beat.status)
app.command()(effects.log)
app.command()(effects.resolve)
app.command()(hosts.retire)
app.command()(hosts.take_over)
app.command()(checkup.doctor)
