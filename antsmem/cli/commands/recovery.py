"""`antsmem recovery`: which ways back there are, who may open them, and whether they do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.repository import IDENTITY_LOG, open_repository, read_state
from antsmem.cli.commands.rotate import publish_everywhere
from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.keys import host_keyring, key_files, read_kit, recovery_keyring
from antsmem.cli.kits import guardian_identities, kit_or_guardians, newest_guardians, require_own
from antsmem.core import canonical
from antsmem.core.clock import utc_text
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, UsageError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.backup.rehearse import Opening
    from antsmem.core.age import Identity
    from antsmem.core.config import RepositoryConfig
    from antsmem.identity.guardians import GuardianSet
    from antsmem.identity.recovery import RecoveryKit

app = group("Ways back to the agent: show, add-guardian, drill.")
_LIMIT = 1 << 20
_SHOWN_LETTERS = 16


@record
class GuardiansReport:
    """The guardians in force: who, of whom how many are needed, and which repositories carry their files."""

    threshold: int
    guardians: tuple[str, ...]
    files: int
    published: tuple[str, ...]
    failed: dict[str, str]


@record
class PlaceReport:
    """A repository as a way back: how many snapshots it holds, and whether the guardians' files are there."""

    name: str
    url: str
    hot: int
    cold: int
    guardians: bool
    problem: str


@record
class ShowReport:
    """What there is to come back by. `drilled` maps a way to when it last opened."""

    kits: int
    threshold: int
    guardians: tuple[str, ...]
    escrow: str
    repositories: tuple[PlaceReport, ...]
    drilled: dict[str, str]


@record
class WayReport:
    """A way back that was tried: `places` maps what was opened (`identity`, a repository's name) to each step."""

    way: str
    open: bool
    places: dict[str, tuple[Opening, ...]]


@record
class DrillReport:
    """How a drill went."""

    time: str
    ways: tuple[WayReport, ...]


@app.command()
def show(context: typer.Context) -> None:
    """Show the ways back to this agent: kit, guardians, repositories, escrow, and when they were last tried."""
    ctx: Context = context.obj
    guardians = _guardians(ctx)
    escrow = _newest_escrow(ctx)
    report = ShowReport(
        kits=len(ctx.keystore.recovery_recipients),
        threshold=guardians.threshold if guardians else 0,
        guardians=_short(guardians.recipients) if guardians else (),
        escrow=str(escrow or ""),
        repositories=tuple(_place(ctx, config) for config in ctx.agent.repositories),
        drilled=_drilled(ctx),
    )
    ctx.output.result("recovery-show", report, lambda: _show_text(report))


@app.command("add-guardian")
def add_guardian(
    context: typer.Context,
    recipient: Annotated[
        list[str] | None,
        typer.Argument(help="Age public keys (`age1…`), one a guardian. Default: standard input, one a line."),
    ] = None,
    threshold: Annotated[
        int, typer.Option(metavar="N", help="How many of them are needed. Default: as before, else 2.")
    ] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="These and nobody else: whoever was a guardian is one no more.")
    ] = False,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit. Default: standard input.")] = None,
) -> None:
    """Let guardians, a few of them together, bring the agent back without the kit."""
    from antsmem.identity.change import save_change
    from antsmem.identity.guardians import (
        GuardianSet,
        check_guardians,
        guardian_change,
        guardian_files,
        guardian_files_in,
        read_guardian_set,
        readers_of,
    )
    from antsmem.identity.keyfiles import newest_set

    ctx: Context = context.obj
    given = _recipients(recipient, kit)
    with ctx.working():
        own = kit_or_guardians(ctx, kit, None, {})
        require_own(ctx, own)
        known = newest_guardians(ctx)
        before = None if replace else read_guardian_set(known, [ctx.unlocked, own.identity], ctx.log)
        kept = tuple(each for each in before.recipients if each not in given) if before else ()
        wanted = (*kept, *given)
        needed = threshold or (before.threshold if before else min(2, len(wanted)))
        check_guardians(wanted, needed)
        if set(wanted) & set(readers_of(ctx.keystore)):
            raise UsageError("this agent's own key is no guardian", hint="name the public keys of other people")
        files = ctx.identity_files
        there = guardian_files_in(files.guardians)
        made = GuardianSet(newest_set(known) + 1, needed, wanted, utc_text(ctx.now_ns))
        new = guardian_files(own, made, ctx.keystore)
        save_change(files, ctx.keystore, ctx.unlocked, guardian_change(there, new))
        ctx.forget_identity()
        published, failed = publish_everywhere(ctx)
    report = GuardiansReport(
        needed, _short(wanted), len(new), published, {name: str(error) for name, error in failed.items()}
    )
    ctx.output.result("recovery-guardians", report, lambda: _guardians_text(report, bool(there)))
    if failed:
        raise typer.Exit(3)


