"""`antsmem recover`: an empty machine becomes a host of an agent whose machine is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.publish import publish_keys
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import IDENTITY_LOG, Repository, open_repository, read_state
from antsmem.backup.restore import RestoreResult, plan_restore, refuse_target, restore_to
from antsmem.backup.snapshot import COLD
from antsmem.backup.tombstones import merged, names_in
from antsmem.cli.commands.open import DriverOptions, Guardians, choose, driver_options
from antsmem.cli.commands.restore import text
from antsmem.cli.context import Context
from antsmem.cli.gate import GateOptions, given_anchors, pass_gate
from antsmem.cli.keys import host_keyring, key_files, recovery_keyring
from antsmem.cli.kits import kit_or_guardians
from antsmem.cli.ledger import is_pending, publish_to, renew_escrow, warn_of
from antsmem.cli.relays import newest_log
from antsmem.core.config import ANCHOR_PREFIX, AgentConfig, RepositoryConfig, agent_path, read_agent, write_agent
from antsmem.core.disk import read_file, write_file
from antsmem.core.errors import (
    AntsmemError,
    CannotUnlockError,
    IntegrityError,
    NotFoundError,
    RetiredError,
    WouldOverwriteError,
)
from antsmem.core.record import record, replace
from antsmem.workspace.layout import Layout
from antsmem.workspace.settings import name_from

if TYPE_CHECKING:
    from antsmem.backup.store import Store
    from antsmem.identity.gate import Verdict
    from antsmem.identity.recover import RecoveredIdentity, SavedIdentity
    from antsmem.identity.recovery import RecoveryKit

_LIMIT = 1 << 20


@record
class RecoverReport:
    """An agent brought back: what was restored, the identity's version that names this host, and what became of
    each secret. `ledger` is the number of rows of its ledger, `witnesses` who vouched for it, `silent` who did
    not answer, `retired` which hosts were revoked: the one of the same name and others."""

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
    guardian: Guardians = None,
    option: DriverOptions = None,
    snapshot: Annotated[str, typer.Option(help="An id, `latest`, `hot` or `cold`.")] = "latest",
    escrow: Annotated[Path | None, typer.Option(help="The newest keystore-escrow.age, if it is at hand.")] = None,
    host: Annotated[str, typer.Option(help="What this machine is called in the identity log.")] = "",
    retire: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A lost host of another name, to revoke; may be given several times."),
    ] = None,
    secrets: Annotated[
        Path | None, typer.Option(help="The newest secrets-escrow.age. Default: what this machine keeps.")
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            help="Another repository, or git+URL, to ask for the newest ledger; may be given several times."
        ),
    ] = None,
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Take secrets though nobody says how new the ledger is.")
    ] = False,
    instead: Annotated[
        bool,
        typer.Option("--instead", help="Go on here, not in a workspace of this agent that works on this machine."),
    ] = False,
) -> None:
    """Restore an agent on a new machine with its recovery kit, and make this machine its host."""
    ctx: Context = context.obj
    layout = Layout(Path(os.path.abspath(directory)))
    url = repository if "://" in repository else os.path.abspath(repository)
    config = RepositoryConfig("default", url, driver_options(option or ()))
    given = GateOptions(secrets, anchor or (), accept_stale)
    if (here := _untold(ctx, layout, config)) is not None:
        _tell_of_earlier(here, config, given)
        return
    refuse_target(layout.root, "name another directory, or move this one aside first")
    store = ctx.store(config)
    own = kit_or_guardians(ctx, kit, guardian, key_files(store)[1] if guardian else {})
    opened = open_repository(store, recovery_keyring(store, own, f"`{kit}`"))
    tier, chosen = choose(opened, read_state(opened, None), snapshot, None, ctx.now_ns)
    log = newest_log(ctx, opened.store.get(IDENTITY_LOG))
    before = _configured(ctx, opened.keys.scid, layout.root, instead)
    config = _under_its_name(config, before)
    new = NewHost(own, _saved(store, log, escrow), name_from(host or ctx.host), tuple(retire or ()), given.anchors)
    _require(new)
    new = replace(new, saved=replace(new.saved, gated=pass_gate(ctx, opened, config, (own, log), given)))
    agent = replace(before, workspace=str(layout.root), repositories=_with(config, before))
    _bring_back(ctx, opened, (tier, chosen), agent, new, given)


def _bring_back(
    ctx: Context,
    opened: Repository,
    what: tuple[str, str],
    agent: AgentConfig,
    new: NewHost,
    given: GateOptions,
) -> None:
    """Restore the snapshot `what` (tier, id) as a host's workspace, tell the repository, say what happened."""
    made: list[tuple[RecoveredIdentity, Path]] = []

    def complete(staged: Path) -> None:
        made.append(_become_host(ctx, opened, agent, Layout(staged), new))

    config = agent.repositories[0]
    restored = _restore(ctx, opened, what, Path(agent.workspace), complete)
    here = Context(replace(ctx.options, workspace=agent.workspace), ctx.environment)
    untold = _tell(here, config, given)
    report = _report(restored, made[0], new, config.url)
    here.output.result("recover", report, lambda: _text(here, report))
    if not restored.complete or untold:
        raise typer.Exit(3)


