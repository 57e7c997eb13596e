"""Verb: make an empty machine a host of an agent whose hosts are lost, with the recovery kit."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.clock import parse_utc
from antsmem.core.disk import Buffer, read_file
from antsmem.core.errors import (
    CannotUnlockError,
    IntegrityError,
    NotFoundError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.core.record import field, record, replace
from antsmem.identity.anchor import head_to_json, sign_head
from antsmem.identity.create import host_key_text, refuse_existing
from antsmem.identity.document import check_host
from antsmem.identity.epochs import NewEpoch, first_number, new_epoch, open_epoch, seal_epoch
from antsmem.identity.escrow import Escrow, open_escrow, seal_escrow
from antsmem.identity.files import IdentityFiles, all_or_none
from antsmem.identity.gate import Gated
from antsmem.identity.keystore import FINGERPRINT_KEY_BYTES, Keystore, save_keystore
from antsmem.identity.ledger import Ledger, extended, seal_ledger, secret_row
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
    """The newest `keystore-escrow.age`."""
    gated: Gated | None = field(default=None, repr=False)
    """The ledger and the secrets, as they passed the restore gate. Without a ledger and an escrow, keyed
    fingerprints made so far match nothing any more."""
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
    ledger: Ledger | None = None
    """The ledger that goes on here, with a row more: publish it to the anchors. None: there was none."""


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

    Old hot epochs are sealed again so that this host opens them. Secrets come only from `saved.gated`; the ledger
    there gets a row that says who goes on, signed by the new op key. `files` must hold neither keystore nor host
    key, and no log but an older copy of this one (`WouldOverwriteError`). Raises `UsageError` if the kit is not of
    this identity, `IntegrityError` if log or escrow are forged. If anything fails, all that was written is taken
    back.
    """
    check_host(host)
    refuse_existing(files)
    refuse_exposed(files.host_key, files.backed_up)
    before = parse_log(saved.log)
    _refuse_other_log(files, saved.log)
    escrow = _open_escrow(kit, saved, before)
    op_key, host_key = SigningKey.generate(), X25519Identity.generate()
    ledger = saved.gated.ledger if saved.gated else None
    at_ns = max(now_ns, parse_utc(ledger.rows[-1].time)) if ledger and ledger.rows else now_ns  # see `not_before`
    recovered = recover_host(before, kit, host, op_key.public, at_ns, retire=retire)
    opened, unreadable = _open_readable(saved.epochs, kit.identity)
    recipient, recovery = str(host_key.recipient), (str(kit.identity.recipient),)
    made = _own_epochs(saved, files, (host, recipient, recovery), recovered.log, now_ns)
    keystore = Keystore(
        agent=_agent_name(kit, escrow),
        scid=before.scid,
        host=host,
        log_head=recovered.log.head,
        op_key=op_key,
        host_recipient=recipient,
        recovery_recipients=recovery,
        recovery_hash=recovered.commitment.recovery_hash,
        fingerprint_key=_fingerprint_key(saved.gated, escrow),
        epochs=tuple(new.epoch for new in made),
        secrets=saved.gated.secrets if saved.gated else (),
    )
    ledger = _continued(saved.gated, keystore, recovered.log, now_ns)
    keystore = replace(keystore, ledger=ledger.last_row if ledger else ())
    with all_or_none() as placing:
        placing.new(files.host_key, host_key_text(host_key, keystore.agent, host, now_ns))
        for name, data in _resealed(saved.epochs, opened, recipient, recovery).items():
            placing.replace(files.epochs / name, data)
        for new in made:
            placing.new(files.epochs / new.epoch.file_name, new.sealed)
        placing.replace(files.log, recovered.log.text)
        for path, data in _ledger_files(files, ledger, keystore):
            placing.replace(path, data)
        placing.track(files.keystore, lambda: save_keystore(files.keystore, keystore, host_key))
        keystore = replace(keystore, sequence=1)
        # Secrets have an escrow of their own, which every host can renew.
        sealed = seal_escrow(replace(keystore, secrets=()), recovered.commitment.next_key)
        return RecoveredIdentity(recovered.log, keystore, host_key, opened, unreadable, sealed, ledger)


def require_recoverable(kit: RecoveryKit, saved: SavedIdentity, host: str) -> None:
    """Raise what `recover_identity` would raise of log, escrow and the host's name, and `CannotUnlockError` for
    the kit of another identity; nothing is made."""
    check_host(host)
    log = parse_log(saved.log)
    try:
        kit.generation(log)
    except UsageError as error:
        raise CannotUnlockError(str(error), hint=error.hint) from None
    _agent_name(kit, _open_escrow(kit, saved, log))


def _own_epochs(
    saved: SavedIdentity,
    files: IdentityFiles,
    sealed_to: tuple[str, str, Sequence[str]],
    log: IdentityLog,
    now_ns: int,
) -> list[NewEpoch]:
    """Keys of our own making to seal to: old epoch files do not say who made them. `sealed_to`: the host's name,
    its recipient, those of recovery."""
    host, recipient, recovery = sealed_to
    taken = _names(saved.epochs) | _names(os.listdir(files.epochs) if files.epochs.is_dir() else ())
    taken |= set(saved.destroyed)
    number = first_number(log.hosts, host)
    return [new_epoch(tier, taken, recipient, recovery, now_ns, number) for tier in ("hot", "cold")]


def _fingerprint_key(gated: Gated | None, escrow: Escrow | None) -> bytes:
    """The one that waivers were made with, if anything at hand holds it."""
    if gated is not None and gated.ledger is not None:
        return gated.ledger.fingerprint_key
    return escrow.fingerprint_key if escrow else os.urandom(FINGERPRINT_KEY_BYTES)


def _continued(gated: Gated | None, keystore: Keystore, log: IdentityLog, now_ns: int) -> Ledger | None:
    """The ledger with a row that names the new host: nobody can append to it with an older key any more."""
    if gated is None or gated.ledger is None:
        return None
    row = secret_row("recover", keystore.host, log.version, "identity", "")
    return extended(gated.ledger, [row], keystore.op_key, now_ns)


def _ledger_files(files: IdentityFiles, ledger: Ledger | None, keystore: Keystore) -> list[tuple[Path, bytes]]:
    """The ledger and its public head, for the new host."""
    if ledger is None:
        return []
    head = sign_head(ledger, keystore.host, keystore.op_key)
    recipients = (keystore.host_recipient, *keystore.recovery_recipients)
    return [
        (files.ledger, seal_ledger(ledger, keystore.op_key, recipients)),
        (files.head, canonical.dumps(head_to_json(head)) + b"\n"),
    ]


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


def _resealed(
    epochs: Mapping[str, Buffer], opened: Mapping[str, X25519Identity], host: str, recovery: tuple[str, ...]
) -> dict[str, bytes]:
    """The epoch files that were opened, by file name; the hot ones sealed so that the new host opens them too."""
    return {
        f"{name}.age": seal_epoch(name, key, host, recovery)
        if name.startswith("hot-")
        else bytes(epochs[f"{name}.age"])
        for name, key in opened.items()
    }


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
