"""The planned move as the commands use it: how a new host waits, how an old one departs, how a new one arrives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from antsmem.backup.repository import IDENTITY_LOG, Keyring, open_repository, read_state
from antsmem.backup.restore import RestoreResult
from antsmem.cli.context import Context
from antsmem.core import canonical
from antsmem.core.config import AgentConfig, RepositoryConfig, agent_path, write_agent
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, CannotUnlockError, NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.record import record, replace
from antsmem.identity.files import IdentityFiles
from antsmem.identity.handle import relays_of
from antsmem.identity.log import parse_log
from antsmem.workspace.layout import Layout

if TYPE_CHECKING:
    from antsmem.identity.handover import Offer, Parcel, Pending
    from antsmem.identity.keystore import Keystore
    from antsmem.identity.recovery import RecoveryKit

_LIMIT: Final = 64 << 20
_KEY_LIMIT: Final = 1 << 20


@record
class Arrived:
    """An agent on its new host. `epoch` is that of its work, 0 if it never did any; `problems`: who does not know
    of the move yet."""

    restored: RestoreResult
    did: str
    version: int
    host: str
    epoch: int
    repositories: tuple[str, ...]
    problems: tuple[str, ...]


def new_pending(ctx: Context, host: str) -> Pending:
    """New keys for this machine, kept until an agent comes: the host key as every host key, the op key sealed to
    it."""
    from antsmem.core.age import X25519Identity
    from antsmem.core.hardening import harden
    from antsmem.identity.create import host_key_text
    from antsmem.identity.document import check_host
    from antsmem.identity.handover import Pending, seal_pending
    from antsmem.identity.signing import SigningKey

    harden()
    check_host(host)
    pending = Pending(host, SigningKey.generate(), X25519Identity.generate())
    name = f"move-{os.urandom(4).hex()}"
    key_file, sealed = _places(ctx, name)
    make_private_dir(key_file.parent)
    make_private_dir(sealed.parent)
    write_file(key_file, [host_key_text(pending.host_key, "(to come)", host, ctx.now_ns)], new=True)
    write_file(sealed, [seal_pending(pending)], new=True)
    return pending


def _places(ctx: Context, name: str) -> tuple[Path, Path]:
    return ctx.config_dir / "keys" / f"{name}.key", ctx.config_dir / "moves" / f"{name}.age"


def _note(ctx: Context, name: str) -> Path:
    """What is being restored for the offer `name`, and where to: written before, so that a run that was cut off
    is gone on with."""
    return ctx.config_dir / "moves" / f"{name}.json"


def depart(ctx: Context, offer: Offer, kit: RecoveryKit) -> None:
    """Start nothing any more, back up, and name the new host in the identity log instead of this one."""
    from antsmem.cli.hourly import back_up
    from antsmem.cli.kits import require_own
    from antsmem.cli.posts import opened_journal, own_post
    from antsmem.identity.handover import hand_over

    keystore = ctx.keystore  # a host that was retired stops here
    require_own(ctx, kit)
    kit.generation(ctx.log)
    journal = opened_journal(ctx)
    if journal.name:
        own_post(ctx).retire(journal, ctx.now_ns)
    quiet = Context(replace(ctx.options, json=False, quiet=True), ctx.environment)
    if back_up(quiet):
        raise UsageError(
            "the last backup is not complete: nothing handed over",
            hint="antsmem backup says why; antsmem heartbeat take-over --old-host-off lets this host go on",
        )
    with ctx.working():
        hand_over(kit, keystore, ctx.identity_files, ctx.unlocked, ctx.now_ns, offer)
    ctx.forget_identity()


def sealed_for(ctx: Context, offer: Offer) -> tuple[bytes, Keystore]:
    """The parcel for the new host, and this host's keystore."""
    from antsmem.cli.keys import _travelling
    from antsmem.identity.custody import open_custody
    from antsmem.identity.handover import Parcel, epochs_for, seal_parcel
    from antsmem.identity.keystore import known_values, open_keystore

    files = ctx.identity_files
    keystore = open_keystore(files.keystore, [ctx.unlocked])
    ctx.output.hide(lambda: known_values(keystore))
    custody = open_custody(ctx.access, keystore)
    epochs = {path.name: read_file(path, _KEY_LIMIT) for path in files.epochs.glob("*.age")}
    hot = epochs_for(epochs, ctx.unlocked, keystore, offer.recipient)
    rest = {name: data for name, data in epochs.items() if name.startswith("cold-")}
    agent = ctx.agent
    parcel = Parcel(
        agent=keystore.agent,
        log=ctx.log,
        recovery_recipients=keystore.recovery_recipients,
        recovery_hash=keystore.recovery_hash,
        fingerprint_key=keystore.fingerprint_key,
        secrets=custody.keystore.secrets,  # as the ledger wants them, also where the keystore is an older copy
        ledger=custody.ledger if custody.ledger.rows else None,
        epochs=hot,
        carried={**rest, **_travelling(ctx, files)},
        place={
            "repositories": {each.name: each.url for each in agent.repositories},
            "anchors": dict(agent.anchors),
        },
    )
    return seal_parcel(parcel, keystore, offer), keystore


