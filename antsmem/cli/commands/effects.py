"""`antsmem heartbeat log` and `resolve`: what was started, what became of it, and a person's word on it."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from typing import Annotated, Any

import typer

from antsmem.cli.context import Context
from antsmem.cli.output import table
from antsmem.core.disk import read_file
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.heartbeat.epoch import Post
from antsmem.heartbeat.journal import Health, Journal, Places

_LOG_BYTES = 16 << 20


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
    word: Annotated[str, typer.Argument(help="done: it happened. redo: it did not. drop: never do it.")],
) -> None:
    """Say what became of an effect of which nobody knows."""
    from antsmem.heartbeat.settle import WORDS, resolve_effect

    ctx: Context = context.obj
    said = next((known for known in WORDS if known == word), None)
    if said is None:
        raise UsageError(f"`{word}` is no word on an effect: there are {', '.join(WORDS)}")
    result = resolve_effect(opened_journal(ctx), key, said, ctx.now_ns)
    ctx.output.result("heartbeat-resolve", result, f"{key}: {result.before} → {result.state}")


def opened_journal(ctx: Context) -> Journal:
    """The workspace's journal; outside of any workspace this user's own."""
    try:
        layout = ctx.layout
    except NotFoundError:
        if ctx.options.workspace is not None:
            raise
        root = ctx.state_dir / "once"
        return Journal(Places(root, root / "index"))
    ctx.finish_restore()
    here = post(ctx)
    assert here is not None
    return Journal(Places(layout.journal.parent, layout.cache / "heartbeat"), here.born)


def post(ctx: Context) -> Post | None:
    """This host's part in the work of the workspace; None outside of any."""
    try:
        layout = ctx.layout
    except NotFoundError:
        return None
    try:
        agent = read_file(layout.identity_log, _LOG_BYTES).partition(b"\n")[0]
    except NotFoundError:
        agent = os.fsencode(layout.root)
    name = hashlib.sha256(agent).hexdigest()[:32]  # no need to verify who it is, only to know it again
    return Post(ctx.state_dir / "heartbeat", layout.journal.parent / "epoch.json", name)


def hint_for(key: str, state: str) -> str:
    """What to type about a key that is not settled."""
    if state in {"FAILED", "PLANNED"}:
        return "the same command again tries again"
    return f"find out whether it happened, then: antsmem heartbeat resolve {key} done|redo|drop"


def _row(at: str, body: Any) -> dict[str, Any]:
    names = ("key", "state", "why", "how", "exit", "run", "retry_at")
    return {"at": at, **{name: body[name] for name in names if name in body}}


def _line(row: dict[str, Any]) -> tuple[str, str, str, str]:
    why = row.get("why") or row.get("how") or ""
    return row["at"], row["state"], row["key"], f"{why} {row['exit']}" if row.get("exit") else why


def _warn(ctx: Context, health: Health) -> None:
    if health.bad or health.missing:
        ctx.output.warn(f"the journal is damaged: {health.bad} bad lines, {health.missing} records are missing")