@record
class NewHost:
    """Who is recovered, by which kit, and which host this machine becomes. `retire`: other hosts that are revoked;
    `anchors`: URLs of further anchors."""

    kit: RecoveryKit
    saved: SavedIdentity
    name: str
    retire: tuple[str, ...]
    anchors: Sequence[str]


def _configured(ctx: Context, scid: str, root: Path, instead: bool) -> AgentConfig:
    """What this machine has configured for the agent. `WouldOverwriteError` if that is for another workspace that
    works: two cannot be configured."""
    before = read_agent(agent_path(ctx.config_dir, scid))
    place = Path(before.workspace)
    if not instead and before.workspace and place != root and _works(ctx, place, scid):
        raise WouldOverwriteError(
            f"`{place}` is this agent's workspace on this machine, and it works: nothing restored",
            hint="antsmem restore --to DIR only restores; --instead goes on in the new directory, not in that one",
        )
    return before


def _works(ctx: Context, place: Path, scid: str) -> bool:
    here = Context(replace(ctx.options, workspace=str(place), no_input=True), ctx.environment)
    try:
        return Layout(place).settings.exists() and here.log.scid == scid and here.keystore.scid == scid
    except AntsmemError:
        return False


def _under_its_name(config: RepositoryConfig, before: AgentConfig) -> RepositoryConfig:
    """`config` as it was configured before; else under a name that is free."""
    for each in before.repositories:
        if each.url == config.url:
            return replace(each, options={**each.options, **config.options})
    taken = {each.name for each in before.repositories} | set(before.anchors)
    names = ("default", *(f"recovered-{number}" for number in range(1, len(taken) + 2)))
    return replace(config, name=next(name for name in names if name not in taken))


def _with(config: RepositoryConfig, before: AgentConfig) -> tuple[RepositoryConfig, ...]:
    return (config, *(each for each in before.repositories if each.name != config.name))


def _saved(store: Store, log: bytes, escrow: Path | None) -> SavedIdentity:
    from antsmem.identity.keyfiles import DESTROYED_LIST
    from antsmem.identity.recover import SavedIdentity

    epochs, others = key_files(store)
    data = read_file(escrow, _LIMIT) if escrow else None
    return SavedIdentity(log, epochs, data, destroyed=names_in(others.get(DESTROYED_LIST, b"")))


def _require(new: NewHost) -> None:
    """See what can be seen before anything is restored."""
    from antsmem.identity.log import parse_log
    from antsmem.identity.recover import require_recoverable
    from antsmem.identity.recovery import require_hosts

    require_hosts(parse_log(new.saved.log), new.retire)
    require_recoverable(new.kit, new.saved, new.name)


def _untold(ctx: Context, layout: Layout, config: RepositoryConfig) -> Context | None:
    """The workspace that an earlier run restored and made this machine host of, if the repository was not told
    yet. None: there is no such one, or all is done."""
    from antsmem.identity.log import parse_log

    if not (os.path.lexists(layout.identity_log) and layout.settings.exists()):
        return None
    here = Context(replace(ctx.options, workspace=str(layout.root)), ctx.environment)
    try:
        own = [each for each in here.agent.repositories if each.url == config.url]
        if not own or here.agent.workspace != str(layout.root) or here.keystore.scid != here.log.scid:
            return None
        there = parse_log(here.store(own[0]).get(IDENTITY_LOG))
        behind = here.log.text.startswith(there.text) and there.version < here.log.version
        return here if behind or is_pending(here, own[0].name) else None
    except (CannotUnlockError, IntegrityError, NotFoundError, RetiredError):
        return None


def _tell_of_earlier(here: Context, config: RepositoryConfig, given: GateOptions) -> None:
    """End what an earlier run began: the agent is there, and this machine is its host."""
    from antsmem.identity.escrow import newest_escrow

    own = next(each for each in here.agent.repositories if each.url == config.url)
    untold = _tell(here, replace(own, options={**own.options, **config.options}), given)
    root, log = str(here.layout.root), here.log
    report = RecoverReport(
        restored=RestoreResult("", root, 0, 0, 0, (), (), ()),
        did=log.did,
        identity_version=log.version,
        host=here.keystore.host,
        repository=own.url,
        escrow=str(newest_escrow(Path(here.agent.escrow)) or ""),
        secrets=(),
        ledger=here.custody.ledger.seq if here.custody else 0,
        witnesses=(),
        silent={},
        retired=(),
    )
    said = (
        f"`{root}` was restored before, by a run that was cut off; this machine is host `{report.host}` of "
        f"{report.did} (version {report.identity_version}), and {own.url} knows it now"
    )
    here.output.result("recover", report, said)
    if untold:
        raise typer.Exit(3)


