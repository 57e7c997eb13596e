"""Verb: make a new agent's identity, with everything that its first host needs."""

from __future__ import annotations

import os
from collections.abc import Callable

from antsmem.core.age import X25519Identity
from antsmem.core.clock import utc_text
from antsmem.core.errors import RECOVER, WouldOverwriteError
from antsmem.core.record import field, record, replace
from antsmem.identity.document import check_host
from antsmem.identity.epochs import new_epoch
from antsmem.identity.escrow import seal_escrow
from antsmem.identity.extend import commit, create_log
from antsmem.identity.files import IdentityFiles, Placing, all_or_none
from antsmem.identity.keystore import FINGERPRINT_KEY_BYTES, Keystore, save_keystore
from antsmem.identity.log import IdentityLog
from antsmem.identity.recovery import RecoveryKit, check_agent_name
from antsmem.identity.signing import SigningKey
from antsmem.identity.unlock import refuse_exposed


@record
class CreatedIdentity:
    """A new identity. `kit` and `escrow` are in none of its files."""

    log: IdentityLog
    keystore: Keystore
    host_key: X25519Identity
    kit: RecoveryKit
    """To be shown once or written to a place off this host."""
    escrow: bytes = field(repr=False)
    """The bytes of `keystore-escrow.age`: to be put somewhere else than the backups."""


def create_identity(
    agent: str,
    host: str,
    files: IdentityFiles,
    now_ns: int,
    hand_over: Callable[[CreatedIdentity, Placing], None] = lambda made, placing: None,
) -> CreatedIdentity:
    """Make the identity of `agent` (a name for people, 1 to 100 letters) with `host` as its first host, and write
    its log, keystore, first epochs and host key to `files`.

    `hand_over` puts kit and escrow where they belong, before there is anything that they open. The log gets its
    name last: who is killed before that leaves `files.begun`, and no identity. Nothing of `files` but `begun` may
    exist yet (`WouldOverwriteError`), and the host key must not lie in what is backed up or synced (`UsageError`).
    If anything fails, all that was written is taken back.
    """
    check_agent_name(agent)
    check_host(host)
    refuse_existing(files)
    if os.path.lexists(files.log):
        raise WouldOverwriteError(
            f"identity log `{files.log}` exists already",
            hint=f"it is an identity without a host: {RECOVER}",
        )
    refuse_exposed(files.host_key, files.backed_up)
    host_key, op_key = X25519Identity.generate(), SigningKey.generate()
    unnamed = RecoveryKit(X25519Identity.generate())
    commitment = commit(unnamed.control_hash(0))
    log = create_log(commitment, {host: op_key.public}, now_ns)
    recipient, recovery = str(host_key.recipient), (str(unnamed.identity.recipient),)
    epochs = [new_epoch(tier, (), recipient, recovery, now_ns) for tier in ("hot", "cold")]
    keystore = Keystore(
        agent=agent,
        scid=log.scid,
        host=host,
        log_head=log.head,
        op_key=op_key,
        host_recipient=recipient,
        recovery_recipients=recovery,
        recovery_hash=commitment.recovery_hash,
        fingerprint_key=os.urandom(FINGERPRINT_KEY_BYTES),
        epochs=tuple(made.epoch for made in epochs),
    )
    saved = replace(keystore, sequence=1)
    kit = replace(unnamed, agent=agent, scid=log.scid, made=utc_text(now_ns))
    created = CreatedIdentity(log, saved, host_key, kit, seal_escrow(saved, commitment.next_key))
    with all_or_none() as placing:
        placing.replace(files.begun, log.text)
        hand_over(created, placing)
        placing.new(files.host_key, host_key_text(host_key, agent, host, now_ns))
        for made in epochs:
            placing.new(files.epochs / made.epoch.file_name, made.sealed)
        placing.track(files.keystore, lambda: save_keystore(files.keystore, keystore, host_key))
        placing.rename(files.begun, files.log)
    return created


def refuse_existing(files: IdentityFiles) -> None:
    """`WouldOverwriteError` if this host has a keystore or a host key at `files` already."""
    if os.path.lexists(files.keystore):
        raise WouldOverwriteError(f"keystore `{files.keystore}` exists already: this host has an identity")
    if os.path.lexists(files.host_key):
        raise WouldOverwriteError(
            f"host key `{files.host_key}` exists already, without the keystore that it opens",
            hint="if it was left by a run that was cut off, delete it and run the same command again",
        )


def host_key_text(host_key: X25519Identity, agent: str, host: str, now_ns: int) -> bytes:
    """The host's key as an age identity file."""
    return (
        f"# antsmem host key\n# agent: {agent}\n# host: {host}\n# made: {utc_text(now_ns)}\n{host_key.secret()}\n"
    ).encode()
