"""`antsmem doctor`: which reliability level the agent holds, by evidence, and what is missing for the next."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.guarding import store_of, tree_of
from antsmem.cli.levels import facts_of
from antsmem.cli.output import ago
from antsmem.core.clock import file_stamp
from antsmem.core.config import LEVELS
from antsmem.core.errors import AntsmemError, DriverMissingError, IntegrityError
from antsmem.core.record import record, replace
from antsmem.drill.levels import NAMES, Facts, Step, assess


@record
class StepRow:
    """One thing that a level asks for: the evidence, its age, or what is missing and the command that gets it."""

    level: str
    what: str
    held: bool
    seen: str
    age_seconds: float | None
    missing: str
    command: str


@record
class Trouble:
    """Something that is wrong on this host, or could be better. `command` helps; `fixed`: what `--fix` did."""

    what: str
    command: str
    wrong: bool = True
    fixed: str = ""


@record
class DoctorReport:
    """What `doctor` shows. `wanted`: the level that the operator asks for; `next`: the first thing missing."""

    level: str
    name: str
    wanted: str
    steps: tuple[StepRow, ...]
    next: StepRow | None
    troubles: tuple[Trouble, ...]


def doctor(
    context: typer.Context,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended safely, and say what was done.")
    ] = False,
) -> None:
    """Tell the reliability level earned by evidence, and what is missing; exit 3 below the level asked for."""
    ctx: Context = context.obj
    ctx.finish_restore()
    facts = facts_of(ctx)
    troubles = [_mended(ctx, each) if fix else each for each in _troubles(ctx, facts)]
    found = assess(facts_of(ctx) if fix else facts, ctx.now_ns)
    report = DoctorReport(
        level=LEVELS[found.level],
        name=NAMES[found.level],
        wanted=ctx.agent.level,
        steps=tuple(map(_row, found.steps)),
        next=_row(found.next) if found.next else None,
        troubles=tuple(troubles),
    )
    ctx.output.result("doctor", report, lambda: _text(report))
    below = ctx.agent.level in LEVELS and found.level < LEVELS.index(ctx.agent.level)
    if below or facts.fault or any(trouble.wrong and not trouble.fixed for trouble in troubles):
        raise typer.Exit(3)


def _troubles(ctx: Context, facts: Facts) -> Iterator[Trouble]:
    """What is wrong here that no level asks for."""
    for copy in facts.copies:
        if copy.problem:
            yield Trouble(f"repository `{copy.name}`: {copy.problem}", copy.helps)
    old = [copy for copy in facts.copies if not facts.fault and not copy.problem and not copy.is_fresh(ctx.now_ns)]
    if old:
        names = ", ".join(f"`{copy.name}`" for copy in old)
        began = any(copy.newest_ns is not None for copy in old)  # else the agent is new, and nothing is wrong
        yield Trouble(f"no fresh backup in {names}", "antsmem backup", wrong=began)
    for place in (ctx.config_dir, ctx.state_dir, ctx.data_dir):
        if place.is_dir() and stat.S_IMODE(place.stat().st_mode) & 0o077:
            yield Trouble(f"`{place}` is open to other users", f"chmod 700 {place}")
    store = store_of(ctx)
    try:
        if not store.exists():
            yield Trouble("no history of the memory is kept", "antsmem guard", wrong=False)
        elif not store.is_whole():
            yield Trouble(f"the history `{store.path}` is damaged", "antsmem history --rebuild")
    except IntegrityError as error:
        yield Trouble(str(error), "antsmem history --rebuild")
    except DriverMissingError as error:
        yield Trouble(f"{error}: no history is kept", error.hint)
    except AntsmemError as error:
        yield Trouble(str(error), error.hint)


def _mended(ctx: Context, trouble: Trouble) -> Trouble:
    """The trouble, with what was done about it. Only what takes nothing away is done."""
    from antsmem.cli.hourly import back_up
    from antsmem.workspace.alarms import guard_workspace

    try:
        if trouble.command.startswith("chmod 700 "):
            place = trouble.command.removeprefix("chmod 700 ")
            os.chmod(place, 0o700)
            return replace(trouble, fixed=f"closed `{place}` to others")
        if trouble.command == "antsmem guard":
            guard_workspace(tree_of(ctx), ctx.agent_state, "doctor", ctx.now_ns)
            return replace(trouble, fixed="began a history")
        if trouble.command == "antsmem backup":
            quiet = replace(ctx.options, quiet=True, json=False)
            done = back_up(Context(quiet, ctx.environment)) == 0
            return replace(trouble, fixed="backed up" if done else "")
        if trouble.command == "antsmem history --rebuild":
            aside = store_of(ctx).rebuild(file_stamp(ctx.now_ns))
            guard_workspace(tree_of(ctx), ctx.agent_state, "doctor", ctx.now_ns)
            return replace(trouble, fixed=f"rebuilt; the damaged one is `{aside}`")
    except (OSError, AntsmemError) as error:
        ctx.output.warn(f"could not be mended: {error}")
    return trouble


def _row(step: Step) -> StepRow:
    return StepRow(
        LEVELS[step.level], step.what, step.held, step.seen, step.age_seconds, step.missing,
        "" if step.held else step.command,
    )  # fmt: skip


def _text(report: DoctorReport) -> str:
    lines = [f"{report.level} {report.name}" + (f"; {report.wanted} is asked for" if report.wanted else "")]
    for step in report.steps:
        age = f", {ago(step.age_seconds)} ago" if step.age_seconds is not None else ""
        said = f"{step.seen}{age}" if step.seen else ""
        mark = "ok     " if step.held else "missing"
        reason = "" if step.held else f"{'; ' if said else ''}{step.missing}"
        lines.append(f"  {step.level}  {mark}  {step.what}: {said}{reason}")
    for trouble in report.troubles:
        lines.append(
            f"{'trouble' if trouble.wrong else 'better'}: {trouble.what}"
            + (f": {trouble.fixed}" if trouble.fixed else f" → {trouble.command}")
        )
    if report.next is not None:
        lines.append(f"next, for {report.next.level}: {report.next.command}")
    return "\n".join(lines)
