"""Verbs of a planned move: a new host offers its public keys, the old one hands the agent over and retires.

No private key that signs leaves its host: the new one makes its own, and the log names it instead of the old one.
What has to travel (the keys of past hot backups, the secrets, the ledger) travels in one envelope, signed by the
old host and sealed to the new one alone. Format: docs/spec/handover-v1.md.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from antsmem.core.age import X25519Identity
from antsmem.core.clock import utc_text
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, RetiredError, UsageError, naming
from antsmem.core.record import field, record, replace
from antsmem.identity.change import save_change
from antsmem.identity.document import check_host, op_keys_of
from antsmem.identity.envelope import open_envelope, seal_envelope
from antsmem.identity.epochs import open_epochs, seal_epoch
from antsmem.identity.escrow import escrow_change, seal_escrow
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.files import IdentityFiles
from antsmem.identity.keystore import FINGERPRINT_KEY_BYTES, Keystore, not_before
from antsmem.identity.ledger import Ledger, read_rows
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import parse_multikey
from antsmem.identity.recovery import RecoveryKit, recover_host
from antsmem.identity.secret import Secret, secret_from_json, secret_to_json
from antsmem.identity.signing import SEED_BYTES, SigningKey
from antsmem.identity.statement import open_statement, sign_statement

OFFER_SCHEMA = "antsmem.move-offer/1"
PENDING_SCHEMA = "antsmem.move-pending/1"
PARCEL_SCHEMA = "antsmem.move-parcel/1"
_CODE_BYTES = 10


@record
class Offer:
    """What a new host says of itself: its name, the public key it will sign with, and to whom to seal. All of it
    is public; that it is the right host's, a person sees by the code."""

    host: str
    op_public: bytes
    recipient: str = field(repr=False)


@record
class Pending:
    """What a new host keeps until the agent comes: its name and both of its private keys."""

    host: str
    op_key: SigningKey
    host_key: X25519Identity = field(repr=False)


@record
class Parcel:
    """What an old host hands over. `epochs` are hot ones, sealed to the new host and to recovery; `carried` all
    other key files; `place` is what the operator there had configured: repositories and anchors, by name."""

    agent: str
    log: IdentityLog
    recovery_recipients: tuple[str, ...] = field(repr=False)
    recovery_hash: str = field(repr=False)
    fingerprint_key: bytes = field(repr=False)
    secrets: tuple[Secret, ...]
    ledger: Ledger | None
    epochs: Mapping[str, bytes] = field(repr=False)
    carried: Mapping[str, bytes] = field(repr=False)
    place: Mapping[str, Mapping[str, str]] = field(repr=False)


def offer_of(pending: Pending, now_ns: int) -> bytes:
    """The offer of a new host: one line of canonical JSON, signed by the key that it offers."""
    said = {
        "schema": OFFER_SCHEMA,
        "host": pending.host,
        "recipient": str(pending.host_key.recipient),
        "time": utc_text(now_ns),
    }
    return sign_statement(said, pending.op_key)


def read_offer(data: bytes) -> Offer:
    """The offer in `data`, its signature verified. `IntegrityError`: it is damaged."""
    fields = Fields(open_statement(data, OFFER_SCHEMA, None, "the offer"), "the offer")
    offer = Offer(fields.text("host"), parse_multikey(fields.text("key")), fields.text("recipient"))
    check_host(offer.host)
    return offer


def code_of(offer: bytes) -> str:
    """What a person compares on both machines: 80 bits of the offer's SHA-256, as `ABCD-EFGH-IJKL-MNOP`."""
    letters = base64.b32encode(hashlib.sha256(offer).digest()[:_CODE_BYTES]).decode()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def seal_pending(pending: Pending) -> bytes:
    """The op key of a new host, sealed to its own host key."""
    body = {"schema": PENDING_SCHEMA, "host": pending.host, "op_seed": to_base64(pending.op_key.seed())}
    return seal_envelope(body, pending.op_key, [str(pending.host_key.recipient)])


def open_pending(data: Buffer, host_key: X25519Identity) -> Pending:
    """What `seal_pending` wrote. `CannotUnlockError`: it belongs to another host key."""
    opened = open_envelope(data, PENDING_SCHEMA, [host_key])
    fields = Fields(opened.body, "a pending move")
    fields.text("schema")
    pending = Pending(fields.text("host"), SigningKey(fields.data("op_seed", SEED_BYTES)), host_key)
    fields.end()
    return pending


def is_handed_over(log: IdentityLog, offer: Offer) -> bool:
    """Whether `log` names the new host already: then only the parcel is made again."""
    return op_keys_of(log.document).get(offer.host) == offer.op_public


