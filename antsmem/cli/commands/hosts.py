"""`antsmem heartbeat retire` and `take-over`: which host does the agent's work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from antsmem.cli.context import Context
from antsmem.cli.heartbeats import read_heartbeat
from antsmem.cli.posts import opened_journal, own_post
from antsmem.cli.witnesses import witness
from antsmem.core.clock import utc_text
from antsmem.core.errors import UsageError
from antsmem.heartbeat.epoch import Claim, Post
from antsmem.heartbeat.journal import Journal


def retire(context: typer.Context) -> None:
    """Start nothing any more on this host, because another one takes over."""
    ctx: Context = context.obj
    own_post(ctx).retire(opened_journal(ctx), ctx.now_ns)
    ctx.output.result(
        "heartbeat-retire", {"host": ctx.host}, f"{ctx.host} has retired: it starts nothing any more"
    )


def take_over(
    context: typer.Context,
    old_host_off: Annotated[
        bool, typer.Option("--old-host-off", help="No other host works for this agent: off, or retired.")
    ] = False,
) -> None:
    """Make this host the one that does the agent's work, after a move or a restore."""
    ctx: Context = context.obj
    here, journal = own_post(ctx), opened_journal(ctx)
    keystore = ctx.keystore
    claim = Claim(keystore.scid, keystore.host, keystore.op_key, witness(ctx, here))
    alone = here.alone(journal, claim.witness)
    if not old_host_off and not alone:
        _wait_out(ctx, here, journal, claim)
    from antsmem.heartbeat.progress import stand
    from antsmem.heartbeat.takeover import doubts

    unsure: list[Mapping[str, Any]] = []
    if not alone:
        file = read_heartbeat(ctx)
        plan = stand(journal, file.plan, file.data or b"", ctx.now_ns).plan
        unsure += doubts(plan, journal, ctx.now_ns)
    duty = here.take(journal, claim, ctx.now_ns, unsure)
    asked = [key for key, state in journal.open.items() if state in {"HELD", "BLOCKED", "UNKNOWN"}]
    ctx.output.result(
        "heartbeat-take-over",
        {"scid": duty.scid, "epoch": duty.epoch, "host": duty.host, "time": duty.time, "waits_until": None},
        f"{duty.host} does the work now, in epoch {duty.epoch}",
    )
    if asked:
        ctx.output.note(f"what the host before may have done is asked about: {', '.join(sorted(asked)[:10])}")


def _wait_out(ctx: Context, here: Post, journal: Journal, claim: Claim) -> None:
    """Return once no other host can be at work, as far as a witness makes that sure; until then end with 3."""
    if claim.witness is None:
        raise UsageError(
            "another host may still be at work for this agent: not taken over",
            hint="see that it is off or retired, then: antsmem heartbeat take-over --old-host-off",
        )
    from antsmem.heartbeat.witness import claim_and_wait

    until = claim_and_wait(here, journal, claim, ctx.now_ns)
    if until <= ctx.now_ns:
        return
    found = {"scid": claim.scid, "epoch": None, "host": claim.host, "time": None, "waits_until": utc_text(until)}
    ctx.output.result(
        "heartbeat-take-over", found,
        f"the witness keeps other hosts from starting anything; the last of their work ends by {utc_text(until)}: "
        "run the same command again then",
    )  # fmt: skip
    raise typer.Exit(3)
