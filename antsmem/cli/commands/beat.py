"""`antsmem heartbeat status`: whether a wake comes by, and what waits for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.output import ago
from antsmem.cli.pings import unheard
from antsmem.cli.posts import hint_for, opened_journal, own_post
from antsmem.core.duration import typed_seconds
from antsmem.heartbeat.lastwake import last_wake_path, read_last_wake
from antsmem.heartbeat.status import Trouble, WakeStatus, look

_SAYS: dict[Trouble, str] = {
    "fenced": "this host does not work for the agent",
    "silent": "no wake came by",
    "failed": "the last wake failed: `antsmem heartbeat` says why",
    "question": "a person has to say what became of something",
    "breaker": "a task failed so often that it is off",
    "damage": "the journal is damaged",
}


def status(
    context: typer.Context,
    max_age: Annotated[str, typer.Option(help="How long ago the last wake may be: 15m, 2h.")] = "",
) -> None:
    """Say how the heartbeat does: its last wake, what is next, what waits for a person."""
    ctx: Context = context.obj
    here = own_post(ctx)
    seconds = float(typed_seconds(max_age)) if max_age else None
    journal = opened_journal(ctx)
    last = read_last_wake(last_wake_path(here.folder, here.agent))
    found = look(journal, last, here.standing(journal), ctx.now_ns, seconds)
    ctx.output.result("heartbeat-status", found, lambda: _text(found))
    if why := unheard(ctx, here)[0]:
        ctx.output.warn(f"{why}: antsmem heartbeat doctor")
    if found.troubles:
        raise typer.Exit(4 if found.troubles[0] == "fenced" else 3)


def _text(found: WakeStatus) -> str:
    """One line that says it all, as monitors show it, then the rest."""
    if found.age_seconds is None:
        woke = "no wake yet"
    else:
        woke = f"last wake {ago(found.age_seconds)} ago" + (
            f", exit {found.exit}" if found.exit is not None else ""
        )
    state = "; ".join(_SAYS[trouble] for trouble in found.troubles)
    lines = [f"{'ATTENTION: ' + state if state else 'OK'} - {woke}", f"next      {found.next or 'nothing'}"]
    lines.append(f"host      {found.standing}, epoch {found.epoch}")
    health = found.health
    lines.append(f"journal   {health.records} records, {health.bad} bad lines, {health.missing} missing")
    for question in found.questions:
        lines.append(
            f"{question.state:9} {question.key} since {question.since} ({question.why or 'nobody knows'})"
        )
        lines.append(f"          → {hint_for(question.key, question.state)}")
    lines += [f"breaker   {each.task} is {each.state} after {each.failures} failures" for each in found.breakers]
    return "\n".join(lines)