def hand_over(
    kit: RecoveryKit, keystore: Keystore, files: IdentityFiles, host: X25519Identity, now_ns: int, offer: Offer
) -> IdentityLog:
    """Name the new host in the log instead of this one, by the kit, and make a new escrow; the longer log.

    From then on this host's op key counts no more, here first of all. Raises `UsageError` (not the kit of this
    identity), `RetiredError` (this host is no host any more), and what `save_change` raises.
    """
    log = parse_log(files.log.read_bytes())
    named = op_keys_of(log.document)
    if named.get(keystore.host) != keystore.op_key.public:
        raise RetiredError(f"host `{keystore.host}` does not speak for the agent any more: nothing handed over")
    retire = {keystore.host} - {offer.host}
    at_ns = not_before(keystore, now_ns)
    recovered = recover_host(log, kit, offer.host, offer.op_public, at_ns, retire=retire)
    longer, commitment = recovered.log, recovered.commitment
    changed = replace(keystore, log_head=longer.head, recovery_hash=commitment.recovery_hash)
    escrow = seal_escrow(replace(changed, secrets=(), sequence=keystore.sequence + 1), commitment.next_key)
    whole = {"log": longer.text, "retired": offer.host.encode()}
    save_change(files, changed, host, {**whole, **escrow_change(files.escrow, escrow, now_ns)})
    return longer


def seal_parcel(parcel: Parcel, keystore: Keystore, offer: Offer) -> bytes:
    """The parcel, signed by this host's op key, sealed to the new host alone."""
    body = {
        "schema": PARCEL_SCHEMA,
        "agent": parcel.agent,
        "log": parcel.log.text.decode(),
        "recovery_recipients": list(parcel.recovery_recipients),
        "recovery_hash": parcel.recovery_hash,
        "fingerprint_key": to_base64(parcel.fingerprint_key),
        "secrets": [secret_to_json(secret) for secret in parcel.secrets],
        "rows": [row.body for row in parcel.ledger.rows] if parcel.ledger else [],
        "epochs": {name: to_base64(data) for name, data in parcel.epochs.items()},
        "carried": {name: to_base64(data) for name, data in parcel.carried.items()},
        "place": {name: dict(values) for name, values in parcel.place.items()},
    }
    return seal_envelope(body, keystore.op_key, [offer.recipient])


def open_parcel(data: Buffer, pending: Pending) -> Parcel:
    """The parcel for the new host `pending`, signed by a host of the agent that it brings.

    Raises `CannotUnlockError` (it is for another host), `IntegrityError` (changed, forged, or not for these keys).
    """
    with naming("the parcel"):
        opened = open_envelope(data, PARCEL_SCHEMA, [pending.host_key])
    fields = Fields(opened.body, "the parcel")
    fields.text("schema")
    agent, log = fields.text("agent"), parse_log(fields.text("log").encode())
    log.op_key(opened.signer)
    if op_keys_of(log.document).get(pending.host) != pending.op_key.public:
        raise IntegrityError("the parcel's identity log does not name this host's key")
    fingerprint_key = fields.data("fingerprint_key", FINGERPRINT_KEY_BYTES)
    rows = fields.items("rows")
    return Parcel(
        agent=agent,
        log=log,
        recovery_recipients=tuple(str(each) for each in fields.items("recovery_recipients")),
        recovery_hash=fields.text("recovery_hash"),
        fingerprint_key=fingerprint_key,
        secrets=tuple(secret_from_json(item) for item in fields.items("secrets")),
        ledger=Ledger(log.scid, fingerprint_key, read_rows(rows, log)) if rows else None,
        epochs=_files(opened.body.get("epochs")),
        carried=_files(opened.body.get("carried")),
        place=_place(opened.body.get("place")),
    )


def epochs_for(
    files: Mapping[str, Buffer], host: X25519Identity, keystore: Keystore, recipient: str
) -> dict[str, bytes]:
    """The hot epoch files that `host` opens, sealed to `recipient` and to recovery instead, by file name."""
    opened = open_epochs({name: data for name, data in files.items() if name.startswith("hot-")}, [host])
    recovery = keystore.recovery_recipients
    return {f"{name}.age": seal_epoch(name, key, recipient, recovery) for name, key in opened.items()}


def _files(value: object) -> dict[str, bytes]:
    if not isinstance(value, dict):
        raise IntegrityError("the parcel holds no files where it should")
    fields = Fields(value, "files of the parcel")
    return {str(name): fields.data(str(name)) for name in value}


def _place(value: object) -> dict[str, dict[str, str]]:
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise UsageError("the parcel does not say where the agent's backups are")
    return {str(kind): {str(name): str(url) for name, url in item.items()} for kind, item in value.items()}
