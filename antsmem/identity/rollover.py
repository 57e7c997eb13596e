"""Verb: see that there is a key for this week's backups."""

from __future__ import annotations

import os

from antsmem.core.age import X25519Identity
from antsmem.core.disk import read_file
from antsmem.core.record import record, replace
from antsmem.identity.epochs import Epoch, Tier, current_epoch, first_number, is_current, new_epoch
from antsmem.identity.files import IdentityFiles, all_or_none
from antsmem.identity.keystore import Keystore, save_keystore
from antsmem.identity.log import MAX_LOG_BYTES, parse_log


@record
class EnsuredEpoch:
    """The epoch to seal to now, and the keystore as it is now. `created`: the roll-over happened just now, and the
    new epoch file must reach every repository before anything that is sealed to it."""

    epoch: Epoch
    keystore: Keystore
    created: bool


def ensure_epoch(
    keystore: Keystore, tier: Tier, files: IdentityFiles, host: X25519Identity, now_ns: int
) -> EnsuredEpoch:
    """The epoch of `tier` for the week of `now_ns`: the one there is, or a new one, whose file is written and then
    entered into the keystore (`host` opens it). Raises as `save_keystore` does, and then leaves nothing behind.

    Epochs of other weeks whose file is gone are dropped from the keystore on the way: they are destroyed.
    """
    present = set(os.listdir(files.epochs)) if files.epochs.is_dir() else set()
    epoch = current_epoch(keystore.epochs, tier, present, now_ns)
    if epoch is not None:
        return EnsuredEpoch(epoch, keystore, created=False)
    return start_epoch(keystore, tier, files, host, now_ns)


def start_epoch(
    keystore: Keystore, tier: Tier, files: IdentityFiles, host: X25519Identity, now_ns: int
) -> EnsuredEpoch:
    """As `ensure_epoch`, but a new one also where this week has one: nothing is sealed to that any more."""
    present = set(os.listdir(files.epochs)) if files.epochs.is_dir() else set()
    taken = {name.removesuffix(".age") for name in present} | {known.name for known in keystore.epochs}
    number = first_number(parse_log(read_file(files.log, MAX_LOG_BYTES)).hosts, keystore.host)
    made = new_epoch(tier, taken, keystore.host_recipient, keystore.recovery_recipients, now_ns, number)
    kept = tuple(known for known in keystore.epochs if known.file_name in present or is_current(known, now_ns))
    with all_or_none() as placing:
        placing.new(files.epochs / made.epoch.file_name, made.sealed)
        saved = save_keystore(files.keystore, replace(keystore, epochs=(*kept, made.epoch)), host)
    return EnsuredEpoch(made.epoch, saved, created=True)