def arrive(ctx: Context, root: Path, data: bytes, url: str, options: Mapping[str, str]) -> Arrived:
    """Restore the newest snapshot, become the host that the parcel names, tell everybody, take the work over.
    After a failure the same call goes on where it stopped."""
    from antsmem.backup.publish import publish_keys
    from antsmem.cli.keys import host_keyring
    from antsmem.identity.take_in import take_in

    parcel, pending, name = _opened(ctx, data)
    configs = _repositories(parcel, url, options)
    restored = _restored_before(ctx, name, root, parcel) or _restored(
        ctx, (parcel, pending, name), configs[0], root
    )
    layout, scid = Layout(root), parcel.log.scid
    files = IdentityFiles(
        log=layout.identity_log,
        keystore=layout.keystore / "keystore.age",
        epochs=layout.keystore / "epochs",
        host_key=_places(ctx, name)[0],
        backed_up=(root,),
    )
    if not os.path.lexists(files.keystore):
        take_in(parcel, pending, files, ctx.now_ns)
    agent = AgentConfig(
        str(root),
        str(files.host_key),
        str(ctx.data_dir / scid / "escrow"),
        configs,
        dict(parcel.place.get("anchors", {})),
    )
    write_agent(agent_path(ctx.config_dir, scid), agent)
    used_up = _places(ctx, name)[1], _note(ctx, name)
    ctx = Context(replace(ctx.options, workspace=str(root)), ctx.environment)
    problems = []
    for config in configs:
        try:
            published = ctx.repository(config, host_keyring(ctx, "hot", "cold"))
            ctx.keep_pin(published, publish_keys(published))
        except AntsmemError as error:
            problems.append(f"repository `{config.name}` was not told: {error}")
    problems += _told(ctx)
    epoch = _taken_over(ctx)
    for path in used_up:
        path.unlink(missing_ok=True)
    return Arrived(
        restored, parcel.log.did, parcel.log.version, pending.host, epoch,
        tuple(each.url for each in configs), tuple(problems),
    )  # fmt: skip


def _opened(ctx: Context, data: bytes) -> tuple[Parcel, Pending, str]:
    """The parcel, opened by one of the keys that wait here, which, and the name of its files."""
    from antsmem.core.hardening import harden
    from antsmem.identity.handover import open_parcel, open_pending
    from antsmem.identity.unlock import file_source, unlock

    harden()
    for sealed in sorted((ctx.config_dir / "moves").glob("move-*.age")):
        key_file, _ = _places(ctx, sealed.stem)
        try:
            pending = open_pending(read_file(sealed, _KEY_LIMIT), unlock([file_source(key_file, ())]).identity)
            return open_parcel(data, pending), pending, sealed.stem
        except CannotUnlockError:
            continue
    raise CannotUnlockError(
        "no offer of this machine opens the parcel", hint="is it for another machine, or was it accepted before?"
    )


def _repositories(parcel: Parcel, url: str, options: Mapping[str, str]) -> tuple[RepositoryConfig, ...]:
    named = parcel.place.get("repositories", {})
    configs = [RepositoryConfig(name, place) for name, place in named.items()]
    if url:
        first = configs[0].name if configs else "default"
        full = url if "://" in url else os.path.abspath(url)
        configs = [RepositoryConfig(first, full, dict(options)), *configs[1:]]
    if not configs:
        raise UsageError("the old machine had no repository", hint="say where the backup is: --repository URL")
    return tuple(configs)


