"""Verb: become the host of an agent that was handed over."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.errors import IntegrityError
from antsmem.core.record import record, replace
from antsmem.identity.anchor import head_to_json, sign_head
from antsmem.identity.create import refuse_existing
from antsmem.identity.epochs import first_number, new_epoch, open_epochs
from antsmem.identity.files import IdentityFiles, all_or_none
from antsmem.identity.handover import Parcel, Pending
from antsmem.identity.keystore import Keystore, save_keystore
from antsmem.identity.ledger import Ledger, extended, seal_ledger, secret_row


@record
class TakenIn:
    """An agent on its new host: its files are written. `ledger` has a row more: publish it."""

    keystore: Keystore
    ledger: Ledger | None


def readable(parcel: Parcel, pending: Pending) -> dict[str, X25519Identity]:
    """The keys of past hot backups, by epoch name."""
    return open_epochs(parcel.epochs, [pending.host_key])


def take_in(parcel: Parcel, pending: Pending, files: IdentityFiles, now_ns: int) -> TakenIn:
    """Write this host's keystore, epochs, log and ledger to `files`; its host key is there already.

    `files` must hold no keystore (`WouldOverwriteError`); the keystore is written last. If anything
    fails, all that was written is taken back.
    """
    refuse_existing(replace(files, host_key=files.keystore))
    recipient, recovery = str(pending.host_key.recipient), parcel.recovery_recipients
    there = os.listdir(files.epochs) if files.epochs.is_dir() else ()  # what a run that was killed left
    taken = {name.removesuffix(".age") for name in (*parcel.epochs, *parcel.carried, *there)}
    number = first_number(parcel.log.hosts, pending.host)
    made = [new_epoch(tier, taken, recipient, recovery, now_ns, number) for tier in ("hot", "cold")]
    keystore = Keystore(
        agent=parcel.agent,
        scid=parcel.log.scid,
        host=pending.host,
        log_head=parcel.log.head,
        op_key=pending.op_key,
        host_recipient=recipient,
        recovery_recipients=recovery,
        recovery_hash=parcel.recovery_hash,
        fingerprint_key=parcel.fingerprint_key,
        epochs=tuple(new.epoch for new in made),
        secrets=parcel.secrets,
    )
    ledger = _continued(parcel, keystore, now_ns)
    keystore = replace(keystore, ledger=ledger.last_row if ledger else ())
    with all_or_none() as placing:
        for name, data in parcel.epochs.items():
            placing.replace(_inside(files.epochs, name), data)
        for new in made:
            placing.new(files.epochs / new.epoch.file_name, new.sealed)
        for path, data in _carried(files, parcel.carried).items():
            placing.replace(path, data)
        placing.replace(files.log, parcel.log.text)
        if ledger is not None:
            head = canonical.dumps(head_to_json(sign_head(ledger, keystore.host, keystore.op_key))) + b"\n"
            placing.replace(files.ledger, seal_ledger(ledger, keystore.op_key, (recipient, *recovery)))
            placing.replace(files.head, head)
        placing.track(files.keystore, lambda: save_keystore(files.keystore, keystore, pending.host_key))
        return TakenIn(replace(keystore, sequence=1), ledger)


def _continued(parcel: Parcel, keystore: Keystore, now_ns: int) -> Ledger | None:
    """The ledger with a row that names the new host: nobody appends to it with the old key any more."""
    if parcel.ledger is None:
        return None
    row = secret_row("recover", keystore.host, parcel.log.version, "identity", "")
    return extended(parcel.ledger, [row], keystore.op_key, now_ns)


def _carried(files: IdentityFiles, carried: Mapping[str, bytes]) -> dict[Path, bytes]:
    """Where the other key files go: cold epochs, guardians' files, the list of what was destroyed."""
    places: dict[Path, bytes] = {}
    for name, data in carried.items():
        if name == files.destroyed.name:
            places[files.destroyed] = data
        elif name.startswith("cold-"):
            places[_inside(files.epochs, name)] = data
        else:
            places[_inside(files.guardians, name)] = data
    return places


def _inside(folder: Path, name: str) -> Path:
    if "/" in name or name in {"", ".", ".."} or "\0" in name:
        raise IntegrityError(f"the parcel holds a file named {name[:80]!r}")
    return folder / name
