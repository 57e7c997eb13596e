"""`antsmem recover`: an empty machine becomes a host of an agent whose machine is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.publish import publish_keys
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import IDENTITY_LOG, Repository, open_repository, read_state
from antsmem.backup.restore import RestoreResult, plan_restore, refuse_target, restore_to
from antsmem.backup.snapshot import COLD
from antsmem.backup.tombstones import merged, names_in
from antsmem.cli.commands.create import keep_escrow
from antsmem.cli.commands.open import choose, driver_options
from antsmem.cli.commands.restore import text
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring, key_files, recovery_keyring
from antsmem.cli.kits import kit_or_guardians
from antsmem.cli.relays import newest_log
from antsmem.core.config import AgentConfig, RepositoryConfig, agent_path, write_agent
from antsmem.core.disk import read_file, write_file
from antsmem.core.record import record, replace
from antsmem.workspace.layout import Layout
from antsmem.workspace.settings import name_from

if TYPE_CHECKING:
    from antsmem.identity.recover import RecoveredIdentity
    from antsmem.identity.recovery import RecoveryKit

_LIMIT = 1 << 20


@record
class RecoverReport:
    """An agent brought back: what was restored, and the identity's version that names this host."""

    restored: RestoreResult
    did: str
    identity_version: int
    host: str
    repository: str
    escrow: str


def recover(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="The new workspace: must not exist or be empty.")],
    repository: Annotated[str, typer.Option(help="URL of the repository.")],
    kit: Annotated[Path | None, typer.Option(help="The recovery kit. Default: standard input.")] = None,
    guardian: Annotated[
        list[Path] | None, typer.Option(help="A guardian's age identity file, instead of the kit; several times.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the driver; VALUE may be env:NAME.")
    ] = None,
    snapshot: Annotated[str, typer.Option(help="An id, `latest`, `hot` or `cold`.")] = "latest",
    escrow: Annotated[Path | None, typer.Option(help="The newest keystore-escrow.age, if it is at hand.")] = None,
    host: Annotated[str, typer.Option(help="What this machine is called in the identity log.")] = "",
) -> None:
    """Restore an agent on a new machine with its recovery kit, and make this machine its host."""
    ctx: Context = context.obj
    layout = Layout(directory.absolute())
    refuse_target(layout.root)
    found = ctx.named([repository])[0]
    config = replace(found, name="default", options={**found.options, **driver_options(option or ())})
    store = ctx.store(config)
    own = kit_or_guardians(ctx, kit, guardian, key_files(store)[1] if guardian else {})
    opened = open_repository(store, recovery_keyring(store, own, f"`{kit}`"))
    tier, chosen = choose(opened, read_state(opened, None), snapshot, None, ctx.now_ns)
    restored = _restore(ctx, opened, tier, chosen, layout.root)
    ctx = Context(replace(ctx.options, workspace=str(layout.root)), ctx.environment)
    identity, escrow_path = _become_host(ctx, opened, config, layout, (own, escrow, name_from(host or ctx.host)))
    published = ctx.repository(config, host_keyring(ctx, "hot", "cold"))
    ctx.keep_pin(published, publish_keys(published))
    report = RecoverReport(
        restored, identity.log.did, identity.log.version, identity.keystore.host, config.url, str(escrow_path)
    )
    ctx.output.result("recover", report, lambda: _text(ctx, report))
    if not restored.complete:
        raise typer.Exit(3)


def _restore(ctx: Context, opened: Repository, tier: str, chosen: str, root: Path) -> RestoreResult:
    progress = ctx.output.progress("restoring")
    if tier == COLD:
        from antsmem.backup.thaw import restore_cold

        return restore_cold(opened, chosen, root, progress)
    held = open_snapshot(opened, chosen)
    return restore_to(held, root, plan_restore(held, held.entries), salvage=False, progress=progress)


def _become_host(
    ctx: Context,
    opened: Repository,
    config: RepositoryConfig,
    layout: Layout,
    given: tuple[RecoveryKit, Path | None, str],
) -> tuple[RecoveredIdentity, Path]:
    """New host and op keys, one more entry in the identity log, and this host's configuration."""
    from antsmem.identity.files import IdentityFiles
    from antsmem.identity.guardians import bring_guardians
    from antsmem.identity.keyfiles import DESTROYED_LIST
    from antsmem.identity.recover import SavedIdentity, recover_identity

    kit, escrow, host = given
    store = opened.store
    epochs, others = key_files(store)
    stones = others.get(DESTROYED_LIST, b"")
    saved = SavedIdentity(
        log=newest_log(ctx, store.get(IDENTITY_LOG)),
        epochs=epochs,
        escrow=read_file(escrow, _LIMIT) if escrow else None,
        destroyed=names_in(stones),
    )
    host_key = ctx.config_dir / "keys" / f"{name_from(opened.keys.scid)[:12]}-{os.urandom(4).hex()}.key"
    files = IdentityFiles(
        log=layout.identity_log,
        keystore=layout.keystore / "keystore.age",
        epochs=layout.keystore / "epochs",
        host_key=host_key,
        backed_up=(layout.root,),
    )
    recovered = recover_identity(kit, saved, host, files, ctx.now_ns)
    bring_guardians(files.guardians, others, kit, recovered.keystore)
    if stones:
        write_file(files.destroyed, [merged(b"", stones, opened.keys)])
    escrow_path = keep_escrow(ctx.data_dir / recovered.log.scid / "escrow", recovered.escrow, ctx.now_ns)
    agent = AgentConfig(str(layout.root), str(host_key), str(escrow_path.parent), (config,))
    write_agent(agent_path(ctx.config_dir, recovered.log.scid), agent)
    return recovered, escrow_path


def _text(ctx: Context, report: RecoverReport) -> str:
    return (
        f"{text(ctx, report.restored)}\n"
        f"this machine is now host `{report.host}` of {report.did} (version {report.identity_version}); "
        f"an old host of the same name is revoked\n"
        f"backups go on to {report.repository}; the sealed keys' escrow is {report.escrow}"
    )
