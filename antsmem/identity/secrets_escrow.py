"""The secrets' escrow, `secrets-escrow.age`: the agent's secrets as they are now, sealed to recovery only.

Every host can make it, after each change, and cannot read it back: it holds neither control nor op key. It carries
the ledger as of its making, so that what it holds is never believed further than its own ledger goes.
Format: docs/spec/keystore-v1.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from antsmem.core.age import X25519Identity
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import record, replace
from antsmem.identity.custody import Custody
from antsmem.identity.envelope import open_envelope, seal_envelope
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.ledger import FINGERPRINT_KEY_BYTES, Ledger, read_rows
from antsmem.identity.log import IdentityLog
from antsmem.identity.secret import Secret, secret_from_json, secret_to_json

SCHEMA = "antsmem.secrets-escrow/1"
FILE = "secrets-escrow.age"
COMING_BACK = ("static", "derived", "identity")
"""The classes whose values a recovery may bring back; the others are for one use or one host."""


@record
class SecretsEscrow:
    """What a secrets' escrow holds: made by `host`, as of `sequence` of its keystore."""

    host: str
    sequence: int
    ledger: Ledger
    secrets: tuple[Secret, ...]


def seal_secrets(custody: Custody) -> bytes:
    """The secrets' escrow of `custody`, sealed to recovery, signed by the op key. A value that must not come back
    (revoked, superseded, destroyed, for one use only) is not in it."""
    keystore, ledger = custody.keystore, custody.ledger
    if not keystore.recovery_recipients:
        raise UsageError("an escrow needs a recovery recipient")
    body = {
        "schema": SCHEMA,
        "scid": keystore.scid,
        "host": keystore.host,
        "sequence": keystore.sequence,
        "fingerprint_key": to_base64(ledger.fingerprint_key),
        "rows": [row.body for row in ledger.rows],
        "secrets": [secret_to_json(_escrowed(secret)) for secret in keystore.secrets],
    }
    return seal_envelope(body, keystore.op_key, keystore.recovery_recipients)


def open_secrets(data: Buffer, identities: Sequence[X25519Identity], log: IdentityLog) -> SecretsEscrow:
    """The secrets' escrow in `data`, its ledger verified, signed by a host of the identity in `log`.

    Raises `CannotUnlockError` (no identity opens it), `IntegrityError` (changed, forged, another identity's) and
    `UsageError` (a newer format).
    """
    opened = open_envelope(data, SCHEMA, identities)
    fields = Fields(opened.body, "the secrets' escrow")
    fields.text("schema")
    scid = fields.text("scid")
    host, sequence = fields.text("host"), fields.number("sequence")
    fingerprint_key = fields.data("fingerprint_key", FINGERPRINT_KEY_BYTES)
    values = fields.items("rows")
    secrets = tuple(secret_from_json(item) for item in fields.items("secrets"))
    fields.end()
    if scid != log.scid:
        raise IntegrityError(f"secrets' escrow is of identity `{scid[:60]}`, not of `{log.scid}`")
    if log.op_key(opened.signer).host != host:
        raise IntegrityError("secrets' escrow is signed by another host than it names")
    if len({(secret.name, secret.version) for secret in secrets}) != len(secrets):
        raise IntegrityError("secrets' escrow holds a version of a secret twice")
    return SecretsEscrow(host, sequence, Ledger(scid, fingerprint_key, read_rows(values, log)), secrets)


def _escrowed(secret: Secret) -> Secret:
    if secret.kind in COMING_BACK and secret.state in {"pending", "active", "quarantined"}:
        return secret
    return replace(secret, value=b"")
