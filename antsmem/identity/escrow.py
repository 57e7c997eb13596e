"""The escrow, `keystore-escrow.age`: what recovery needs and no host may keep, sealed to recovery only.

It holds the next control key, without which the identity could only ever be changed by the recovery kit, and the
secrets. It is made anew after each key change and kept apart from the backups. Format: docs/spec/keystore-v1.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from antsmem.core.age import X25519Identity
from antsmem.core.clock import file_stamp, parse_file_stamp
from antsmem.core.disk import Buffer, is_temp, make_private_dir, write_file
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import field, record
from antsmem.identity.envelope import open_envelope, seal_envelope
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.keystore import FINGERPRINT_KEY_BYTES, Keystore
from antsmem.identity.log import IdentityLog
from antsmem.identity.secret import Secret, secret_from_json, secret_to_json
from antsmem.identity.signing import SEED_BYTES, SigningKey

SCHEMA = "antsmem.escrow/1"
FILE = "keystore-escrow.age"
KEPT = 3
_MOMENT_NS = 1_000_000


@record
class Escrow:
    """What an escrow holds, as of `sequence` of the keystore of `host` and of identity log entry `log_head`."""

    agent: str
    scid: str
    host: str
    log_head: str
    sequence: int
    next_key: SigningKey
    fingerprint_key: bytes = field(repr=False)
    secrets: tuple[Secret, ...]


def seal_escrow(keystore: Keystore, next_key: SigningKey) -> bytes:
    """The escrow file for `keystore` with the control key `next_key`, sealed to recovery, signed by the op key."""
    if not keystore.recovery_recipients:
        raise UsageError("an escrow needs a recovery recipient")
    body = {
        "schema": SCHEMA,
        "agent": keystore.agent,
        "scid": keystore.scid,
        "host": keystore.host,
        "log_head": keystore.log_head,
        "sequence": keystore.sequence,
        "next_seed": to_base64(next_key.seed()),
        "fingerprint_key": to_base64(keystore.fingerprint_key),
        "secrets": [secret_to_json(secret) for secret in keystore.secrets],
    }
    return seal_envelope(body, keystore.op_key, keystore.recovery_recipients)


def open_escrow(data: Buffer, identities: Sequence[X25519Identity], log: IdentityLog) -> Escrow:
    """The escrow in `data`, which a host of the identity in `log` must have signed.

    Raises `CannotUnlockError` (no identity opens it) and `IntegrityError` (changed, or signed by nobody of this
    identity). `log` may be newer: then `next_key` may be one that has been used or replaced.
    """
    opened = open_envelope(data, SCHEMA, identities)
    fields = Fields(opened.body, "the escrow")
    fields.text("schema")
    escrow = Escrow(
        agent=fields.text("agent"),
        scid=fields.text("scid"),
        host=fields.text("host"),
        log_head=fields.text("log_head"),
        sequence=fields.number("sequence"),
        next_key=SigningKey(fields.data("next_seed", SEED_BYTES)),
        fingerprint_key=fields.data("fingerprint_key", FINGERPRINT_KEY_BYTES),
        secrets=tuple(secret_from_json(item) for item in fields.items("secrets")),
    )
    fields.end()
    if escrow.scid != log.scid:
        raise IntegrityError(f"escrow is of identity `{escrow.scid[:60]}`, not of `{log.scid}`")
    log.op_key(opened.signer)
    return escrow


def keep_escrow(folder: Path, escrow: bytes, now_ns: int, name: str = FILE) -> Path:
    """Put an escrow where backups are not, as `<time>-<name>`; the newest three stay."""
    make_private_dir(folder)
    path = escrow_path(folder, now_ns, name)
    write_file(path, [escrow])
    for old in sorted(_escrows(folder, f"*Z-{name}"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def escrow_path(folder: Path, now_ns: int, name: str = FILE) -> Path:
    """Where the next escrow goes: its name has the time, or a moment after the newest one there if the clock is
    behind that."""
    newest = newest_escrow(folder, name)
    if newest is not None:
        with suppress(ValueError):  # somebody else's name
            now_ns = max(now_ns, parse_file_stamp(newest.name) + _MOMENT_NS)
    return folder / f"{file_stamp(now_ns)}-{name}"


def escrow_change(folder: Path | None, escrow: bytes, now_ns: int, kept: int = KEPT) -> dict[str, bytes | None]:
    """What `save_change` takes to keep the keys' `escrow`, and of the former ones the newest: `kept` in all."""
    if folder is None:
        raise UsageError("there is no directory for escrows")
    former = sorted(path.name for path in _escrows(folder, f"*-{FILE}"))
    gone = former[: max(0, len(former) - kept + 1)]
    return {**{f"escrow/{name}": None for name in gone}, f"escrow/{escrow_path(folder, now_ns).name}": escrow}


def newest_escrow(folder: Path, name: str = FILE) -> Path | None:
    """The newest escrow of that name in `folder`, if there is one."""
    return max(_escrows(folder, f"*Z-{name}"), default=None)


def _escrows(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if not is_temp(path.name)]
