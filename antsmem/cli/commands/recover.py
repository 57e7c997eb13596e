"""`antsmem recover`: an empty machine becomes a host of an agent whose machine is lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.publish import publish_keys
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import IDENTITY_LOG, Repository, open_repository, read_state
from antsmem.backup.restore import RestoreResult, plan_restore, refuse_target, restore_to
from antsmem.backup.snapshot import COLD
from antsmem.backup.tombstones import merged, names_in
from antsmem.cli.commands.open import choose, driver_options
from antsmem.cli.commands.restore import text
from antsmem.cli.context import Context
from antsmem.cli.gate import GateOptions, given_anchors, pass_gate
from antsmem.cli.keys import host_keyring, key_files, recovery_keyring
from antsmem.cli.kits import kit_or_guardians
from antsmem.cli.ledger import publish_to, renew_escrow, warn_of
from antsmem.cli.relays import newest_log
from antsmem.core.config import ANCHOR_PREFIX, AgentConfig, RepositoryConfig, agent_path, write_agent
from antsmem.core.disk import read_file, write_file
from antsmem.core.record import record, replace
from antsmem.workspace.layout import Layout
from antsmem.workspace.settings import name_from

if TYPE_CHECKING:
    from antsmem.identity.gate import Gated, Verdict
    from antsmem.identity.recover import RecoveredIdentity
    from antsmem.identity.recovery import RecoveryKit

_LIMIT = 1 << 20


@record
class RecoverReport:
    """An agent brought back: what was restored, the identity's version that names this host, and what became of
    each secret. `ledger` is the number of rows of its ledger, `witnesses` who vouched for it, `silent` who did
    not answer, `retired` which other hosts were revoked."""

    restored: RestoreResult
    did: str
    identity_version: int
    host: str
    repository: str
    escrow: str
    secrets: tuple[Verdict, ...]
    ledger: int
    witnesses: tuple[str, ...]
    silent: dict[str, str]
    retired: tuple[str, ...]


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
    retire: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A lost host of another name, whose key is revoked; several times."),
    ] = None,
    secrets: Annotated[
        Path | None, typer.Option(help="The newest secrets-escrow.age. Default: what this machine keeps.")
    ] = None,
    anchor: Annotated[
        list[str] | None, typer.Option(help="Another repository, or git+URL, to ask for the newest ledger.")
    ] = None,
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Take secrets though nobody says how new the ledger is.")
    ] = False,
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
    given = GateOptions(secrets, anchor or (), accept_stale)
    log = newest_log(ctx, opened.store.get(IDENTITY_LOG))
    _require_hosts(log, retire or ())
    gated = pass_gate(ctx, opened, config, (own, log), given)
    restored = _restore(ctx, opened, tier, chosen, layout.root)
    ctx = Context(replace(ctx.options, workspace=str(layout.root)), ctx.environment)
    new_host = (own, log, escrow, (name_from(host or ctx.host), *(retire or ())), given)
    identity, escrow_path = _become_host(ctx, opened, config, layout, new_host, gated)
    published = ctx.repository(config, host_keyring(ctx, "hot", "cold"))
    ctx.keep_pin(published, publish_keys(published))
    unpublished = _publish_ledger(ctx, config, given)
    report = _report(restored, identity, gated, config.url, escrow_path, retire or ())
    ctx.output.result("recover", report, lambda: _text(ctx, report))
    if not restored.complete or unpublished:
        raise typer.Exit(3)


def _require_hosts(log: bytes, hosts: Sequence[str]) -> None:
    from antsmem.identity.log import parse_log
    from antsmem.identity.recovery import require_hosts

    require_hosts(parse_log(log), hosts)


def _report(
    restored: RestoreResult,
    identity: RecoveredIdentity,
    gated: Gated,
    repository: str,
    escrow: Path,
    retired: Sequence[str],
) -> RecoverReport:
    return RecoverReport(
        restored=restored,
        did=identity.log.did,
        identity_version=identity.log.version,
        host=identity.keystore.host,
        repository=repository,
        escrow=str(escrow),
        secrets=gated.verdicts,
        ledger=identity.ledger.seq if identity.ledger else 0,
        witnesses=gated.witnesses,
        silent=dict(gated.silent),
        retired=tuple(retired),
    )


def _publish_ledger(ctx: Context, config: RepositoryConfig, given: GateOptions) -> bool:
    """Tell the anchors who goes on with the ledger, renew the secrets' escrow; whether somebody did not hear."""
    if ctx.custody is None:
        return False
    kept = renew_escrow(ctx, ctx.custody)
    own = [each for each in ctx.anchors() if each.name == config.name]
    failed = publish_to(ctx, ctx.custody, [*own, *given_anchors(ctx, config, given.anchors)]).failed
    warn_of(ctx, {name: str(error) for name, error in failed.items()})
    return bool(failed) or kept is None


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
    given: tuple[RecoveryKit, bytes, Path | None, tuple[str, ...], GateOptions],
    gated: Gated,
) -> tuple[RecoveredIdentity, Path]:
    """New host and op keys, one more entry in the identity log, and this host's configuration. `given` names the
    host, and those to retire."""
    from antsmem.identity.escrow import keep_escrow
    from antsmem.identity.files import IdentityFiles
    from antsmem.identity.guardians import bring_guardians
    from antsmem.identity.keyfiles import DESTROYED_LIST
    from antsmem.identity.recover import SavedIdentity, recover_identity

    kit, log, escrow, (host, *retire), options = given
    store = opened.store
    epochs, others = key_files(store)
    stones = others.get(DESTROYED_LIST, b"")
    saved = SavedIdentity(
        log=log,
        epochs=epochs,
        escrow=read_file(escrow, _LIMIT) if escrow else None,
        gated=gated,
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
    recovered = recover_identity(kit, saved, host, files, ctx.now_ns, retire=retire)
    bring_guardians(files.guardians, others, kit, recovered.keystore)
    if stones:
        write_file(files.destroyed, [merged(b"", stones, opened.keys)])
    escrow_path = keep_escrow(ctx.data_dir / recovered.log.scid / "escrow", recovered.escrow, ctx.now_ns)
    anchors = {f"anchor-{n}": url for n, url in enumerate(options.anchors, 1) if url.startswith(ANCHOR_PREFIX)}
    agent = AgentConfig(str(layout.root), str(host_key), str(escrow_path.parent), (config,), anchors)
    write_agent(agent_path(ctx.config_dir, recovered.log.scid), agent)
    return recovered, escrow_path


def _text(ctx: Context, report: RecoverReport) -> str:
    return "\n".join(
        [
            text(ctx, report.restored),
            f"this machine is now host `{report.host}` of {report.did} (version {report.identity_version}); "
            "an old host of the same name is revoked" + "".join(f", so is `{name}`" for name in report.retired),
            f"backups go on to {report.repository}; the sealed keys' escrow is {report.escrow}",
            *_of_secrets(ctx, report),
        ]
    )


def _of_secrets(ctx: Context, report: RecoverReport) -> list[str]:
    """What became of the secrets: those that a person has to do something about, each; the others counted."""
    by_state: dict[str, list[Verdict]] = {}
    for verdict in report.secrets:
        by_state.setdefault(verdict.state, []).append(verdict)
    lines = []
    if back := by_state.pop("active", []):
        lines.append(f"secrets that are back: {', '.join(each.name for each in back)}")
    for each in [each for state in ("quarantined", "withheld", "pending") for each in by_state.pop(state, [])]:
        todo = {
            "quarantined": f"antsmem secret verify {each.name}, or --accept-stale",
            "withheld": f"issue it anew, then: antsmem secret set {each.name}",
            "pending": f"antsmem secret rotate {each.name} --activate",
        }
        lines.append(f"secret {each.name} is {each.state} ({each.why}): {todo[each.state]}")
    ended = [each for verdicts in by_state.values() for each in verdicts]
    if ended and ctx.options.verbose:
        lines += [f"secret {each.name} version {each.version} stays {each.why}" for each in ended]
    elif ended:
        lines.append(f"{len(ended)} revoked or superseded versions stay so (-v lists them)")
    return lines
