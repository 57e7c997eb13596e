"""`antsmem heartbeat` as cron calls it: without a command line to parse, and at next to no cost if nothing is
due."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from antsmem.cli.context import Context
from antsmem.cli.pings import WakePings
from antsmem.cli.posts import own_post
from antsmem.core import clock
from antsmem.core.record import replace
from antsmem.heartbeat.lastwake import (
    LastWake,
    last_wake_path,
    nothing_due,
    read_last_wake,
    sight_of,
    write_last_wake,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from antsmem.heartbeat.epoch import Post
    from antsmem.heartbeat.journal import Journal
    from antsmem.heartbeat.wake import WakeRequest, WakeResult


def wake_up(ctx: Context, *, only: str = "", dry_run: bool = False) -> int:
    """One wake; its exit code. Prints what needs a person, and nothing else."""
    plain = not (only or dry_run or ctx.options.json)
    here = own_post(ctx)
    place = last_wake_path(here.folder, here.agent)
    began = clock.now_ns()
    last = read_last_wake(place) if plain else None
    pings = WakePings(ctx, here)
    sight = _sight(ctx, here, began) if plain else ""
    if last is not None and nothing_due(last, sight, began):
        write_last_wake(place, replace(last, began_ns=began, ended_ns=clock.now_ns(), started=()))
        pings.ended(last.code)
        return last.code
    if not dry_run:
        write_last_wake(place, LastWake(began))
    from antsmem.cli.main import Interrupted
    from antsmem.core.errors import AntsmemError

    code = 1
    try:
        result = woken(ctx, only=only, dry_run=dry_run, working=lambda: _begin(ctx, pings))
        code = result.code
        if any(done.ran for done in result.done):
            _look(ctx)
    except AntsmemError as error:
        code = error.exit_code
        if not dry_run:
            pings.ended(code)
        raise
    except Interrupted as signalled:
        code = signalled.exit_code
        raise
    finally:
        if not dry_run and code:
            write_last_wake(place, LastWake(began, clock.now_ns(), code))
    if not dry_run:
        if result.again or sight != _sight(ctx, here, began):  # what changed meanwhile was not looked at
            sight = ""
        next_ns = None if result.next_at is None else result.next_at * 1_000_000_000
        started = tuple(done.key for done in result.done if done.ran)
        write_last_wake(place, LastWake(began, clock.now_ns(), code, started, next_ns, sight))
        pings.ended(code)
    show(ctx, result, dry_run=dry_run)
    return code


def _begin(ctx: Context, pings: WakePings) -> None:
    """Before the first thing is done."""
    pings.working()
    _look(ctx)


def _look(ctx: Context) -> None:
    """Keep what the memory is, and warn of what was lost: before and after others write to it."""
    from antsmem.cli.guarding import look

    look(ctx, "heartbeat")


def woken(
    ctx: Context,
    *,
    only: str = "",
    now: str = "",
    dry_run: bool = False,
    working: Callable[[], None] = lambda: None,
) -> WakeResult:
    """Wake, with all that this host knows of the agent."""
    from antsmem.cli.posts import answering_for, opened_journal
    from antsmem.heartbeat.wake import wake

    journal = opened_journal(ctx)
    with answering_for(journal):
        return wake(replace(request_for(ctx, journal), only=only, now=now, dry_run=dry_run, working=working))


def request_for(ctx: Context, journal: Journal) -> WakeRequest:
    """What a wake here works on."""
    from antsmem.cli.heartbeats import read_heartbeat
    from antsmem.cli.posts import host_for
    from antsmem.cli.turns import agent_of, scan_of
    from antsmem.cli.witnesses import gate
    from antsmem.heartbeat.turn import Means
    from antsmem.heartbeat.wake import WakeRequest

    here = own_post(ctx)
    door = gate(ctx, here)
    file = read_heartbeat(ctx)
    zone = ctx.settings.time_zone  # the daily log's, whatever clock the tasks go by
    scan = scan_of(ctx)  # opens the keystore only where an agent is told something; goes without a key too
    means = Means(ctx.layout.root, ctx.operator.heartbeat, ctx.environment, agent_of(ctx), zone, scan)
    return WakeRequest(
        journal,
        file.data or b"",
        file.plan,
        host_for(ctx, journal),
        means,
        lambda: here.require_active(journal),
        approved(here),
        witness=partial(door.require_all, journal) if door.witness is not None else None,
        layout=ctx.layout,
    )


def show(ctx: Context, result: WakeResult, *, dry_run: bool = False) -> None:
    """Print what needs a person; with `-v` also what was done."""
    from antsmem.core.errors import legible

    lines = [legible(part) for notice in result.notices for part in notice.split("\n")]
    if dry_run:
        lines += [f"would run {done.key}" for done in result.done] or ["nothing would run"]
    ctx.output.result("heartbeat-wake", result, "\n".join(lines))
    if ctx.options.verbose and not dry_run:
        for done in result.done:
            ctx.output.note(f"{done.key}: {done.state}{f' ({done.why})' if done.why else ''}")
        for skip in result.skipped:
            ctx.output.note(f"{skip.key}: SKIPPED ({skip.why}, {skip.count})")
        for change in result.changes:
            ctx.output.note(f"HEARTBEAT.md: {change.task} is {change.what}")


def approved_path(here: Post) -> Path:
    """Where this host keeps which HEARTBEAT.md its operator approved."""
    return here.folder / f"{here.agent}.approved"


def approved(here: Post) -> str:
    """The SHA-256 of that file; empty if none was approved."""
    from antsmem.core.disk import read_file
    from antsmem.core.errors import AntsmemError

    try:
        return read_file(approved_path(here), 256).decode("ascii", "replace").strip()
    except AntsmemError:
        return ""


def _sight(ctx: Context, here: Post, now_ns: int) -> str:
    """All that decides what is due, as far as it can be seen without opening it; once a day it is looked at
    anyway."""
    layout = ctx.layout
    months = layout.journal
    try:
        newest = max(os.listdir(months), default="")
    except OSError:
        newest = ""
    names = ("HEARTBEAT.md", "USER.md", ".antsmem/agent.yaml")
    paths = [layout.root / name for name in names]
    paths += [
        months / newest,
        here.statement,
        layout.restoring,
        here.folder,
        ctx.operator_file,
        Path("/etc/localtime"),
    ]
    return sight_of(paths, (here.agent, ctx.environment.get("TZ", ""), str(now_ns // 86_400_000_000_000)))