def _reading(ctx: Context, config: RepositoryConfig, parcel: Parcel, epochs: Mapping[str, object]) -> Keyring:
    """Keys to read what the old host wrote: it was the agent's host by the log that lies there."""
    from antsmem.cli.keys import current_keys

    store = ctx.store(config)
    try:
        log = parse_log(store.get(IDENTITY_LOG))
    except NotFoundError:
        raise NotFoundError(f"no repository at `{store.url}`", hint="say where it is: --repository URL") from None
    if log.scid != parcel.log.scid or parcel.log.version_ids[: log.version] != log.version_ids:
        raise UsageError(f"the repository at `{store.url}` is of another agent, or of a later host")
    return Keyring(
        scid=log.scid, host="", identity_version=log.version, trusted=log.operational_keys.keys(),
        current=current_keys(log), identities=list(epochs.values()),  # type: ignore[arg-type]
    )  # fmt: skip


def _restored(
    ctx: Context, given: tuple[Parcel, Pending, str], config: RepositoryConfig, root: Path
) -> RestoreResult:
    from antsmem.backup.reader import open_snapshot
    from antsmem.backup.restore import left_out_of, plan_restore, refuse_target, restore_to
    from antsmem.cli.commands.open import choose
    from antsmem.identity.take_in import readable

    refuse_target(root)
    parcel, pending, name = given
    opened = open_repository(ctx.store(config), _reading(ctx, config, parcel, readable(parcel, pending)))
    _, chosen = choose(opened, read_state(opened, None), "hot", None, ctx.now_ns)
    held = open_snapshot(opened, chosen)
    plan = plan_restore(held, held.entries)
    said = {"snapshot": held.head.id, "target": str(root), "files": plan.files, "size_bytes": plan.size_bytes}
    said |= {"left_out": [list(each) for each in left_out_of(plan.entries)]}
    write_file(_note(ctx, name), [canonical.dumps(said)])
    return restore_to(held, root, plan, salvage=False, progress=ctx.output.progress("restoring"))


def _restored_before(ctx: Context, name: str, root: Path, parcel: Parcel) -> RestoreResult | None:
    """What an earlier run restored to `root` for the same offer: a restore is there as a whole or not at all.
    `WouldOverwriteError` where it came so far that this machine is the agent's host, in another directory."""
    try:
        said: Any = canonical.loads(read_file(_note(ctx, name), _LIMIT), _LIMIT)
        there = str(said["target"])
        if there != str(root) and os.path.lexists(Layout(Path(there)).keystore / "keystore.age"):
            raise WouldOverwriteError(
                f"the agent has arrived at `{there}`, where an earlier run was cut off: nothing restored",
                hint=f"antsmem migrate accept {there} PARCEL",
            )
        log = parse_log(read_file(Layout(root).identity_log, _KEY_LIMIT))
    except NotFoundError:
        return None
    if said["target"] != str(root) or log.scid != parcel.log.scid:
        return None
    left_out = tuple((str(path), str(why)) for path, why in said["left_out"])
    files = int(said["files"])
    return RestoreResult(str(said["snapshot"]), str(root), files, int(said["size_bytes"]), files, left_out, (), ())


def _told(ctx: Context) -> list[str]:
    """Tell relays and anchors who goes on; who did not hear it."""
    from antsmem.cli.ledger import publish_to, renew_escrow

    problems = []
    if relays := relays_of(ctx.log.document):
        from antsmem.cli.relays import tell_relays

        problems += [
            f"relay `{each}` was not told: antsmem relay register" for each in tell_relays(ctx, relays)[1]
        ]
    if ctx.custody is not None:
        renew_escrow(ctx, ctx.custody)
        failed = publish_to(ctx, ctx.custody, ctx.anchors()).failed
        problems += [f"anchor `{name}` was not told: {error}" for name, error in failed.items()]
    return problems


def _taken_over(ctx: Context) -> int:
    """Take the work over from the host that retired; its epoch, 0 if there was no work."""
    from antsmem.cli.posts import opened_journal, own_post
    from antsmem.cli.witnesses import witness
    from antsmem.heartbeat.epoch import Claim

    here, journal = own_post(ctx), opened_journal(ctx)
    if not journal.name:
        return 0
    keystore = ctx.keystore
    claim = Claim(keystore.scid, keystore.host, keystore.op_key, witness(ctx, here))
    return here.take(journal, claim, ctx.now_ns).epoch
