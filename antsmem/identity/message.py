"""Messages between agents: signed by the sender's op key, sealed to every host of the receiver.

A host's recipient is computed from its op key, which the identity log names anyway: the X25519 key that belongs
to an Ed25519 key by the birational map of RFC 7748. So a relay sees who writes to whom and how much, never what.
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519, crypto_sign_ed25519_sk_to_curve25519

from antsmem.core.age import X25519Identity
from antsmem.core.age.keys import X25519Recipient
from antsmem.core.clock import utc_text
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError
from antsmem.core.record import field, record
from antsmem.identity.document import op_keys_of
from antsmem.identity.envelope import open_envelope, seal_envelope
from antsmem.identity.fields import Fields
from antsmem.identity.log import IdentityLog
from antsmem.identity.signing import SigningKey

SCHEMA: Final = "antsmem.message/1"
MAX_TEXT_BYTES: Final = 32 << 10


@record
class Address:
    """Which message it is: SCIDs of sender and receiver, and the id that the sender drew (22 letters)."""

    sender: str
    to: str
    message: str


@record
class Message:
    """A message that was opened. `time` is what the sender wrote. `revoked`: the key that signed it speaks for the
    sender no more, so it may be a thief's."""

    address: Address
    host: str
    time: str
    text: str = field(repr=False)
    revoked: bool = False


def seal_message(text: str, address: Address, key: SigningKey, receiver: IdentityLog, now_ns: int) -> bytes:
    """`text` as a message by the sender's op key `key`, for every host of `receiver`. `UsageError` if it has more
    than 32 KiB, `NotFoundError` if no host could read it."""
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise UsageError(f"a message has up to {MAX_TEXT_BYTES} bytes", hint="send where the rest is to be found")
    keys = op_keys_of(receiver.document)
    if not keys or receiver.deactivated:
        raise NotFoundError(f"no host speaks for identity `{receiver.scid}`: nobody could read the message")
    body = {
        "schema": SCHEMA,
        "from": address.sender,
        "to": address.to,
        "id": address.message,
        "time": utc_text(now_ns),
        "text": text,
    }
    return seal_envelope(body, key, [_recipient(public) for public in keys.values()])


def open_message(sealed: bytes, address: Address, key: SigningKey, sender: IdentityLog) -> Message:
    """The message in `sealed`, which came as `address`, opened by this host's op key.

    Raises `CannotUnlockError` (sealed to keys that this host has not) and `IntegrityError` (changed, meant for
    somebody else, or not signed by a key that `sender` ever named).
    """
    secret = crypto_sign_ed25519_sk_to_curve25519(key.seed() + key.public)
    opened = open_envelope(sealed, SCHEMA, [X25519Identity(secret)])
    fields = Fields(opened.body, "the message")
    fields.text("schema")
    found = Address(fields.text("from"), fields.text("to"), fields.text("id"))
    time, text = fields.text("time"), fields.text("text")
    fields.end()
    if found != address or found.sender != sender.scid:
        raise IntegrityError("a message says of itself that it is another one, or for somebody else: forged")
    signer = sender.op_key(opened.signer)
    return Message(found, signer.host, time, text, signer.revoked)


def _recipient(public: bytes) -> str:
    return str(X25519Recipient(crypto_sign_ed25519_pk_to_curve25519(public)))
