"""`antsmem watch`: keep every version, soon after it was written, and back up when it is time."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.snapshot import time_of
from antsmem.cli.commands.guard import row_of
from antsmem.cli.context import Context
from antsmem.cli.guarding import alarm_text, shown, tree_of
from antsmem.cli.pins import read_pin
from antsmem.core import clock
from antsmem.core.clock import utc_text
from antsmem.core.errors import AntsmemError, IntegrityError, LockedError, UsageError
from antsmem.identity.files import refuse_retired
from antsmem.workspace.alarms import Guarded
from antsmem.workspace.watch import DEBOUNCE_SECONDS, SETTLE_SECONDS, Pace, Voice
from antsmem.workspace.watch import watch as keep_watch

_RETRY_SECONDS = 600.0


def watch(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One pass, then end.")] = False,
    debounce: Annotated[
        float, typer.Option(help="Seconds from a change to the record of it.", min=0.01, max=60)
    ] = DEBOUNCE_SECONDS,
    settle: Annotated[
        float, typer.Option(help="Seconds for which a file is still before it is judged.", min=0, max=600)
    ] = SETTLE_SECONDS,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Make no hot backups when they are due.")] = False,
) -> None:
    """Record every change of the workspace, tell of lost memory, and back up when it is due, until interrupted."""
    ctx: Context = context.obj
    if math.isnan(debounce + settle):
        raise UsageError("`--debounce` and `--settle` are numbers of seconds", hint="see `antsmem watch --help`")
    gc.enable()  # this one runs for long
    ctx.ready_to_write()
    backups = Backups(ctx) if not no_backup and ctx.agent.repositories else None
    events = Events(ctx, 0.0 if once else settle)

    def found(guarded: Guarded) -> None:
        if guarded.recorded.revision and ctx.agent.backends:
            events.changed()
        _found(ctx, guarded, once)

    def idle() -> None:
        refuse_retired(ctx.layout.keystore)  # while it watched, the agent may have moved away
        events.turn()
        if backups is not None:
            backups.turn()

    voice = Voice(found=found, trouble=ctx.output.error, remark=ctx.output.note, idle=idle)
    if not once:
        ctx.output.note(f"watching `{ctx.layout.root}`; end with Ctrl-C")
    keep_watch(tree_of(ctx), ctx.agent_state, voice, Pace(debounce, settle), once=once)
    if backups is not None:
        code = backups.end()
        if code:
            raise typer.Exit(code)


class Events:
    """Events of this device for what changed, written when nothing has changed for `settle` seconds."""

    def __init__(self, ctx: Context, settle: float) -> None:
        self.ctx = ctx
        self.settle = settle
        self.since: float | None = None

    def changed(self) -> None:
        """Something did, now."""
        self.since = time.monotonic()

    def turn(self) -> None:
        """Write them, if it is time to."""
        if self.since is None or time.monotonic() - self.since < self.settle:
            return
        from antsmem.cli.memories import record_here

        self.since = None
        try:
            record_here(self.ctx)
        except LockedError:
            pass  # a sync is under way, and records the same
        except AntsmemError as error:
            self.ctx.output.warn(f"what changed is in no event yet: {error}")


class Backups:
    """Hot backups by a process of their own, so that the watch goes on meanwhile."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.running: subprocess.Popen[bytes] | None = None
        self.next = 0.0

    def turn(self) -> None:
        """Begin a backup if one is due and none runs."""
        if self.running is not None and self.running.poll() is None:
            return
        if time.monotonic() >= self.next and self.due():
            self.next = time.monotonic() + _RETRY_SECONDS
            words = ["-C", str(self.ctx.layout.root), "-q", "--no-input", "backup"]
            self.running = subprocess.Popen(
                [sys.executable, "-m", "antsmem", *words],
                env=dict(self.ctx.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def due(self) -> bool:
        """Whether a repository that this host writes to has no hot snapshot of the last interval."""
        now_ns = clock.now_ns()
        oldest = now_ns - self.ctx.settings.hot.interval_seconds * 10**9
        places = list(self.ctx.agent_state.glob("pin-*.json"))
        try:
            made = [_made_ns(place, now_ns) for place in places]
        except IntegrityError:
            return True  # the backup says what is wrong
        return len(made) < len(self.ctx.agent.repositories) or any(not oldest <= each <= now_ns for each in made)

    def end(self) -> int:
        """Wait for the backup that runs; its exit code."""
        return self.running.wait() if self.running is not None else 0


def _made_ns(place: Path, now_ns: int) -> int:
    """When this host made the snapshot that the pin at `place` names, 0 for none. Snapshots never go back in time:
    once a clock was ahead, they are named after the future, and only the pin's own time tells."""
    pin = read_pin(place)
    named = time_of(pin.head) if pin is not None and pin.head else 0
    try:
        return named if named <= now_ns else place.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _found(ctx: Context, found: Guarded, once: bool) -> None:
    """Tell of a pass: one line."""
    paths = [shown(path) for path in (*found.recorded.changed, *found.recorded.gone)]
    document = {
        "time": utc_text(clock.now_ns()),
        "revision": found.recorded.revision,
        "paths": paths,
        "raised": [row_of(alarm) for alarm in found.raised],
        "settled": [shown(path) for path in found.settled],
        "open": len(found.alarms),
    }
    for alarm in found.raised:
        ctx.output.warn(alarm_text(alarm))
    for path in found.settled:
        ctx.output.note(f"`{shown(path)}` has its words back")
    names = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    what = f"{found.recorded.revision[:12]}  {names}" if paths else ""
    if once and not what:
        what = "nothing changed"
    quiet = ctx.options.quiet and not ctx.options.json
    ctx.output.result("watch", document, "" if quiet else what)
