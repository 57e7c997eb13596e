"""`antsmem once`: run a command exactly once, and replay its result ever after."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.posts import answering_for, hint_for, host_for, opened_journal
from antsmem.core.disk import read_file
from antsmem.core.duration import typed_seconds
from antsmem.core.errors import UsageError
from antsmem.core.record import shown
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.once import Effect, OnceResult, clean_key, content_key
from antsmem.heartbeat.once import once as run_once
from antsmem.heartbeat.states import KINDS, REPEATABLE

_CONTENT_BYTES = 64 << 20
_LONGEST_SECONDS = 7 * 86400


def once(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The name of the effect: one key, one effect, for ever.")],
    command: Annotated[list[str], typer.Argument(help="The command, behind `--`.")],
    key_from: Annotated[
        Path | None, typer.Option(help="Add to the key what this file says: the same text goes out once.")
    ] = None,
    verify: Annotated[
        str, typer.Option(help="A command that tells whether it happened: 0 yes, 1 no, else nobody knows.")
    ] = "",
    effect: Annotated[str, typer.Option(help="The kind of effect: pure, idempotent, verify, hold or retry.")] = "",
    timeout: Annotated[str, typer.Option(help="How long it may take: 90s, 15m, 2h.")] = "10m",
) -> None:
    """Run a command once: never again by this key, whatever is killed in between; its result is replayed."""
    ctx: Context = context.obj
    kind = next((known for known in KINDS if known == (effect or ("verify" if verify else "hold"))), None)
    if kind is None or (kind == "verify") != bool(verify):
        raise UsageError(
            f"`--effect {effect}` cannot be meant" + (" with `--verify`" if verify else ""),
            hint=f"one of {', '.join(KINDS)}; `verify` goes with `--verify COMMAND`",
        )
    wanted = clean_key(key)
    if key_from is not None:
        wanted = content_key(wanted, read_file(key_from, _CONTENT_BYTES))
    try:
        asking = tuple(shlex.split(verify))
    except ValueError:
        raise UsageError("`--verify` has an open quote") from None
    journal = opened_journal(ctx)
    what = Effect(
        wanted, tuple(command), kind, asking, _seconds(timeout), environment=ctx.environment,
        stdin=None if sys.stdin is None or sys.stdin.isatty() else 0,
    )  # fmt: skip
    with answering_for(journal):
        result = run_once(journal, what, host_for(ctx, journal))
    again = result.state in {"FAILED", "PLANNED"} or (result.state == "UNKNOWN" and kind in REPEATABLE)
    _show(ctx, result, again=again)
    if result.state not in SETTLED:
        raise typer.Exit(5 if again else 3)


def _show(ctx: Context, result: OnceResult, *, again: bool) -> None:
    if ctx.options.json:
        document = {
            **shown(result),
            "stdout": result.stdout.decode(errors="replace"),
            "stderr": result.stderr.decode(errors="replace"),
        }
        ctx.output.result("once", document, "")
    else:
        os.write(2, result.stderr)
        sys.stdout.buffer.write(result.stdout)
        sys.stdout.flush()
    if result.state not in SETTLED:
        code = "" if result.exit_code is None else f", exit code {result.exit_code}"
        ctx.output.warn(f"`{result.key}` is {result.state} ({result.why or 'did not happen'}{code})")
        ctx.output.note(f"  → {hint_for(result.key, 'FAILED' if again else result.state)}")
    elif not result.ran:
        ctx.output.note(f"`{result.key}` was {result.state} before: not run again")
    if not result.stdout_whole:
        ctx.output.warn(f"the output of `{result.key}` is not all there")
    if not result.same_command:
        ctx.output.warn(f"`{result.key}` was done by another command line")
    if result.survivors:
        pids = ", ".join(map(str, result.survivors))
        ctx.output.warn(f"`{result.key}` left processes behind: {pids}")


def _seconds(text: str) -> float:
    seconds = typed_seconds(text)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise UsageError(f"`{text}` is no time to wait for: from 1s to 7d")
    return float(seconds)
