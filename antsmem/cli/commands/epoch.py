"""`antsmem epoch`: which week is sealed to which key, and how one is made unreadable for ever."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.repository import read_state
from antsmem.backup.tombstones import names_in
from antsmem.cli.context import Context
from antsmem.cli.epochs import (
    PERIOD,
    cold_archives,
    current_epochs,
    epoch_files,
    first_day,
    opened_epochs,
    tombstones,
    with_tombstone,
)
from antsmem.cli.group import group
from antsmem.cli.keys import host_keyring, key_files, read_kit
from antsmem.cli.kits import require_own
from antsmem.cli.output import size, table
from antsmem.core.errors import AntsmemError, CannotUnlockError, NotFoundError, UsageError
from antsmem.core.record import record, replace

if TYPE_CHECKING:
    from antsmem.backup.erase import EraseJob, ErasePlan, Moved
    from antsmem.backup.repository import Keyring, Repository
    from antsmem.core.age import Identity
    from antsmem.identity.recovery import RecoveryKit

app = group("Weeks and their keys: list, destroy.")


@record
class EpochUse:
    """What a repository holds of an epoch. Of a cold one, archives are known by their week unless a kit told."""

    repository: str
    packs: int
    hot: int
    cold: int
    size_bytes: int


@record
class EpochRow:
    """An epoch: its week, whether backups are sealed to it now, which keys open it, where it is used."""

    name: str
    tier: str
    first_day: str
    last_day: str
    current: bool
    destroyed: bool
    opened_by: tuple[str, ...]
    uses: tuple[EpochUse, ...]


@record
class ListReport:
    """All epochs; `failed` maps a repository that could not be looked at to why."""

    epochs: tuple[EpochRow, ...]
    failed: dict[str, str]


@record
class PlanReport:
    """What destroying an epoch would do in each repository."""

    epoch: str
    repositories: tuple[ErasePlan, ...]
    failed: dict[str, str]


@record
class DestroyReport:
    """An epoch that was destroyed, or (not `done`) still has to be in the repositories that `failed`."""

    epoch: str
    done: bool
    repositories: tuple[Moved, ...]
    failed: dict[str, str]


@app.command("list")
def list_(
    context: typer.Context,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit: tells whose each cold archive is.")] = None,
) -> None:
    """List the epochs: week, what is sealed to each in every repository, and which keys open it."""
    ctx: Context = context.obj
    files, failed = epoch_files(ctx), dict[str, str]()
    own = _own_kit(ctx, kit)
    opened = {
        "host": opened_epochs(files, [ctx.unlocked]),
        "kit": opened_epochs(files, [own.identity]) if own else {},
    }
    uses = _uses(ctx, opened["host"] | opened["kit"], failed)
    current, rows = current_epochs(ctx), []
    for name in sorted({*files, *names_in(tombstones(ctx))}, key=lambda name: (first_day(name), name)):
        who = [who for who, found in opened.items() if name in found]
        if kit is None and name in files:
            who.append("kit")  # sealed to it always; proven with --kit and by a drill
        rows.append(
            EpochRow(
                name=name,
                tier=name.partition("-")[0],
                first_day=first_day(name).isoformat(),
                last_day=(first_day(name) + PERIOD - timedelta(1)).isoformat(),
                current=name in current,
                destroyed=name not in files,
                opened_by=tuple(who),
                uses=tuple(use for place in uses if (use := place.get(name))),
            )
        )
    report = ListReport(tuple(rows), failed)
    ctx.output.result("epoch-list", report, lambda: _list_text(report))
    if failed:
        raise typer.Exit(3)


@app.command()
def destroy(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="An epoch, such as `hot-20261116`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become unreadable, and do nothing.")
    ] = False,
    kit: Annotated[
        Path | None, typer.Option(help="The recovery kit: where cold epochs share a week, or hosts a repository.")
    ] = None,
) -> None:
    """Make what only one epoch holds unreadable for ever: its key is deleted everywhere."""
    ctx: Context = context.obj
    with ctx.working():
        files = epoch_files(ctx)
        _refuse(ctx, name, files)
        own = _own_kit(ctx, kit)
        jobs, failed = _jobs(ctx, name, _key_of(ctx, name, own, files), own)
        plan = _plan(name, jobs, failed)
        if dry_run:
            ctx.output.result("epoch-plan", plan, lambda: _plan_text(plan))
            return
        ctx.output.note(_plan_text(plan))
        if not yes:
            _ask(ctx, name)
        done = _erase(ctx, jobs, failed)
        if not failed:
            _forget_here(ctx, name)
    report = DestroyReport(name, not failed, done, {place: str(error) for place, error in failed.items()})
    ctx.output.result("epoch-destroy", report, lambda: _destroyed_text(report))
    if failed:
        raise typer.Exit(3)


def _refuse(ctx: Context, name: str, files: dict[str, bytes]) -> None:
    if name in current_epochs(ctx):
        raise UsageError(
            f"`{name}` is the epoch to which backups are sealed now: not destroyed",
            hint="it can be destroyed when its week is over",
        )
    if name not in files and name not in names_in(tombstones(ctx)):
        raise NotFoundError(f"no epoch is named `{name[:80]}` on this host", hint="antsmem epoch list")


def _own_kit(ctx: Context, kit: Path | None) -> RecoveryKit | None:
    """The recovery kit of this agent, if one is named."""
    if kit is None:
        return None
    own = read_kit(kit)
    require_own(ctx, own)
    return own


def _key_of(ctx: Context, name: str, kit: RecoveryKit | None, files: dict[str, bytes]) -> Identity | None:
    """The epoch's key, to see what is sealed to it. A cold one only the kit gives."""
    key = opened_epochs(files, [ctx.unlocked, *([kit.identity] if kit else [])]).get(name)
    if key is None and name in files and name.startswith("hot-"):
        raise UsageError(f"no key here opens epoch `{name}`", hint="name the recovery kit with --kit FILE")
    return key


