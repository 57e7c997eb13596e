"""The keys of memory epochs, and how every device of the agent comes to have them.

A keyring is one signed file: who may open it is listed, the keys are sealed to those, to recovery, and to a hot
backup epoch, which every host that was made by `recover` can open. It lies beside the device log (so backups
carry it) and in the backend. Two keyrings are one with the keys of both; the newest epoch wraps the keys of new
events. A device that cannot open it asks by a signed line with its recipient, and the next one that can seals it
anew. When a device is revoked, the next one to notice starts an epoch that it has no key of. Format:
docs/spec/event-v1.md.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from antsmem.core import canonical
from antsmem.core.age import X25519Identity, parse_recipient, seal, unseal
from antsmem.core.errors import IntegrityError
from antsmem.core.record import field, record, replace
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.statement import Signer, open_statement, sign_statement
from antsmem.memory.sealing import KEY_BYTES, MemoryKeys

SCHEMA: Final = "antsmem.memory-keyring/1"
ASKING: Final = "antsmem.memory-asking/1"
MAX_BYTES: Final = 1 << 20
_LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_match_epoch = re.compile(r"e[0-9]{13}-[a-z0-9A-Z]{8}").fullmatch


@record
class Keyring:
    """The keys by epoch, and the devices' op keys (multikey → age recipient) that they are sealed to."""

    epochs: Mapping[str, bytes] = field(repr=False)
    grants: Mapping[str, str]

    @property
    def keys(self) -> MemoryKeys:
        """What seals and opens events."""
        return MemoryKeys(self.epochs, max(self.epochs))


def new_keyring(now_ns: int) -> Keyring:
    """A keyring with one new epoch, sealed to nobody yet."""
    return with_new_epoch(Keyring({}, {}), now_ns)


def with_new_epoch(keyring: Keyring, now_ns: int) -> Keyring:
    """`keyring` with a further epoch, under which all new events are sealed. Names sort by their time."""
    instant = now_ns // 1_000_000
    if keyring.epochs:
        instant = max(instant, int(max(keyring.epochs)[1:14]) + 1)
    name = f"e{instant:013d}-" + "".join(_LETTERS[byte & 31] for byte in os.urandom(8))
    return replace(keyring, epochs={**keyring.epochs, name: os.urandom(KEY_BYTES)})


def united(one: Keyring, other: Keyring) -> Keyring:
    """A keyring with the keys and the devices of both."""
    return Keyring({**one.epochs, **other.epochs}, {**one.grants, **other.grants})


def seal_keyring(keyring: Keyring, stream: str, signer: Signer, others: Sequence[str]) -> bytes:
    """The file of `keyring`, for the devices in it and the recipients `others` (recovery, a hot epoch)."""
    inside = canonical.dumps({name: to_base64(key) for name, key in keyring.epochs.items()})
    recipients = sorted({*keyring.grants.values(), *others})
    sealed = b"".join(seal([inside], [parse_recipient(text) for text in recipients]))
    body = {"schema": SCHEMA, "stream": stream, "grants": dict(keyring.grants), "sealed": to_base64(sealed)}
    return sign_statement(body, signer)


def read_grants(data: bytes, stream: str, log: IdentityLog) -> dict[str, str]:
    """Whom the keyring `data` is sealed to; verified, not opened. `IntegrityError`: forged, or another agent's."""
    return _parsed(data, stream, log)[0]


def open_keyring(data: bytes, stream: str, log: IdentityLog, identities: Sequence[X25519Identity]) -> Keyring:
    """The keyring in `data`. `CannotUnlockError`: none of `identities` opens it; `IntegrityError`: forged."""
    grants, sealed = _parsed(data, stream, log)
    value = canonical.loads(bytes(unseal(sealed, identities)), MAX_BYTES)
    fields = Fields(value, "a memory keyring")
    if not all(map(_match_epoch, value)):
        raise IntegrityError("the keyring names an epoch that is none")
    epochs = {name: fields.data(name, KEY_BYTES) for name in list(value)}
    if not epochs:
        raise IntegrityError("a memory keyring is empty")
    return Keyring(epochs, grants)


def _parsed(data: bytes, stream: str, log: IdentityLog) -> tuple[dict[str, str], bytes]:
    body = open_statement(data, SCHEMA, set(log.operational_keys), "keyring")
    fields = Fields(body, "a memory keyring")
    fields.text("schema")
    fields.text("key")
    if fields.text("stream") != stream:
        raise IntegrityError("a memory keyring is of another agent or tenant")
    grants = fields.object("grants")
    sealed = fields.data("sealed")
    fields.end()
    if not all(isinstance(text, str) for text in grants.values()):
        raise IntegrityError("a memory keyring is not sealed to recipients")
    return grants, sealed


def signer_of(data: bytes) -> bytes:
    """The public key that a keyring names as its signer."""
    value = canonical.loads(data, MAX_BYTES)
    return parse_multikey(value.get("key") if isinstance(value, dict) else None)


def ask(stream: str, op_key: Signer, recipient: str) -> bytes:
    """A signed line that asks for the keyring to be sealed to `recipient`, the host with `op_key`."""
    body = {"schema": ASKING, "stream": stream, "recipient": recipient}
    return sign_statement(body, op_key)


def read_asking(data: bytes, stream: str, log: IdentityLog) -> tuple[str, str]:
    """Who asks (multikey) and the recipient; `IntegrityError` unless it is a device that speaks for the agent."""
    current = {public for public, key in log.operational_keys.items() if not key.revoked}
    fields = Fields(open_statement(data, ASKING, current, "asking"), "a device that asks")
    fields.text("schema")
    if fields.text("stream") != stream:
        raise IntegrityError("a device of another agent or tenant asks")
    key, recipient = fields.text("key"), fields.text("recipient")
    fields.end()
    parse_recipient(recipient)
    return key, recipient


def without_revoked(keyring: Keyring, log: IdentityLog, now_ns: int) -> Keyring:
    """`keyring` for the devices that still speak for the agent; with a new epoch if one of them does not."""
    current = {multikey(public) for public, key in log.operational_keys.items() if not key.revoked}
    grants = {key: recipient for key, recipient in keyring.grants.items() if key in current}
    if len(grants) == len(keyring.grants):
        return keyring
    return with_new_epoch(replace(keyring, grants=grants), now_ns)


def asking_row(public: bytes) -> str:
    """The key of the row in which the host with the op key `public` asks."""
    return f"asking/{hashlib.sha256(public).hexdigest()[:32]}"
