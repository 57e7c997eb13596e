"""Verb: make an empty machine a host of an agent whose hosts are lost, with the recovery kit."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from antsmem.core.age import X25519Identity
from antsmem.core.disk import Buffer, read_file
from antsmem.core.errors import (
    CannotUnlockError,
    IntegrityError,
    NotFoundError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.core.record import field, record, replace
from antsmem.identity.create import host_key_text, refuse_existing
from antsmem.identity.document import check_host
from antsmem.identity.epochs import first_number, new_epoch, open_epoch, seal_epoch
from antsmem.identity.escrow import Escrow, open_escrow, seal_escrow
from antsmem.identity.files import IdentityFiles, all_or_none
from antsmem.identity.keystore import FINGERPRINT_KEY_BYTES, Keystore, save_keystore
from antsmem.identity.log import MAX_LOG_BYTES, IdentityLog, parse_log
from antsmem.identity.recovery import RecoveryKit, check_agent_name, recover_host
from antsmem.identity.signing import SigningKey
from antsmem.identity.unlock import refuse_exposed


@record
class SavedIdentity:
    """What is left of an identity, as a repository keeps it: nothing of it is trusted before it is verified."""

    log: bytes
    """The newest `did.jsonl` there is."""
    epochs: Mapping[str, Buffer] = field(repr=False)
    """File name → bytes of every epoch file."""
    escrow: bytes | None = field(default=None, repr=False)
    """The newest `keystore-escrow.age`. Without it, keyed fingerprints made so far match nothing any more."""
    destroyed: Collection[str] = ()
    """Names of epochs that were destroyed: not used again."""


@record
class RecoveredIdentity:
    """An identity brought to this host. Its files are written; `escrow` exists nowhere else yet."""

    log: IdentityLog
    """Longer by one entry: publish it wherever the old one is."""
    keystore: Keystore
    host_key: X25519Identity
    epochs: Mapping[str, X25519Identity]
    """Every epoch key that the kit opened, by epoch name, cold ones too: for reading the backups now."""
    unreadable: tuple[str, ...]
    """Names of epoch files that are damaged or not sealed to this kit."""
    escrow: bytes = field(repr=False)
    """The bytes of the new `keystore-escrow.age`."""


def recover_identity(
    kit: RecoveryKit,
    saved: SavedIdentity,
    host: str,
    files: IdentityFiles,
    now_ns: int,
    *,
    retire: Collection[str] = (),
) -> RecoveredIdentity:
    """Make this machine the host `host` of the identity in `saved`: new host key, new op key, one more entry in
    the log, new epochs to seal to. The op keys that `host` and the hosts of `retire` had are revoked.

    Old hot epochs are sealed again so that this host opens them. No secret is taken from the escrow: a restore of
    secrets decides about each. `files` must hold neither keystore nor host key, and no log but an older copy of
    this one (`WouldOverwriteError`). Raises `UsageError` if the kit is not of this identity, `IntegrityError` if
    log or escrow are forged. If anything fails, all that was written is taken back.
    """
    check_host(host)
    refuse_existing(files)
    refuse_exposed(files.host_key, files.backed_up)
    before = parse_log(saved.log)
    _refuse_other_log(files, saved.log)
    escrow = _open_escrow(kit, saved, before)
    op_key, host_key = SigningKey.generate(), X25519Identity.generate()
    recovered = recover_host(before, kit, host, op_key.public, now_ns, retire=retire)
    opened, unreadable = _open_readable(saved.epochs, kit.identity)
    recipient, recovery = str(host_key.recipient), (str(kit.identity.recipient),)
    taken = _names(saved.epochs) | _names(os.listdir(files.epochs) if files.epochs.is_dir() else ())
    taken |= set(saved.destroyed)
    # Keys of our own making to seal to: old epoch files do not say who made them.
    number = first_number(recovered.log.hosts, host)
    made = [new_epoch(tier, taken, recipient, recovery, now_ns, number) for tier in ("hot", "cold")]
    keystore = Keystore(
        agent=_agent_name(kit, escrow),
        scid=before.scid,
        host=host,
        log_head=recovered.log.head,
        op_key=op_key,
        host_recipient=recipient,
        recovery_recipients=recovery,
        recovery_hash=recovered.commitment.recovery_hash,
        fingerprint_key=escrow.fingerprint_key if escrow else os.urandom(FINGERPRINT_KEY_BYTES),
        epochs=tuple(new.epoch for new in made),
    )
    with all_or_none() as placing:
        placing.new(files.host_key, host_key_text(host_key, keystore.agent, host, now_ns))
        for name, key in opened.items():
            data = bytes(saved.epochs[f"{name}.age"])
            if name.startswith("hot-"):
                data = seal_epoch(name, key, recipient, recovery)
            placing.replace(files.epochs / f"{name}.age", data)
        for new in made:
            placing.new(files.epochs / new.epoch.file_name, new.sealed)
        placing.replace(files.log, recovered.log.text)
        placing.track(files.keystore, lambda: save_keystore(files.keystore, keystore, host_key))
        keystore = replace(keystore, sequence=1)
        sealed = seal_escrow(keystore, recovered.commitment.next_key)
        return RecoveredIdentity(recovered.log, keystore, host_key, opened, unreadable, sealed)


def _open_escrow(kit: RecoveryKit, saved: SavedIdentity, log: IdentityLog) -> Escrow | None:
    if saved.escrow is None:
        return None
    try:
        return open_escrow(saved.escrow, [kit.identity], log)
    except IntegrityError as error:
        raise IntegrityError(f"escrow: {error}", hint="use another copy of it, or recover without it") from None


def _agent_name(kit: RecoveryKit, escrow: Escrow | None) -> str:
    agent = kit.agent or (escrow.agent if escrow else "")
    if not agent:
        raise UsageError("the recovery kit does not name the agent", hint="add a line `# agent: NAME` to it")
    check_agent_name(agent)
    return agent


def _names(file_names: Iterable[str]) -> set[str]:
    return {name.removesuffix(".age") for name in file_names}


def _open_readable(
    epochs: Mapping[str, Buffer], identity: X25519Identity
) -> tuple[dict[str, X25519Identity], tuple[str, ...]]:
    opened, unreadable = {}, []
    for file_name, data in sorted(epochs.items()):
        name = file_name.removesuffix(".age")
        try:
            opened[name] = open_epoch(name, data, [identity])
        except (CannotUnlockError, IntegrityError):
            unreadable.append(file_name)
    return opened, tuple(unreadable)


def _refuse_other_log(files: IdentityFiles, saved: bytes) -> None:
    try:
        there = read_file(files.log, MAX_LOG_BYTES)
    except NotFoundError:
        return
    if not saved.startswith(there):
        raise WouldOverwriteError(
            f"identity log `{files.log}` is not an older copy of the one to be recovered",
            hint="recover from that log, if it is the newer one of the same identity",
        )