@app.command()
def drill(
    context: typer.Context,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit; `-` is standard input.")] = None,
    guardian: Annotated[
        list[Path] | None, typer.Option(help="A guardian's age identity file; may be given several times.")
    ] = None,
) -> None:
    """Try the ways back without going them: does each open identity, escrow, epoch keys and snapshots?"""
    ctx: Context = context.obj
    if kit is None and not guardian:
        raise UsageError("which way back?", hint="--kit FILE, and --guardian FILE for each guardian")
    ways = []
    if kit is not None:
        own = read_kit(kit)
        ways.append(_way(ctx, "kit", lambda _files: own))
    if guardian:
        keys: list[Identity] = guardian_identities(guardian)
        ways.append(_way(ctx, "guardians", lambda files: _together(files, keys)))
    report = DrillReport(utc_text(ctx.now_ns), tuple(ways))
    _remember(ctx, report)
    if opened := [way.way for way in report.ways if way.open]:
        from antsmem.cli.levels import saw

        saw(
            ctx, "recovery-drill", {"ways": opened, "repositories": [item.name for item in ctx.agent.repositories]}
        )
    ctx.output.result("recovery-drill", report, lambda: _drill_text(report))
    if sum(way.open for way in report.ways) < 2:
        ctx.output.warn("fewer than two ways back are proven")
        raise typer.Exit(3)


def _together(files: dict[str, bytes], keys: list[Identity]) -> RecoveryKit:
    from antsmem.identity.guardians import open_with_guardians

    return open_with_guardians(files, keys)


def _way(ctx: Context, way: str, kit_of: Callable[[dict[str, bytes]], RecoveryKit]) -> WayReport:
    """Try one way in every repository, as an empty machine would: with what lies there and nothing else."""
    from antsmem.backup.rehearse import Opening, opens, rehearse_identity, rehearse_repository
    from antsmem.identity.log import parse_log

    escrow = _newest_escrow(ctx)
    places: dict[str, tuple[Opening, ...]] = {}
    proven = False
    for config in ctx.agent.repositories:
        try:
            store = ctx.store(config)
            epochs, rest = key_files(store)
            kit = kit_of(rest)
            keys = recovery_keyring(store, kit)
            steps = rehearse_repository(open_repository(store, keys), epochs, kit.identity)
            log = parse_log(store.get(IDENTITY_LOG))
            identity = rehearse_identity(kit, log, read_file(escrow, _LIMIT) if escrow else None)
        except AntsmemError as error:
            places[config.name] = (Opening("keys", str(error)),)
            continue
        places[config.name] = (*identity, *steps)
        proven = proven or opens(places[config.name])
    return WayReport(way, proven, places)


def _recipients(given: list[str] | None, kit: Path | None) -> tuple[str, ...]:
    """The guardians' public keys, from the call or from standard input."""
    words = list(given or ())
    if not words:
        if kit is None or str(kit) == "-" or sys.stdin.isatty():
            raise UsageError("which guardians?", hint="name their age public keys, and the kit with --kit FILE")
        lines = sys.stdin.read(_LIMIT).splitlines()
        words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not words:
        raise UsageError("no guardian is named")
    return tuple(words)


