"""The keystore: what one host needs to be the agent, in one small sealed file, `keystore.age`.

Sealed to the host's key and to recovery, signed by the host's op key. It holds no control key: whoever breaks
into the host cannot change the identity. Format: docs/spec/keystore-v1.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.clock import parse_utc
from antsmem.core.disk import Buffer, locked, read_file, write_file
from antsmem.core.errors import (
    RECOVER,
    CannotUnlockError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RetiredError,
    RollbackError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.core.record import field, record, replace
from antsmem.identity.envelope import MAX_BYTES, open_envelope, seal_envelope
from antsmem.identity.epochs import Epoch, check_epoch_name
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.files import CHANGE, IdentityFiles
from antsmem.identity.log import MAX_LOG_BYTES, IdentityLog
from antsmem.identity.secret import Secret, secret_from_json, secret_to_json
from antsmem.identity.signing import SEED_BYTES, SigningKey

SCHEMA = "antsmem.keystore/1"
FINGERPRINT_KEY_BYTES = 32


@record
class Keystore:
    """What a keystore holds. Change it with `core.record.replace`, write it with `save_keystore`.

    `repr` shows no secret and no recipient (who knows a recipient can forge a sealed file).
    """

    agent: str
    scid: str
    host: str
    log_head: str
    """Version id of the newest identity log entry this host has seen: an older log is a rollback."""
    op_key: SigningKey
    host_recipient: str = field(repr=False)
    recovery_recipients: tuple[str, ...] = field(repr=False)
    recovery_hash: str = field(repr=False)
    """`key_hash` of the recovery control key, which every rotation commits to again."""
    fingerprint_key: bytes = field(repr=False)
    """32 bytes, for keyed fingerprints of secrets."""
    epochs: tuple[Epoch, ...] = ()
    secrets: tuple[Secret, ...] = ()
    sequence: int = 0
    """How often it was saved; 0: never."""
    ledger: tuple[str, ...] = ()
    """The rows of the ledger (canonical JSON) that the last change of a secret made: the keystore is where a
    change is committed, and the ledger is completed from here if a run died in between."""


def open_keystore(path: Path, identities: Sequence[X25519Identity]) -> Keystore:
    """The keystore at `path`, opened by the first of `identities` that can.

    Raises `NotFoundError`, `CannotUnlockError` (none can) or `IntegrityError` (a byte is not what was written).
    Whether its op key still speaks for the agent, `check_keystore` says.
    """
    try:
        return keystore_from_bytes(read_file(path, MAX_BYTES), identities)
    except CannotUnlockError:
        raise CannotUnlockError(
            f"no key at hand opens keystore `{path}`",
            hint=f"see `antsmem config show --origin` for the key sources; if the key is lost, {RECOVER}",
        ) from None
    except IntegrityError as error:
        raise IntegrityError(f"keystore `{path}`: {error}", hint=RECOVER) from None
    except NotFoundError:
        raise NotFoundError(f"there is no keystore `{path}`", hint=RECOVER) from None


def save_keystore(path: Path, keystore: Keystore, host: X25519Identity) -> Keystore:
    """Replace the keystore at `path` by `keystore` if nobody saved in between; give it with its new sequence.

    The file must be the one from which `keystore` was made (same sequence; none for sequence 0), else
    `ConflictError`; `LockedError` if another process is saving. `host` opens both. The new bytes are opened again
    before they replace the old ones; after a crash either is there whole.
    """
    if str(host.recipient) != keystore.host_recipient:
        raise UsageError("the key that opens this keystore is not its host's key", hint=RECOVER)
    with locked(path.with_suffix(".lock"), f"keystore `{path}` is being saved by another process"):
        saved, data = successor(path, keystore, host)
        write_file(path, [data], new=saved.sequence == 1)
    return saved


def successor(path: Path, keystore: Keystore, host: X25519Identity) -> tuple[Keystore, bytes]:
    """`keystore` with the next sequence, and its bytes, which were opened again: what may replace the keystore at
    `path` for as long as its lock is held. Raises as `save_keystore` does."""
    try:
        before: Keystore | None = open_keystore(path, [host])
    except NotFoundError:
        before = None
    if os.path.lexists(path.with_name(CHANGE)):  # what is in there would come over this one
        raise ConflictError(f"a change of keystore `{path}` was cut off and has to be finished first")
    if before is not None and before.scid != keystore.scid:
        raise WouldOverwriteError(f"keystore `{path}` belongs to another identity")
    if (before.sequence if before else 0) != keystore.sequence:
        raise ConflictError(f"keystore `{path}` was changed by another process")
    saved = replace(keystore, sequence=keystore.sequence + 1)
    data = keystore_to_bytes(saved)
    if keystore_from_bytes(data, [host]) != saved:
        raise IntegrityError("the new keystore does not open to what was put in: not saved")
    return saved, data


def keystore_to_bytes(keystore: Keystore) -> bytes:
    """The sealed file of `keystore`."""
    recipients = (keystore.host_recipient, *keystore.recovery_recipients)
    if len(recipients) < 2:
        raise UsageError("a keystore needs a recovery recipient")
    return seal_envelope(_to_json(keystore), keystore.op_key, recipients)


def keystore_from_bytes(data: Buffer, identities: Sequence[X25519Identity]) -> Keystore:
    """The keystore in the sealed file `data`; raises as `open_keystore` does."""
    opened = open_envelope(data, SCHEMA, identities)
    keystore = _from_json(opened.body)
    if keystore.op_key.public != opened.signer:
        raise IntegrityError("signed by another key than the op key in it")
    recipients = {keystore.host_recipient, *keystore.recovery_recipients}
    if not any(str(identity.recipient) in recipients for identity in identities):
        raise IntegrityError("sealed to somebody who is not among its recipients")
    return keystore


def check_keystore(keystore: Keystore, log: IdentityLog) -> None:
    """Return if `keystore` is one of the identity in `log` and its op key speaks for the agent today.

    `IntegrityError`: another identity, or a key that the log never named. `RetiredError`: a key that it has
    revoked. `RollbackError`: the log is older than, or another than, the one this host has seen.
    """
    if keystore.scid != log.scid:
        raise IntegrityError(f"keystore is of identity `{keystore.scid[:60]}`, identity log of `{log.scid}`")
    log.refuse_rollback(keystore.log_head)
    known = log.op_key(keystore.op_key.public)
    if known.host != keystore.host:
        raise IntegrityError(f"keystore of host `{keystore.host[:60]}` holds the op key of host `{known.host}`")
    if known.revoked:
        raise RetiredError(
            f"the op key of host `{keystore.host}` was revoked by version {known.until} of the identity log"
        )


def own_keystore(files: IdentityFiles, host: X25519Identity, log: IdentityLog) -> Keystore:
    """This host's keystore, opened by `host` and checked by `log`, which was read from `files` before. Raises as
    `open_keystore` and `check_keystore` do, and `ConflictError` if another process changed the identity since."""
    keystore = open_keystore(files.keystore, [host])
    try:
        check_keystore(keystore, log)
    except RollbackError:
        if read_file(files.log, MAX_LOG_BYTES) != log.text:
            raise ConflictError(f"identity log `{files.log}` was changed by another process") from None
        raise
    return keystore


def secret_values(keystore: Keystore) -> list[tuple[str, bytes]]:
    """Names and values of every version of every secret that has one."""
    return [(secret.name, secret.value) for secret in keystore.secrets if secret.value]


def not_before(keystore: Keystore, now_ns: int) -> int:
    """`now_ns`, or the time of the newest row of the ledger that the keystore knows, if the clock was ahead then:
    a row that is dated after the revocation of its key would not count."""
    rows = keystore.ledger
    return max(now_ns, parse_utc(canonical.loads(rows[-1].encode(), MAX_BYTES)["time"])) if rows else now_ns


def known_values(keystore: Keystore) -> list[tuple[str, bytes]]:
    """Names and values of all that no output may show: every version of every secret, and the keystore's own."""
    own = [("op-key", keystore.op_key.seed()), ("fingerprint-key", keystore.fingerprint_key)]
    return secret_values(keystore) + own


