"""Verb: change this host's op key and the control key of the identity, by the recovery kit.

All files change in one step (`change.py`). From the new log entry on, what the old op key signs is refused, and
what the old next key signs too. With a new kit the old one is closed: everything sealed to it is sealed to the new
one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from antsmem.core.age import X25519Identity
from antsmem.core.clock import utc_text
from antsmem.core.disk import read_file
from antsmem.core.errors import CannotUnlockError, IntegrityError, UsageError
from antsmem.core.record import field, record, replace
from antsmem.identity.change import save_change
from antsmem.identity.document import op_keys_of, with_op_keys
from antsmem.identity.epochs import Epoch, first_number, new_epoch
from antsmem.identity.escrow import KEPT, escrow_change, newest_escrow, seal_escrow
from antsmem.identity.extend import commit, extend_log
from antsmem.identity.files import IdentityFiles
from antsmem.identity.guardians import (
    guardian_change,
    guardian_files,
    guardian_files_in,
    read_guardian_set,
)
from antsmem.identity.keystore import Keystore, check_keystore, not_before
from antsmem.identity.log import MAX_LOG_BYTES, IdentityLog, parse_log
from antsmem.identity.recovery import RecoveryKit, require_hosts
from antsmem.identity.rewrap import rewrap_epoch
from antsmem.identity.signing import SigningKey

_LIMIT = 1 << 20


@record
class Rotation:
    """What to change besides this host's op key and the control key: hosts whose keys are revoked; a new kit that
    takes the place of the old one; names of epochs that were destroyed and are not used again."""

    revoke: Collection[str] = ()
    new_kit: RecoveryKit | None = None
    destroyed: Collection[str] = ()
    guardians: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The guardians' files in force (file name → bytes), made anew for a new kit. Default: those here."""


@record
class RotatedIdentity:
    """An identity changed on this host. `revoked`: hosts whose key counts no more. `unreadable`: epoch files that
    the kit did not open, so that a new kit does not open them either."""

    log: IdentityLog
    keystore: Keystore
    revoked: tuple[str, ...]
    unreadable: tuple[str, ...]
    escrow: str
    """The new escrow file."""


def rotate_identity(
    kit: RecoveryKit, keystore: Keystore, files: IdentityFiles, host: X25519Identity, now_ns: int, wanted: Rotation
) -> RotatedIdentity:
    """Append an entry authorised by `kit` with a new op key for this host, revoke the old one and those of
    `wanted.revoke`, commit to a new control key, start new epochs, make a new escrow.

    `host` opens the keystore. Raises `UsageError` (not the kit of this identity, unknown host), `RetiredError`,
    and what `save_change` raises. A new kit must be kept safe before this is called.
    """
    before = parse_log(read_file(files.log, MAX_LOG_BYTES))
    check_keystore(keystore, before)
    op_key, next_recovery = SigningKey.generate(), _recovery_hash(kit, before, wanted)
    commitment = commit(next_recovery)
    at_ns = not_before(keystore, now_ns)
    document = with_op_keys(before.document, _op_keys(before, keystore, op_key, wanted.revoke))
    log = extend_log(before, kit.control_key(kit.generation(before)), commitment, document, at_ns)
    holder = wanted.new_kit or kit
    recovery = (str(holder.identity.recipient),)
    epochs, changed = _new_epochs(keystore, files, recovery, wanted.destroyed, log, now_ns)
    unreadable: tuple[str, ...] = ()
    rotated = replace(
        keystore,
        log_head=log.head,
        op_key=op_key,
        recovery_recipients=recovery,
        recovery_hash=next_recovery,
        epochs=(*keystore.epochs, *epochs),
    )
    if recovery != keystore.recovery_recipients:
        unreadable = _rewrap(changed, files, rotated, [host, kit.identity], holder.identity)
    if wanted.new_kit is not None:
        changed |= _new_guardians(files, rotated, [host, kit.identity], log, wanted, now_ns)
    # Secrets have an escrow of their own, without those that ended.
    sealed = seal_escrow(replace(rotated, secrets=(), sequence=keystore.sequence + 1), commitment.next_key)
    changed |= {"log": log.text, **escrow_change(files.escrow, sealed, now_ns, 1 if wanted.new_kit else KEPT)}
    saved = save_change(files, rotated, host, changed)
    return RotatedIdentity(
        log=log,
        keystore=saved,
        revoked=tuple(sorted(wanted.revoke)),
        unreadable=unreadable,
        escrow=str(newest_escrow(files.escrow) if files.escrow else ""),
    )


