"""`antsmem check`: is everything there, and is it what was written?"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.check import CheckJob, CheckResult
from antsmem.backup.check import check as verify
from antsmem.backup.repository import open_repository
from antsmem.cli.commands.open import one_of, with_kit
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring, public_keyring
from antsmem.cli.output import size
from antsmem.core.config import RepositoryConfig
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, RollbackError
from antsmem.core.record import record


@record
class _Wanted:
    """What was asked for, the same for every repository."""

    kit: Path | None
    no_key: bool
    percent: int
    repair: bool
    accept_older: bool


def check(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    repository: Annotated[
        list[str] | None, typer.Option(help="Name or URL; may be given several times. Default: all configured.")
    ] = None,
    read_data: Annotated[bool, typer.Option("--read-data", help="Open every object, not only the packs.")] = False,
    sample: Annotated[
        int, typer.Option(help="Open the objects of so many percent of the packs.", min=0, max=100)
    ] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild what can be rebuilt; name what is lost.")
    ] = False,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit: opens cold archives too.")] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="Only what can be checked without any key.")] = False,
    accept_older: Annotated[
        bool, typer.Option("--accept-older", help="Trust an older state of the repository from now on.")
    ] = False,
) -> None:
    """Verify repositories: signatures, chain, packs, objects."""
    ctx: Context = context.obj
    percent = 100 if read_data else sample
    configs = ctx.named(repository or ())
    wanted = _Wanted(kit, no_key, percent, repair, accept_older)
    results: list[CheckResult] = []
    failed: dict[str, AntsmemError] = {}
    for config in configs:
        with one_of(ctx, configs, config, failed):
            results.append(_one(ctx, config, wanted))
    for result in results:
        for note in sorted(set(result.notes)):
            ctx.output.note(f"{result.repository}: {note}")
        for problem in result.problems:
            ctx.output.warn(f"{result.repository}: {problem}")
    ctx.output.result("check", {"repositories": results}, "\n".join(map(_line, results)))
    if percent and kit is None and not no_key:
        from antsmem.cli.levels import saw

        for result in results:
            if not result.problems:
                saw(ctx, "backend-verified", {"repository": result.repository, "percent": percent})
    bad = next((result for result in results if result.problems), None)
    if bad is not None:
        what = f"{len(bad.problems)} problems in `{bad.repository}`, the first: {bad.problems[0]}"
        if bad.rolled_back:
            raise RollbackError(
                what,
                hint="was an old copy put back? antsmem check --accept-older trusts what is there from now on",
            )
        raise IntegrityError(what, hint="antsmem check --repair drops what cannot be had and names the files hit")
    if failed:
        raise typer.Exit(3 if results else next(iter(failed.values())).exit_code)


def _one(ctx: Context, config: RepositoryConfig, wanted: _Wanted) -> CheckResult:
    pin = None
    if wanted.kit is not None:
        opened = with_kit(ctx, config, wanted.kit)
    elif wanted.no_key:
        store = ctx.store(config)
        opened = open_repository(store, public_keyring(store))
    else:
        keys = host_keyring(ctx, "hot", "cold")
        if wanted.repair:
            from antsmem.backup.repair import mend_statement

            if mend_statement(ctx.store(config), keys, ctx.now_ns):
                ctx.output.note("`repository.json` was lost or damaged: made anew")
        opened = ctx.repository(config, keys)
        pin = None if wanted.accept_older else ctx.pin(opened)
    if wanted.repair:
        from antsmem.backup.repair import repair as mend

        others = []
        for other in ctx.agent.repositories:
            with suppress(AntsmemError):  # what cannot be reached cannot help
                others += [ctx.repository(other, opened.keys)] if other.url != config.url else []
        for line in mend(opened, others).lines():
            ctx.output.note(line)
    progress = ctx.output.progress("checking")
    try:
        result = verify(opened, CheckJob(pin, wanted.percent, progress))
    except CannotUnlockError as error:
        raise CannotUnlockError(str(error), hint="antsmem check --no-key checks what needs no key") from None
    if wanted.accept_older and not result.problems:
        from antsmem.backup.repository import Pin, read_state

        state = read_state(opened, None)
        ctx.keep_pin(opened, Pin(state.next_sequence - 1, state.ids[-1] if state.ids else ""))
    return result


def _line(result: CheckResult) -> str:
    verdict = f"{len(result.problems)} PROBLEMS" if result.problems else "no problem found"
    objects = f", {result.objects} objects" if result.objects else ""
    return (
        f"{result.repository}: {result.snapshots} hot, {result.cold} cold snapshots, {result.packs} packs "
        f"({size(result.bytes_read)}){objects} checked: {verdict}"
    )