def _tell(ctx: Context, config: RepositoryConfig, given: GateOptions) -> bool:
    """Publish the identity log, the keys and the ledger; whether somebody did not hear."""
    published = ctx.repository(config, host_keyring(ctx, "hot", "cold"))
    ctx.keep_pin(published, publish_keys(published))
    return _publish_ledger(ctx, config, given)


def _report(
    restored: RestoreResult, made: tuple[RecoveredIdentity, Path], new: NewHost, repository: str
) -> RecoverReport:
    from antsmem.identity.document import op_keys_of
    from antsmem.identity.log import parse_log

    identity, escrow = made
    gated = new.saved.gated
    replaced = new.name in op_keys_of(parse_log(new.saved.log).document)
    return RecoverReport(
        restored=restored,
        did=identity.log.did,
        identity_version=identity.log.version,
        host=identity.keystore.host,
        repository=repository,
        escrow=str(escrow),
        secrets=gated.verdicts if gated else (),
        ledger=identity.ledger.seq if identity.ledger else 0,
        witnesses=gated.witnesses if gated else (),
        silent=dict(gated.silent) if gated else {},
        retired=((new.name,) if replaced else ()) + new.retire,
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


def _restore(
    ctx: Context, opened: Repository, what: tuple[str, str], root: Path, complete: Callable[[Path], None]
) -> RestoreResult:
    progress = ctx.output.progress("restoring")
    tier, chosen = what
    if tier == COLD:
        from antsmem.backup.thaw import restore_cold

        return restore_cold(opened, chosen, root, progress, complete)
    held = open_snapshot(opened, chosen)
    plan = plan_restore(held, held.entries)
    return restore_to(held, root, plan, salvage=False, progress=progress, complete=complete)


def _become_host(
    ctx: Context, opened: Repository, agent: AgentConfig, staged: Layout, new: NewHost
) -> tuple[RecoveredIdentity, Path]:
    """New host and op keys, one more entry in the identity log, and this host's configuration, for the tree that
    is staged: it becomes visible with all it needs, or not at all."""
    from antsmem.identity.escrow import keep_escrow
    from antsmem.identity.files import IdentityFiles
    from antsmem.identity.guardians import bring_guardians
    from antsmem.identity.keyfiles import DESTROYED_LIST
    from antsmem.identity.recover import recover_identity

    scid = opened.keys.scid
    _, others = key_files(opened.store)
    host_key = ctx.config_dir / "keys" / f"{name_from(scid)[:12]}-{os.urandom(4).hex()}.key"
    files = IdentityFiles(
        log=staged.identity_log,
        keystore=staged.keystore / "keystore.age",
        epochs=staged.keystore / "epochs",
        host_key=host_key,
        backed_up=(staged.root, Path(agent.workspace)),
    )
    recovered = recover_identity(new.kit, new.saved, new.name, files, ctx.now_ns, retire=new.retire)
    try:
        bring_guardians(files.guardians, others, new.kit, recovered.keystore, recovered.log)
        if stones := others.get(DESTROYED_LIST, b""):
            write_file(files.destroyed, [merged(b"", stones, opened.keys)])
        folder = Path(agent.escrow or ctx.data_dir / scid / "escrow")
        escrow = keep_escrow(folder, recovered.escrow, ctx.now_ns)
        agent = replace(agent, host_key=str(host_key), escrow=str(folder), anchors=_anchors(agent, new.anchors))
        write_agent(agent_path(ctx.config_dir, scid), agent)  # last: the tree gets its name next
    except BaseException:
        host_key.unlink(missing_ok=True)
        raise
    return recovered, escrow


def _anchors(agent: AgentConfig, urls: Sequence[str]) -> dict[str, str]:
    """What was configured, and what is given now."""
    found = dict(agent.anchors)
    for url in urls:
        if url.startswith(ANCHOR_PREFIX) and url not in found.values():
            names = (f"anchor-{number}" for number in range(1, len(found) + 2))
            found[next(name for name in names if name not in found)] = url
    return found


def _text(ctx: Context, report: RecoverReport) -> str:
    return "\n".join(
        [
            text(ctx, report.restored),
            f"this machine is now host `{report.host}` of {report.did} (version {report.identity_version})"
            + "".join(_of_retired(name, report.host) for name in report.retired),
            f"backups go on to {report.repository}; the sealed keys' escrow is {report.escrow}",
            *_of_secrets(ctx, report),
        ]
    )


def _of_retired(name: str, host: str) -> str:
    return "; the old host of the same name is revoked" if name == host else f"; `{name}` is revoked"


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