def _to_json(keystore: Keystore) -> Mapping[str, Any]:
    last_change = {"ledger": keystore.ledger} if keystore.ledger else {}
    return last_change | {
        "schema": SCHEMA,
        "sequence": keystore.sequence,
        "agent": keystore.agent,
        "scid": keystore.scid,
        "host": keystore.host,
        "log_head": keystore.log_head,
        "op_seed": to_base64(keystore.op_key.seed()),
        "host_recipient": keystore.host_recipient,
        "recovery_recipients": keystore.recovery_recipients,
        "recovery_hash": keystore.recovery_hash,
        "fingerprint_key": to_base64(keystore.fingerprint_key),
        "epochs": [{"name": epoch.name, "recipient": epoch.recipient} for epoch in keystore.epochs],
        "secrets": [secret_to_json(secret) for secret in keystore.secrets],
    }


def _from_json(body: Mapping[str, Any]) -> Keystore:
    fields = Fields(body, "the keystore")
    fields.text("schema")
    keystore = Keystore(
        agent=fields.text("agent"),
        scid=fields.text("scid"),
        host=fields.text("host"),
        log_head=fields.text("log_head"),
        op_key=SigningKey(fields.data("op_seed", SEED_BYTES)),
        host_recipient=fields.text("host_recipient"),
        recovery_recipients=fields.texts("recovery_recipients"),
        recovery_hash=fields.text("recovery_hash"),
        fingerprint_key=fields.data("fingerprint_key", FINGERPRINT_KEY_BYTES),
        epochs=tuple(_epoch_from_json(item) for item in fields.items("epochs")),
        secrets=tuple(secret_from_json(item) for item in fields.items("secrets")),
        sequence=fields.number("sequence"),
        ledger=fields.texts("ledger") if fields.has("ledger") else (),
    )
    fields.end()
    return keystore


def _epoch_from_json(value: object) -> Epoch:
    fields = Fields(value, "an epoch")
    epoch = Epoch(fields.text("name"), fields.text("recipient"))
    fields.end()
    check_epoch_name(epoch.name)
    return epoch
