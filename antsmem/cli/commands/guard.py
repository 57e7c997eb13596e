"""`antsmem guard`: was memory lost?"""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.guarding import alarm_text, inside, shown, tree_of
from antsmem.cli.output import ago
from antsmem.core.clock import utc_text
from antsmem.core.errors import UsageError
from antsmem.core.record import record
from antsmem.workspace.alarms import Alarm, accept, guard_workspace


@record
class AlarmRow:
    """An alarm as it is shown. `lost` is the share of the words that are gone."""

    path: str
    loss: str
    lost: float
    since: str
    text: str


@record
class GuardReport:
    """What a look found."""

    checked: int
    alarms: tuple[AlarmRow, ...]
    raised: tuple[str, ...]
    settled: tuple[str, ...]
    unguarded: dict[str, str]
    revision: str


def guard(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[accept PATH...]",
            help="`accept PATH…` takes the change of a file for good, and closes its alarm.",
        ),
    ] = None,
) -> None:
    """Look over the files of memory, keep what they say, and tell which lost much: exit 3 until it is answered."""
    ctx: Context = context.obj
    ctx.finish_restore()
    tree = tree_of(ctx)
    if words:
        if words[0] != "accept" or len(words) < 2:
            raise UsageError(f"`guard {' '.join(words)}` cannot be meant", hint="antsmem guard accept PATH")
        ctx.ready_to_write()
        taken = [accept(tree, ctx.agent_state, inside(ctx, word), ctx.now_ns) for word in words[1:]]
        for alarm in taken:
            ctx.output.note(f"`{shown(alarm.path)}` stays as it is")
    found = guard_workspace(tree, ctx.agent_state, "guard", ctx.now_ns)
    report = GuardReport(
        checked=found.checked,
        alarms=tuple(row_of(alarm) for alarm in found.alarms),
        raised=tuple(shown(alarm.path) for alarm in found.raised),
        settled=tuple(map(shown, found.settled)),
        unguarded={shown(path): why for path, why in found.unguarded},
        revision=found.recorded.revision,
    )
    for path, why in report.unguarded.items():
        ctx.output.warn(f"`{path}` is not guarded: {why}")
    ctx.output.result("guard", report, lambda: _text(ctx, report, found.alarms))
    unread = set(found.recorded.unsettled) & dict(found.unguarded).keys()
    if found.alarms or unread:
        raise typer.Exit(3)


def row_of(alarm: Alarm) -> AlarmRow:
    """An alarm for people and programs."""
    lost = round(alarm.damage.lost, 3)
    return AlarmRow(shown(alarm.path), alarm.damage.loss, lost, utc_text(alarm.since_ns), alarm_text(alarm))


def _text(ctx: Context, report: GuardReport, alarms: tuple[Alarm, ...]) -> str:
    lines = [f"{ago((ctx.now_ns - alarm.since_ns) / 1e9)} ago: {alarm_text(alarm)}" for alarm in alarms]
    lines += [f"`{path}` has its words back" for path in report.settled]
    return "\n".join([*lines, f"{report.checked} files of memory looked at, {len(alarms)} alarms"])