def _recovery_hash(kit: RecoveryKit, log: IdentityLog, wanted: Rotation) -> str:
    if wanted.new_kit is not None:
        return wanted.new_kit.control_hash(0)
    return kit.control_hash(kit.generation(log) + 1)


def require_revocable(log: IdentityLog, host: str, revoke: Collection[str]) -> None:
    """`UsageError` unless each of `revoke` has an op key in the document of `log` and is not `host`, this one."""
    require_hosts(log, revoke)
    if host in revoke:
        raise UsageError(
            f"`{host}` is this host: it gets a new key anyway",
            hint="to retire it, run `antsmem identity rotate --retire` on another host",
        )


def _op_keys(
    log: IdentityLog, keystore: Keystore, op_key: SigningKey, revoke: Collection[str]
) -> dict[str, bytes]:
    require_revocable(log, keystore.host, revoke)
    known = op_keys_of(log.document)
    return {name: public for name, public in known.items() if name not in revoke} | {keystore.host: op_key.public}


def _new_epochs(
    keystore: Keystore,
    files: IdentityFiles,
    recovery: Sequence[str],
    destroyed: Collection[str],
    log: IdentityLog,
    now_ns: int,
) -> tuple[list[Epoch], dict[str, bytes | None]]:
    """Epochs to seal to from now on: whoever had the host's keys may have those of this week."""
    taken = {name.removesuffix(".age") for name in _listed(files.epochs)} | set(destroyed)
    taken |= {known.name for known in keystore.epochs}
    recipient = keystore.host_recipient
    number = first_number(log.hosts, keystore.host)
    made = [new_epoch(tier, taken, recipient, recovery, now_ns, number) for tier in ("hot", "cold")]
    return [new.epoch for new in made], {f"epochs/{new.epoch.file_name}": new.sealed for new in made}


def _rewrap(
    changed: dict[str, bytes | None],
    files: IdentityFiles,
    keystore: Keystore,
    identities: Sequence[X25519Identity],
    new: X25519Identity,
) -> tuple[str, ...]:
    """Put every epoch file, sealed to the new kit, into `changed`; the names of those that do not open."""
    unreadable = []
    for file_name in sorted(_listed(files.epochs)):
        data = read_file(files.epochs / file_name, _LIMIT)
        try:
            changed[f"epochs/{file_name}"] = rewrap_epoch(
                file_name.removesuffix(".age"), data, identities, keystore, new
            )
        except (CannotUnlockError, IntegrityError):
            unreadable.append(file_name)
    return tuple(unreadable)


def _new_guardians(
    files: IdentityFiles,
    keystore: Keystore,
    identities: Sequence[X25519Identity],
    log: IdentityLog,
    wanted: Rotation,
    now_ns: int,
) -> dict[str, bytes | None]:
    """The files of the same guardians for the new kit, in place of the old ones."""
    there = guardian_files_in(files.guardians)
    guardians = read_guardian_set(wanted.guardians or there, identities, log)
    if guardians is None or wanted.new_kit is None:
        return {}
    renewed = replace(guardians, number=guardians.number + 1, made=utc_text(now_ns))
    new = guardian_files(wanted.new_kit, renewed, keystore)
    return guardian_change(there, new)


def _listed(folder: os.PathLike[str] | None) -> list[str]:
    if folder is None or not os.path.isdir(folder):
        return []
    return [name for name in os.listdir(folder) if not name.startswith(".")]