def _jobs(
    ctx: Context, name: str, key: Identity | None, kit: RecoveryKit | None
) -> tuple[dict[str, tuple[Repository, EraseJob]], dict[str, AntsmemError]]:
    """What is to be done in each repository that can be reached, and why the others cannot."""
    from antsmem.backup.erase import EraseJob

    keys = host_keyring(ctx, "hot", "cold")
    if key is not None:
        keys = replace(keys, identities=[*keys.identities, key])
    jobs: dict[str, tuple[Repository, EraseJob]] = {}
    failed: dict[str, AntsmemError] = {}
    for config in ctx.agent.repositories:
        try:
            opened = ctx.repository(config, keys)
            if kit is not None:
                opened = _with_all_epochs(opened, kit)
            pin = ctx.pin(opened)
            archives = read_state(opened, pin).anchor.cold if name.startswith("cold-") else ()
            job = EraseJob(
                epoch=name,
                key=key,
                keys=_afterwards(ctx, opened.keys, name),
                now_ns=ctx.now_ns,
                pin=pin,
                cold=cold_archives(opened, name, key, archives) if archives else (),
                progress=ctx.output.progress("moving what is still needed"),
            )
        except AntsmemError as error:
            if error.exit_code in {2, 4}:
                raise
            failed[config.name] = error
            ctx.output.error(error)
        else:
            jobs[config.name] = opened, job
    return jobs, failed


def _with_all_epochs(opened: Repository, kit: RecoveryKit) -> Repository:
    """The repository with the keys of other hosts' epochs too: what they still need has to be known."""
    epochs, _ = key_files(opened.store)
    keys = opened_epochs({name.removesuffix(".age"): data for name, data in epochs.items()}, [kit.identity])
    return replace(opened, keys=replace(opened.keys, identities=[*opened.keys.identities, *keys.values()]))


def _afterwards(ctx: Context, keys: Keyring, name: str) -> Keyring:
    """The keys that travel once the epoch is gone: its tombstone instead of its file."""
    carried = {each: data for each, data in keys.carried.items() if each != f"{name}.age"}
    return replace(keys, carried=carried | {ctx.identity_files.destroyed.name: with_tombstone(ctx, keys, name)})


def _plan(name: str, jobs: dict[str, tuple[Repository, EraseJob]], failed: dict[str, AntsmemError]) -> PlanReport:
    from antsmem.backup.erase import plan_erase

    plans = []
    for repository, job in jobs.values():
        try:
            plans.append(plan_erase(repository, read_state(repository, job.pin), job))
        except CannotUnlockError:
            raise CannotUnlockError(
                f"`{repository.store.url}` holds snapshots of another host: what they still need is not known",
                hint="name the recovery kit with --kit FILE",
            ) from None
    return PlanReport(name, tuple(plans), {place: str(error) for place, error in failed.items()})


