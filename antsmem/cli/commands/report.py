"""`antsmem report`: an agent says, within its turn, what came of a task."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.core.errors import UsageError


def report(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The key of the task's slot, as the context names it.")],
    word: Annotated[
        str,
        typer.Argument(help="What came of it: done, nothing (there was nothing to do) or blocked (a question)."),
    ],
    note: Annotated[str, typer.Option(help="One line: what was done, or the question to a person.")] = "",
) -> None:
    """Say what came of a task: only within the turn that was started for it."""
    from antsmem.cli.posts import opened_journal
    from antsmem.cli.turns import scan_of
    from antsmem.heartbeat.context import without_secrets
    from antsmem.heartbeat.evidence import WORDS, keep_report
    from antsmem.heartbeat.verdict import NONCE

    ctx: Context = context.obj
    said = next((known for known in WORDS if known == word), None)
    if said is None:
        raise UsageError(f"`{word}` is no report: there are {', '.join(WORDS)}")
    clean = without_secrets(note, scan_of(ctx))
    journal = opened_journal(ctx)
    kept = keep_report(journal, key, said, clean, ctx.environment.get(NONCE, ""))
    ctx.output.result("report", kept, f"{key}: {said}")
