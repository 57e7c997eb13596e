"""`antsmem events`: what the agent's devices wrote, one signed event after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.backends import exchange_backends
from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.memories import job, memory
from antsmem.cli.output import table
from antsmem.core.clock import utc_text
from antsmem.core.errors import IntegrityError, LockedError
from antsmem.core.moment import parse_moment
from antsmem.core.record import record
from antsmem.memory.clocks import clock_ns
from antsmem.memory.event import NO_EPOCH, TYPE_PREFIX
from antsmem.memory.eventfiles import Spot
from antsmem.memory.exchange import remote_heads
from antsmem.memory.intake import catch_up
from antsmem.memory.local import LocalMemory
from antsmem.memory.redacting import redact as redact_event
from antsmem.memory.replaying import replay as replay_events
from antsmem.memory.verifying import verify_events

app = group("What the agent's devices wrote: tail, replay, verify, redact.")
_PAUSE_SECONDS = 1.0


@record
class EventRow:
    """An event. `path` is empty where it is about no file; `redacted`: what it said is destroyed."""

    id: str
    time: str
    device: str
    sequence: int
    type: str
    path: str
    size_bytes: int
    redacted: bool


@app.command()
def tail(
    context: typer.Context,
    last: Annotated[int, typer.Option(help="Show so many.", min=1, max=100_000)] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what other runs of `sync` bring, until interrupted.")
    ] = False,
) -> None:
    """Show the newest events that this host knows, oldest first."""
    ctx: Context = context.obj
    with memory(ctx) as opened:
        catch_up(opened)
        rows = _rows(opened, opened.index.by_clock(last))
        shown = {device: head.sequence for device, head in opened.index.heads().items()}
    _show(ctx, rows, "" if follow else "no events yet: antsmem sync")
    while follow:
        time.sleep(_PAUSE_SECONDS)
        with suppress(LockedError), memory(ctx) as opened:
            catch_up(opened)
            for device, head in sorted(opened.index.heads().items()):
                spots = opened.index.spots(device, shown.get(device, 0), head.sequence)
                shown[device] = head.sequence
                if spots:
                    _show(ctx, _rows(opened, [(device, spot) for _, spot in spots]), "")


def _rows(opened: LocalMemory, found: Iterable[tuple[str, Spot]]) -> list[EventRow]:
    rows = []
    for device, spot in found:
        event = opened.files.read(device, spot)
        past = opened.index.revision(event.id)
        kind = event.type.removeprefix(TYPE_PREFIX).removesuffix(".v1")
        path, size = (past.path, past.size_bytes) if past else ("", 0)
        instant = utc_text(clock_ns(event.clock))
        redacted = not event.key and event.epoch != NO_EPOCH
        rows.append(EventRow(event.id, instant, device, event.sequence, kind, path, size, redacted))
    return rows


def _show(ctx: Context, rows: list[EventRow], nothing: str) -> None:
    lines = [
        (row.time, row.device, row.type + (" (redacted)" if row.redacted else ""), row.path, row.id)
        for row in rows
    ]
    ctx.output.result("events-tail", {"events": rows}, lambda: table(lines) or nothing)


@app.command()
def replay(
    context: typer.Context,
    until: Annotated[str, typer.Option(help="A time: `2026-11-20 14:00`, `yesterday`, `2h ago`.")],
    into: Annotated[Path, typer.Option(help="An empty or new directory.")],
) -> None:
    """Write the files as they were at an instant into an empty directory; exit 3 if some contents are gone."""
    ctx: Context = context.obj
    with memory(ctx) as opened:
        catch_up(opened)
        moment = parse_moment(until, ctx.now_ns)
        limit = f"{moment // 1_000_000:013d}-9999"
        arranged = replay_events(opened, limit, into, job(ctx).classifier, ctx.now_ns)
    for path, why in arranged.left.items():
        ctx.output.warn(f"`{path}` could not be written: {why}")
    report = {"into": into, "written": arranged.written, "left": arranged.left}
    ctx.output.result("events-replay", report, f"{len(arranged.written)} files written to {into}")
    if arranged.left:
        raise typer.Exit(3)


@app.command()
def verify(context: typer.Context) -> None:
    """Check every event: form, signature, chain, gaps, digests, contents; and that the backend tells the same."""
    ctx: Context = context.obj
    between = exchange_backends(ctx)
    try:
        with memory(ctx) as opened:
            caught = catch_up(opened)
            remote = remote_heads(opened, between.durable) if between is not None else None
            verified = verify_events(opened, remote)
    finally:
        if between is not None:
            between.close()
    verified.faults += [f"{item.device} {item.sequence}: {item.why}" for item in caught.refused]
    text = f"{verified.events} events of {verified.devices} devices are good; {verified.destroyed} are redacted"
    ctx.output.result("events-verify", verified, "" if verified.faults else text)
    for fault in verified.faults:
        ctx.output.warn(fault)
    if verified.faults:
        raise IntegrityError(
            f"{len(verified.faults)} faults in the events of this host",
            hint="move a file of `blobs`, else a device's directory, out of `.antsmem/events`, then: antsmem sync",
        )


@app.command()
def redact(
    context: typer.Context, event: Annotated[str, typer.Argument(help="The id that `events tail` shows.")]
) -> None:
    """Destroy what an event says, here now and everywhere with the next sync. Backups keep what they have."""
    ctx: Context = context.obj
    with memory(ctx) as opened:
        catch_up(opened)
        done = redact_event(opened, job(ctx), event)
    ctx.output.result("events-redact", done, f"redacted {done.id} of {done.path}; `antsmem sync` tells the others")