def _ask(ctx: Context, name: str) -> None:
    """Have a person type the name; `UsageError` where nobody can, or it is another one."""
    if ctx.options.no_input or not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked: nothing destroyed", hint="--yes does it unasked")
    sys.stderr.write("this cannot be undone; type the epoch's name to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != name:
        raise UsageError("another name was typed: nothing destroyed")


def _erase(
    ctx: Context, jobs: dict[str, tuple[Repository, EraseJob]], failed: dict[str, AntsmemError]
) -> tuple[Moved, ...]:
    from antsmem.backup.erase import erase

    done = []
    for place, (repository, job) in jobs.items():
        try:
            moved = erase(repository, job)
        except AntsmemError as error:
            if error.exit_code == 2:
                raise
            failed[place] = error
            ctx.output.error(error)
        else:
            ctx.keep_pin(repository, moved.pin)
            done.append(moved)
    return tuple(done)


def _forget_here(ctx: Context, name: str) -> None:
    """Delete the key on this host and keep its tombstone, in one step."""
    from antsmem.identity.change import save_change

    files, keystore = ctx.identity_files, ctx.keystore
    stones = with_tombstone(ctx, host_keyring(ctx), name)
    changed = {files.destroyed.name.removesuffix(".jsonl"): stones, f"epochs/{name}.age": None}
    save_change(files, keystore, ctx.unlocked, changed)
    ctx.forget_identity()


def _uses(ctx: Context, epochs: dict[str, Identity], failed: dict[str, str]) -> list[dict[str, EpochUse]]:
    """What each repository holds of each epoch."""
    from antsmem.backup.epochs import HOT_FOLDERS, sealed_to

    found = []
    for config in ctx.agent.repositories:
        try:
            opened = ctx.repository(config, host_keyring(ctx))
            state = read_state(opened, ctx.pin(opened))
            held = sealed_to(opened, epochs, (*HOT_FOLDERS, "cold"))
            sizes = {item.name: item.size_bytes for item in opened.store.list("cold")}
        except AntsmemError as error:
            failed[config.name] = str(error)
            ctx.output.error(error)
            continue
        uses = {}
        for name in epoch_files(ctx):
            if name in held:
                cold, total = tuple(held[name].cold), held[name].size_bytes
            elif name.startswith("cold-"):
                try:
                    cold = cold_archives(opened, name, None, state.anchor.cold)
                except UsageError:  # several epochs share the week
                    continue
                total = sum(sizes.get(f"cold/{i}.tar.zst.age", 0) for i in cold)
            else:
                continue
            hot = len(held[name].hot) if name in held else 0
            packs = len(held[name].packs) if name in held else 0
            uses[name] = EpochUse(config.name, packs, hot, len(cold), total)
        found.append(uses)
    return found


def _list_text(report: ListReport) -> str:
    rows = []
    for row in report.epochs:
        state = "destroyed" if row.destroyed else "current" if row.current else ""
        uses = "; ".join(
            f"{use.repository}: "
            + (f"{use.packs} packs, {use.hot} snapshots" if row.tier == "hot" else f"{use.cold} archives")
            + f", {size(use.size_bytes)}"
            for use in row.uses
        )
        rows.append((row.name, f"{row.first_day} … {row.last_day}", state, " ".join(row.opened_by), uses or "-"))
    return table(rows, ("epoch", "week", "", "opened by", "sealed to it"))


def _plan_text(plan: PlanReport) -> str:
    lines = [f"destroying `{plan.epoch}` makes unreadable for ever:"]
    for place in plan.repositories:
        gone = [*place.hot, *place.cold]
        named = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
        lines.append(f"  {place.repository}: {len(gone)} snapshots{': ' if gone else ''}{named}")
        lines.append(
            f"    {place.packs} packs, {size(place.pack_bytes)}; {place.shared_objects} objects in "
            f"{place.shared_packs} of them are needed by other snapshots and move to the current epoch"
        )
    lines += [f"  {name}: not reached, so nothing of it is destroyed yet" for name in plan.failed]
    return "\n".join(lines)


def _destroyed_text(report: DestroyReport) -> str:
    lines = [
        f"{place.repository}: {len(place.snapshots) + len(place.cold)} snapshots are gone, {place.packs} packs "
        f"({size(place.freed_bytes)}) deleted, {size(place.written_bytes)} written anew for other snapshots"
        for place in report.repositories
    ]
    if not report.done:
        return "\n".join([*lines, f"`{report.epoch}` is not destroyed everywhere: run the same command again"])
    lines.append(f"the key of `{report.epoch}` is deleted here and in every repository")
    lines.append(
        "copies elsewhere are not: another copy of a repository's keys/ or of this directory, and versions that a "
        "provider keeps, still open what was sealed to it"
    )
    return "\n".join(lines)
