"""`antsmem heartbeat log` and `resolve`: what was started, what became of it, and a person's word on it."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any

import typer

from antsmem.cli.context import Context
from antsmem.cli.output import table
from antsmem.cli.posts import opened_journal
from antsmem.core.errors import NotFoundError, UsageError, legible
from antsmem.heartbeat.journal import Health


def log(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Only this key.")] = "",
    last: Annotated[int, typer.Option(min=0, help="Show so many records; 0 shows all.")] = 50,
) -> None:
    """Show the journal: every effect, what became of it, and why."""
    ctx: Context = context.obj
    journal = opened_journal(ctx)
    entries = (entry for entry in journal.entries(key or None) if entry.kind == "state")
    rows = [_row(entry.at, entry.body) for entry in deque(entries, last or None)]
    if key and not rows:
        raise NotFoundError(f"nothing is known of `{key}`", hint="antsmem heartbeat log")
    document = {"entries": rows, "health": journal.health, "held": sorted(journal.open)}
    ctx.output.result("heartbeat-log", document, lambda: table([_line(row) for row in rows]) or "nothing yet")
    _warn(ctx, journal.health)
    if journal.health.bad or journal.health.missing:
        raise typer.Exit(3)


def resolve(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The key.")],
    word: Annotated[
        str, typer.Argument(help="What became of it: done (it happened), redo (it did not) or drop (never do it).")
    ],
    note: Annotated[str, typer.Option(help="What to know about it: the answer, where the agent asked.")] = "",
) -> None:
    """Say what became of an effect of which nobody knows, or answer what the agent asked."""
    from antsmem.heartbeat.settle import WORDS, resolve_effect

    ctx: Context = context.obj
    said = next((known for known in WORDS if known == word), None)
    if said is None:
        raise UsageError(f"`{word}` is no word on an effect: there are {', '.join(WORDS)}")
    result = resolve_effect(opened_journal(ctx, to_write=True), key, said, ctx.now_ns, note)
    ctx.output.result("heartbeat-resolve", result, f"{key}: {result.before} → {result.state}")


def _row(at: str, body: Any) -> dict[str, Any]:
    names = ("key", "state", "why", "how", "exit", "run", "retry_at", "note")
    return {"at": at, **{name: body[name] for name in names if name in body}}


def _line(row: dict[str, Any]) -> tuple[str, str, str, str]:
    why = row.get("why") or row.get("how") or ""
    why = f"{why} {row['exit']}" if row.get("exit") else why
    return row["at"], row["state"], row["key"], f"{why}: {legible(row['note'])}" if row.get("note") else why


def _warn(ctx: Context, health: Health) -> None:
    if health.bad or health.missing:
        ctx.output.warn(f"the journal is damaged: {health.bad} bad lines, {health.missing} records are missing")
