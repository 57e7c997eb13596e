"""Verb: bring a new document into the identity log of a host that goes on, by the recovery kit."""

from __future__ import annotations

from antsmem.core.age import X25519Identity
from antsmem.core.disk import read_file
from antsmem.core.errors import ConflictError, UsageError
from antsmem.core.record import record, replace
from antsmem.identity.change import save_change
from antsmem.identity.document import Document, op_keys_of
from antsmem.identity.escrow import escrow_change, newest_escrow, seal_escrow
from antsmem.identity.extend import commit, extend_log
from antsmem.identity.files import IdentityFiles
from antsmem.identity.keystore import Keystore
from antsmem.identity.log import MAX_LOG_BYTES, IdentityLog
from antsmem.identity.recovery import RecoveryKit


@record
class AmendedIdentity:
    """The log with one more entry and the keystore that knows it. `escrow` is the new escrow file."""

    log: IdentityLog
    keystore: Keystore
    escrow: str


def amend_identity(
    log: IdentityLog,
    document: Document,
    kit: RecoveryKit,
    keystore: Keystore,
    host: X25519Identity,
    place: tuple[IdentityFiles, int],
) -> AmendedIdentity:
    """Append an entry with `document`, signed by the kit's control key, to `log`; `place` is (files, now_ns).

    Who speaks for the agent stays as it is (`UsageError` otherwise): this is for relays and handles. `host` opens
    `keystore`. `ConflictError` if the log on disk is not `log` any more, `UsageError` if the kit is of another
    identity, and what `save_change` raises.
    """
    files, now_ns = place
    if read_file(files.log, MAX_LOG_BYTES) != log.text:
        raise ConflictError("the identity log was changed by another run")
    if op_keys_of(document) != op_keys_of(log.document):
        raise UsageError("the new document names other op keys than the old one")
    generation = kit.generation(log)
    commitment = commit(kit.control_hash(generation + 1))
    longer = extend_log(log, kit.control_key(generation), commitment, document, now_ns)
    changed = replace(keystore, log_head=longer.head, recovery_hash=commitment.recovery_hash)
    # Secrets have an escrow of their own, which every host can renew.
    sealed = seal_escrow(replace(changed, secrets=(), sequence=keystore.sequence + 1), commitment.next_key)
    written = {"log": longer.text, **escrow_change(files.escrow, sealed, now_ns)}
    saved = save_change(files, changed, host, written)
    return AmendedIdentity(longer, saved, str(newest_escrow(files.escrow) if files.escrow else ""))
