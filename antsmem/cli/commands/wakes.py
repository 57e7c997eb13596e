"""`antsmem heartbeat run`, `pause`, `resume`, `approve`: a person's hand on single tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.heartbeats import read_heartbeat
from antsmem.cli.posts import opened_journal, own_post
from antsmem.cli.wakes import approved_path, show, woken
from antsmem.core.errors import NotFoundError
from antsmem.heartbeat.hand import pause_task, resume_task
from antsmem.heartbeat.progress import sha256, stand


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task's id, as `heartbeat plan` shows it.")],
) -> None:
    """Run a task now, whether it is due or not; what is open or due of it is what runs."""
    ctx: Context = context.obj
    result = woken(ctx, now=task)
    show(ctx, result)
    for done in result.done:
        ctx.output.note(f"{done.key}: {done.state}{f' ({done.why})' if done.why else ''}")
    if result.code:
        raise typer.Exit(result.code)


def pause(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task's id.")],
) -> None:
    """Start nothing of a task until it is resumed."""
    ctx: Context = context.obj
    pause_task(opened_journal(ctx, to_write=True), _known(ctx, task), ctx.now_ns)
    ctx.output.result("heartbeat-pause", {"task": task, "paused": True}, f"{task} is paused")


def resume(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task's id.")],
) -> None:
    """Let a task go on that was paused, or that is off because it kept failing."""
    ctx: Context = context.obj
    resume_task(opened_journal(ctx, to_write=True), _known(ctx, task), ctx.now_ns)
    ctx.output.result("heartbeat-pause", {"task": task, "paused": False}, f"{task} goes on")


def approve(context: typer.Context) -> None:
    """Approve HEARTBEAT.md as it is, where the operator's `trust` is `pin`."""
    from antsmem.core.disk import make_private_dir, write_file

    ctx: Context = context.obj
    ctx.ready_to_write()
    file, here = read_heartbeat(ctx), own_post(ctx)
    digest = sha256(file.data or b"")
    make_private_dir(here.folder)
    write_file(approved_path(here), [digest.encode() + b"\n"])
    tasks = sum(task.runs for task in file.plan.tasks)
    document = {"sha256": digest, "tasks": tasks}
    ctx.output.result("heartbeat-approve", document, f"approved: {tasks} tasks (sha256 {digest[:16]})")


def _known(ctx: Context, task: str) -> str:
    """The id of a task that HEARTBEAT.md has, or that the journal knows to be paused."""
    file = read_heartbeat(ctx)
    plan = stand(opened_journal(ctx), file.plan, file.data or b"", ctx.now_ns).plan
    if all(task != known.id for known in plan.tasks):
        raise NotFoundError(f"HEARTBEAT.md has no task `{task}`", hint="antsmem heartbeat plan")
    return task