def _guardians(ctx: Context) -> GuardianSet | None:
    """Who the guardians are, by this host's key."""
    from antsmem.identity.guardians import guardian_files_in, read_guardian_set

    return read_guardian_set(guardian_files_in(ctx.identity_files.guardians), [ctx.unlocked], ctx.log)


def _place(ctx: Context, config: RepositoryConfig) -> PlaceReport:
    from antsmem.identity.keyfiles import newest_set

    try:
        opened = ctx.repository(config, host_keyring(ctx))
        state = read_state(opened, ctx.pin(opened))
    except AntsmemError as error:
        return PlaceReport(config.name, config.url, 0, 0, False, str(error))
    carried = newest_set(name.partition("/")[2] for name in state.anchor.files)
    own = newest_set(name for name in opened.keys.carried)
    has = bool(carried) and carried >= own
    return PlaceReport(config.name, config.url, len(state.ids), len(state.anchor.cold), has, "")


def _newest_escrow(ctx: Context) -> Path | None:
    from antsmem.identity.escrow import newest_escrow

    folder = ctx.identity_files.escrow
    return newest_escrow(folder) if folder is not None else None


def _short(recipients: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{recipient[:_SHOWN_LETTERS]}…" for recipient in recipients)


def _drill_file(ctx: Context) -> Path:
    return ctx.agent_state / "drill.json"


def _drilled(ctx: Context) -> dict[str, str]:
    """Way → when it last opened."""
    try:
        found = canonical.loads(read_file(_drill_file(ctx), _LIMIT), _LIMIT)
        return {str(way): str(time) for way, time in found["opened"].items()}
    except (NotFoundError, IntegrityError, KeyError, AttributeError, TypeError):
        return {}  # a record for people: a damaged one is as none


def _remember(ctx: Context, report: DrillReport) -> None:
    opened = _drilled(ctx) | {way.way: report.time for way in report.ways if way.open}
    make_private_dir(ctx.agent_state)
    write_file(_drill_file(ctx), [canonical.dumps({"opened": opened})])


def _show_text(report: ShowReport) -> str:
    last = {way: report.drilled.get(way, "never") for way in ("kit", "guardians")}
    lines = [f"kit        {report.kits} recovery kit opens everything; last tried {last['kit']}"]
    if report.guardians:
        who = ", ".join(report.guardians)
        lines.append(
            f"guardians  any {report.threshold} of {len(report.guardians)}: {who}; last tried {last['guardians']}"
        )
    else:
        lines.append("guardians  none: if the kit is lost with this machine, nothing opens the backups again")
    lines.append(f"escrow     {report.escrow or 'none here'}")
    for place in report.repositories:
        files = "with the guardians' files" if place.guardians else "without guardians' files"
        state = place.problem or f"{place.hot} hot, {place.cold} cold snapshots, {files}"
        lines.append(f"{place.name:10} {place.url}: {state}")
    if not report.repositories:
        lines.append("no repository is configured: antsmem repository add NAME URL")
    return "\n".join(lines)


def _guardians_text(report: GuardiansReport, replaced: bool) -> str:
    lines = [
        f"any {report.threshold} of {len(report.guardians)} guardians bring the agent back: "
        f"{', '.join(report.guardians)}",
        f"{report.files - 1} files, carried by {', '.join(report.published) or 'no repository yet'}; "
        "next: antsmem recovery drill",
    ]
    if replaced:
        lines.append(
            "the files of the set before are gone here; whoever kept a copy can still open it, until "
            "`antsmem identity rotate --new-kit FILE` makes what is in it worthless"
        )
    return "\n".join(lines)


def _drill_text(report: DrillReport) -> str:
    lines = []
    for way in report.ways:
        lines.append(f"{way.way}: {'opens' if way.open else 'DOES NOT OPEN'}")
        for place, steps in way.places.items():
            for step in steps:
                lines.append(f"  {place}: {step.what}: {step.problem or 'opened'}")
    return "\n".join(lines)
