"""`antsmem status`: one screen about the agent."""

from __future__ import annotations

import typer

from antsmem.backup.repository import read_state
from antsmem.backup.snapshot import COLD, HOT, time_of
from antsmem.cli.commands.guard import AlarmRow, row_of
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring
from antsmem.cli.output import ago, size, table
from antsmem.core.clock import utc_text
from antsmem.core.config import RepositoryConfig
from antsmem.core.errors import AntsmemError
from antsmem.core.moment import parse_moment
from antsmem.core.record import record
from antsmem.workspace.alarms import read_alarms
from antsmem.workspace.classes import Classifier
from antsmem.workspace.survey import Total, survey

_DAY_NS = 86_400 * 10**9
_ROTATING_DAYS = 90
_PENDING_DAYS = 7
_SKEW_SECONDS = 60


@record
class TierStatus:
    """The newest snapshot of a tier in a repository; `overdue`: it, or the agent where there is none yet, is older
    than two of the tier's intervals, or of the future."""

    tier: str
    snapshots: int
    newest: str | None
    age_seconds: float | None
    overdue: bool


@record
class RepositoryStatus:
    """One repository; `problem` says why it could not be read."""

    name: str
    url: str
    tiers: tuple[TierStatus, ...]
    problem: str


@record
class HeartbeatStatus:
    """The last wake and the next, UTC, how many keys are held for a person, and what is wrong."""

    last: str | None
    next: str | None
    held: int
    troubles: tuple[str, ...]


@record
class StatusReport:
    """What `status` shows."""

    agent: str
    workspace: str
    did: str
    identity_version: int
    host: str
    classes: dict[str, Total]
    repositories: tuple[RepositoryStatus, ...]
    alarms: tuple[AlarmRow, ...]
    secrets: dict[str, str]
    heartbeat: HeartbeatStatus | None


def status(context: typer.Context) -> None:
    """Show the agent: identity, files by class, and when it was last backed up where."""
    ctx: Context = context.obj
    with ctx.working():
        found = survey(ctx.layout.root, Classifier(ctx.settings.classes))
        report = StatusReport(
            agent=ctx.settings.name,
            workspace=str(ctx.layout.root),
            did=ctx.log.did,
            identity_version=ctx.log.version,
            host=ctx.keystore.host,
            classes={str(path_class): total for path_class, total in found.totals.items()},
            repositories=tuple(_repository(ctx, config) for config in ctx.agent.repositories),
            alarms=tuple(map(row_of, read_alarms(ctx.agent_state))),
            secrets=_overdue(ctx),
            heartbeat=_heartbeat(ctx),
        )
    ctx.output.result("status", report, lambda: _text(report))
    late = any(each.problem or any(tier.overdue for tier in each.tiers) for each in report.repositories)
    late = late or bool(report.heartbeat and report.heartbeat.troubles)
    if late or report.alarms or report.secrets or not report.repositories:
        raise typer.Exit(3)


def _repository(ctx: Context, config: RepositoryConfig) -> RepositoryStatus:
    try:
        opened = ctx.repository(config, host_keyring(ctx))
        state = read_state(opened, ctx.pin(opened))
    except AntsmemError as error:
        return RepositoryStatus(config.name, config.url, (), str(error))
    held = {HOT: (state.ids, ctx.settings.hot), COLD: (state.anchor.cold, ctx.settings.cold)}
    born_ns, tiers = parse_moment(ctx.log.created, ctx.now_ns), []
    for tier, (ids, settings) in held.items():
        since_ns = time_of(ids[-1]) if ids else born_ns
        age = (ctx.now_ns - since_ns) / 1e9
        overdue = not -_SKEW_SECONDS <= age <= 2 * settings.interval_seconds  # how old the future is, nobody knows
        newest = utc_text(since_ns) if ids else None
        tiers.append(TierStatus(tier, len(ids), newest, age if ids else None, overdue))
    return RepositoryStatus(config.name, config.url, tuple(tiers), "")


def _overdue(ctx: Context) -> dict[str, str]:
    """Name → why somebody should look at that secret."""
    found: dict[str, str] = {}
    for secret in ctx.keystore.secrets:
        days = (ctx.now_ns - parse_moment(secret.changed, ctx.now_ns)) // _DAY_NS
        if secret.state == "quarantined":
            found[secret.name] = f"waits for somebody to vouch for it: antsmem secret verify {secret.name}"
        elif secret.state == "pending" and days > _PENDING_DAYS:
            found[secret.name] = f"its next value was made ready {days} days ago, and is not in use"
        elif secret.state == "active" and secret.kind == "rotating" and days > _ROTATING_DAYS:
            found[secret.name] = f"is {days} days old: antsmem secret rotate {secret.name}"
    return found


def _heartbeat(ctx: Context) -> HeartbeatStatus | None:
    """How the heartbeat does; None where there was no wake yet."""
    from antsmem.cli.posts import opened_journal, own_post
    from antsmem.heartbeat.lastwake import last_wake_path, read_last_wake
    from antsmem.heartbeat.status import look

    here = own_post(ctx)
    last = read_last_wake(last_wake_path(here.folder, here.agent))
    if last is None:
        return None
    journal = opened_journal(ctx)
    found = look(journal, last, here.standing(journal), ctx.now_ns)
    return HeartbeatStatus(found.ended or found.began, found.next, len(found.questions), found.troubles)


def _text(report: StatusReport) -> str:
    lines = [
        f"{report.agent} in {report.workspace}, on {report.host}",
        f"identity  {report.did} (version {report.identity_version})",
        table([(f"{name}", f"{t.files} files", size(t.size_bytes)) for name, t in report.classes.items()]),
    ]
    for repository in report.repositories:
        lines.append(f"{repository.name}  {repository.url}")
        if repository.problem:
            lines.append(f"  problem: {repository.problem}")
        for tier in repository.tiers:
            when = f"newest {ago(tier.age_seconds)} ago" if tier.age_seconds is not None else "none yet"
            if (tier.age_seconds or 0) < -_SKEW_SECONDS:
                when = "the newest is of the future: was the clock set back?"
            late = "  OVERDUE" if tier.overdue else ""
            lines.append(f"  {tier.tier:5} {tier.snapshots} snapshots, {when}{late}")
    lines += [f"ALARM  {alarm.text}" for alarm in report.alarms]
    lines += [f"secret {name}: {why}" for name, why in report.secrets.items()]
    if (beat := report.heartbeat) is not None:
        lines.append(f"heartbeat  last {beat.last}, next {beat.next or 'nothing'}, {beat.held} held for you")
        lines += [f"  trouble: {', '.join(beat.troubles)}; see antsmem heartbeat status"] if beat.troubles else []
    if not report.repositories:
        lines.append("no repository is configured: antsmem repository add NAME URL")
    return "\n".join(lines)
