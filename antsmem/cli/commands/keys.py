"""`antsmem keys`: what is sealed, sealed for those who shall open it now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.publish import publish_keys
from antsmem.cli.context import Context
from antsmem.cli.epochs import (
    current_epochs,
    epoch_files,
    opened_epochs,
    rewrapped_epochs,
    with_foreign_epochs,
)
from antsmem.cli.group import group
from antsmem.cli.keys import host_keyring, read_kit
from antsmem.cli.kits import kit_or_guardians, require_own
from antsmem.cli.ledger import reseal_ledger
from antsmem.cli.output import size
from antsmem.core.errors import AntsmemError, NotFoundError, UsageError
from antsmem.core.record import record, replace

if TYPE_CHECKING:
    from antsmem.backup.erase import Moved

app = group("Who opens what is sealed: rewrap.")


@record
class RewrapReport:
    """Epoch files with new headers. `unreadable`: those that no key given opens, left as they were."""

    files: int
    written_bytes: int
    unreadable: tuple[str, ...]
    published: tuple[str, ...]
    failed: dict[str, str]


@record
class ResealReport:
    """An epoch whose content moved to another one."""

    epoch: str
    to: str
    repositories: tuple[Moved, ...]
    failed: dict[str, str]


@app.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""


@app.command()
def rewrap(
    context: typer.Context,
    kit: Annotated[
        Path | None, typer.Option(help="The recovery kit that counts now. Default: standard input.")
    ] = None,
    old_kit: Annotated[Path | None, typer.Option(help="A former kit, to which files are still sealed.")] = None,
    epoch: Annotated[str, typer.Option(help="With --reseal: the epoch whose key is known to others.")] = "",
    reseal: Annotated[
        bool, typer.Option("--reseal", help="Move what is sealed to --epoch under another one: all is rewritten.")
    ] = False,
) -> None:
    """Seal the epoch keys to this host and the recovery kit in force: new headers, nothing else is rewritten."""
    ctx: Context = context.obj
    if bool(epoch) != reseal:
        raise UsageError("--epoch and --reseal go together", hint="antsmem keys rewrap --epoch NAME --reseal")
    with ctx.working():
        if reseal:
            moved = _reseal(ctx, epoch)
            ctx.output.result("keys-reseal", moved, lambda: _reseal_text(moved))
            failed = moved.failed
        else:
            report = _rewrap(ctx, kit, old_kit)
            ctx.output.result("keys-rewrap", report, lambda: _rewrap_text(report))
            failed = report.failed | dict.fromkeys(report.unreadable, "")
            if not reseal_ledger(ctx):
                failed["ledger"] = ""
    if failed:
        raise typer.Exit(3)


def _rewrap(ctx: Context, kit: Path | None, old_kit: Path | None) -> RewrapReport:
    """Here first, in one step, then in every repository; what another host sealed is taken along there."""
    from antsmem.identity.change import save_change

    own = kit_or_guardians(ctx, kit, None, {})
    require_own(ctx, own)
    identities = [ctx.unlocked, own.identity, *([read_kit(old_kit).identity] if old_kit else [])]
    keystore = replace(
        ctx.keystore,
        recovery_recipients=(str(own.identity.recipient),),
        recovery_hash=own.control_hash(own.generation(ctx.log)),
    )
    unreadable: set[str] = set()
    made = rewrapped_epochs(epoch_files(ctx), identities, keystore, own.identity, unreadable)
    written = sum(map(len, made.values()))
    changed: dict[str, bytes | None] = {f"epochs/{name}.age": data for name, data in made.items()}
    save_change(ctx.identity_files, keystore, ctx.unlocked, changed)
    ctx.forget_identity()
    published, failed = list[str](), dict[str, str]()
    keys = host_keyring(ctx)
    for config in ctx.agent.repositories:
        try:
            opened = ctx.repository(config, keys)
            lent = with_foreign_epochs(opened, identities, keystore, own.identity, unreadable)
            ctx.keep_pin(opened, publish_keys(lent, ctx.pin(opened)))
        except AntsmemError as error:
            failed[config.name] = str(error)
            ctx.output.error(error)
        else:
            published.append(config.name)
            written += sum(len(data) for name, data in lent.keys.carried.items() if name.endswith(".age"))
    return RewrapReport(len(made), written, tuple(sorted(unreadable)), tuple(published), failed)


def _reseal(ctx: Context, name: str) -> ResealReport:
    """Move everything hot that is sealed to `name`; if it is the current epoch, another one is started first."""
    from antsmem.backup.erase import EraseJob, reseal
    from antsmem.identity.rollover import start_epoch

    if name.startswith("cold-"):
        raise UsageError(
            f"`{name}` is a cold epoch: an archive is one sealed piece, and this host does not open it",
            hint=f"antsmem backup --tier cold makes a new one; then antsmem epoch destroy {name}",
        )
    key = opened_epochs(epoch_files(ctx), [ctx.unlocked]).get(name)
    if key is None:
        raise NotFoundError(f"no epoch `{name[:80]}` that this host opens", hint="antsmem epoch list")
    if name in current_epochs(ctx):
        start_epoch(ctx.keystore, "hot", ctx.identity_files, ctx.unlocked, ctx.now_ns)
        ctx.forget_identity()
    keys = host_keyring(ctx, "hot", "cold")
    done, failed = list["Moved"](), dict[str, str]()
    for config in ctx.agent.repositories:
        try:
            opened = ctx.repository(config, keys)
            progress = ctx.output.progress("moving to another epoch")
            job = EraseJob(name, key, opened.keys, ctx.now_ns, ctx.pin(opened), (), progress)
            moved = reseal(opened, job)
            ctx.keep_pin(opened, moved.pin)
        except AntsmemError as error:
            failed[config.name] = str(error)
            ctx.output.error(error)
        else:
            done.append(moved)
    return ResealReport(name, keys.sealing["hot"][0], tuple(done), failed)


def _rewrap_text(report: RewrapReport) -> str:
    lines = [
        f"{report.files} epoch files have new headers, here and in "
        f"{', '.join(report.published) or 'no repository'}: {size(report.written_bytes)}, no backup touched"
    ]
    lines += [f"`{name}` does not open with the keys given: left as it was" for name in report.unreadable]
    lines.append("who could open an epoch before and kept a copy of its file still can")
    return "\n".join(lines)


def _reseal_text(report: ResealReport) -> str:
    lines = [
        f"{place.repository}: {len(place.snapshots)} snapshots and {place.packs} packs moved to `{report.to}`, "
        f"{size(place.written_bytes)} written"
        for place in report.repositories
    ]
    return "\n".join([*lines, f"next: antsmem epoch destroy {report.epoch}"])
