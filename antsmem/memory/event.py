"""One event: a signed, sealed and chained CloudEvent, and the rules by which one is believed.

CloudEvents 1.0 (https://github.com/cloudevents/spec), all attributes text. A detached JWS (RFC 7515 with RFC 7797,
EdDSA) covers every attribute but itself, and the data by its digest: data and the key to it can be destroyed, and
the chain still holds. Format: docs/spec/event-v1.md.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.clock import utc_text
from antsmem.core.errors import IntegrityError
from antsmem.core.record import field, record
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.signing import verify
from antsmem.identity.statement import Signer
from antsmem.memory.clocks import check_clock, clock_ns
from antsmem.memory.sealing import base64url

TYPE_PREFIX: Final = "dev.antsmem."
PATCHED: Final = f"{TYPE_PREFIX}file.patched.v1"
DELETED: Final = f"{TYPE_PREFIX}file.deleted.v1"
REDACTED: Final = f"{TYPE_PREFIX}record.redacted.v1"
SEEN: Final = f"{TYPE_PREFIX}device.seen.v1"
TYPES: Final = (PATCHED, DELETED, REDACTED, SEEN)
FIRST: Final = "0" * 64
NO_EPOCH: Final = "none"
"""The epoch of an event in which nothing is sealed."""

MAX_EVENT_BYTES: Final = 1 << 20

_ATTRIBUTES: Final = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "partitionkey", "sequence"}
    | {"hlc", "parents", "prev", "keyepoch", "datadigest", "signature"}
)
_OPTIONAL: Final = frozenset({"dataref"})
_ULID: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SEQUENCE: Final = re.compile(r"[0-9]{16}")
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}~[0-9A-HJKMNP-TV-Z]{8}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DATAREF: Final = re.compile(r"urn:sha256:[0-9a-f]{64}")


@record
class Parent:
    """How far an event's author had seen another device: up to `sequence`, whose event has `hash`."""

    device: str
    sequence: int
    hash: str


@record
class Event:
    """An event. `attributes` are as signed; `data` and `key` (wrapped) are empty once it is redacted."""

    attributes: Mapping[str, str]
    data: bytes = field(repr=False)
    key: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Its ULID."""
        return self.attributes["id"]

    @property
    def type(self) -> str:
        """What happened, `dev.antsmem.…`."""
        return self.attributes["type"]

    @property
    def device(self) -> str:
        """Who wrote it: the last part of the source."""
        return self.attributes["source"].rpartition("/")[2]

    @property
    def stream(self) -> str:
        """`tenant/agent`."""
        return self.attributes["partitionkey"]

    @property
    def sequence(self) -> int:
        """Its number among the events of its device, from 1."""
        return int(self.attributes["sequence"])

    @property
    def clock(self) -> str:
        """Its hybrid logical clock."""
        return self.attributes["hlc"]

    @property
    def epoch(self) -> str:
        """The epoch whose key wraps its own; `NO_EPOCH`: nothing is sealed."""
        return self.attributes["keyepoch"]

    @property
    def parents(self) -> tuple[Parent, ...]:
        """What its author had seen of other devices since its event before."""
        return parse_parents(self.attributes["parents"])

    @property
    def blob(self) -> str:
        """The SHA-256 of the blob that holds its content; empty: the content is inside."""
        return self.attributes.get("dataref", "").removeprefix("urn:sha256:")

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all its attributes: what the next event of the device names as `prev`."""
        return hashlib.sha256(canonical.dumps(dict(self.attributes))).hexdigest()

    @property
    def context(self) -> bytes:
        """What its sealed parts are bound to."""
        return context_of(self.attributes["source"], self.sequence, self.id)


@record
class Draft:
    """What an event says, before it is signed. `parents` as `Parent`s; `data` is sealed already."""

    id: str
    stream: str
    device: str
    type: str
    subject: str
    sequence: int
    clock: str
    prev: str
    parents: Sequence[Parent]
    epoch: str
    data: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    blob: str = ""


def sign_event(draft: Draft, signer: Signer) -> Event:
    """`draft` as an event, signed by `signer`."""
    attributes = {
        "specversion": "1.0",
        "id": draft.id,
        "source": source_of(draft.stream, draft.device),
        "type": draft.type,
        "subject": draft.subject,
        "time": utc_text(clock_ns(draft.clock)),
        "datacontenttype": "application/octet-stream",
        "partitionkey": draft.stream,
        "sequence": f"{draft.sequence:016d}",
        "hlc": draft.clock,
        "parents": " ".join(f"{item.device}:{item.sequence}:{item.hash}" for item in draft.parents),
        "prev": draft.prev,
        "keyepoch": draft.epoch,
        "datadigest": hashlib.sha256(draft.data).hexdigest(),
    }
    if draft.blob:
        attributes["dataref"] = f"urn:sha256:{draft.blob}"
    header = _header(multikey(signer.public))
    signature = signer.sign(_signed(header, attributes))
    attributes["signature"] = f"{header}..{base64url(signature)}"
    return Event(attributes, draft.data, draft.key)


def verify_event(event: Event, log: IdentityLog) -> bytes:
    """The public key that signed `event`, if its form, its data and its signature are good and the key is, or was,
    that of the host whose device it claims to be; else `IntegrityError`. Whether that key was revoked meanwhile
    is for the caller to judge."""
    check_form(event)
    attributes = dict(event.attributes)
    header, _, text = attributes.pop("signature").partition("..")
    public = parse_multikey(_kid(header))
    if event.data and hashlib.sha256(event.data).hexdigest() != attributes["datadigest"]:
        raise IntegrityError(f"event `{event.id}` does not have the data that was signed")
    signature = _from_base64url(text)
    if header != _header(multikey(public)) or text != base64url(signature):  # one spelling
        raise IntegrityError(f"event `{event.id}` is not signed as events are")
    verify(public, _signed(header, attributes), signature)
    if log.op_key(public).host != event.device.rpartition("~")[0]:
        raise IntegrityError(f"event `{event.id}` is signed by a key of another host than its device's")
    return public


def check_form(event: Event) -> None:
    """`IntegrityError` unless the attributes are those of an event, each of its form."""
    attributes = event.attributes
    names = set(attributes)
    if not names >= _ATTRIBUTES or not names <= _ATTRIBUTES | _OPTIONAL:
        raise IntegrityError("an event does not have the attributes of one")
    tenant, _, agent = attributes["partitionkey"].partition("/")
    good = (
        attributes["specversion"] == "1.0"
        and attributes["datacontenttype"] == "application/octet-stream"
        and _ULID.fullmatch(attributes["id"])
        and _SEQUENCE.fullmatch(attributes["sequence"])
        and int(attributes["sequence"]) > 0
        and _DIGEST.fullmatch(attributes["prev"])
        and _DIGEST.fullmatch(attributes["datadigest"])
        and _NAME.fullmatch(attributes["keyepoch"])
        and _NAME.fullmatch(tenant)
        and _NAME.fullmatch(agent)
        and _DEVICE.fullmatch(event.device)
        and attributes["source"] == source_of(attributes["partitionkey"], event.device)
        and attributes["type"].startswith(TYPE_PREFIX)
        and ("dataref" not in attributes or _DATAREF.fullmatch(attributes["dataref"]))
    )
    if not good:
        raise IntegrityError("an attribute of an event is not of its form")
    check_clock(attributes["hlc"])
    if attributes["time"] != utc_text(clock_ns(attributes["hlc"])):
        raise IntegrityError("an event's time is not that of its clock")
    if any(parent.device == event.device for parent in event.parents):
        raise IntegrityError("an event names its own device among its parents")


def source_of(stream: str, device: str) -> str:
    """`ants://tenant/agent/dev/device`: one writer, one chain."""
    return f"ants://{stream}/dev/{device}"


def context_of(source: str, sequence: int, event_id: str) -> bytes:
    """What the sealed parts of an event are bound to: its source, its number and its id."""
    return f"{source} {sequence} {event_id}".encode()


def parse_parents(text: str) -> tuple[Parent, ...]:
    """`device:sequence:hash`, separated by single spaces; `IntegrityError` for anything else."""
    found = []
    for part in text.split(" ") if text else []:
        device, _, rest = part.partition(":")
        sequence, _, digest = rest.partition(":")
        plain = sequence.isascii() and sequence.isdecimal() and len(sequence) <= 16 and sequence[0] != "0"
        if not (_DEVICE.fullmatch(device) and plain and _DIGEST.fullmatch(digest)):
            raise IntegrityError("an event's parents are not `device:sequence:hash`")
        found.append(Parent(device, int(sequence), digest))
    return tuple(found)


def event_to_line(event: Event) -> bytes:
    """`event` as one line of CloudEvents JSON, with its wrapped key as `recordkey`."""
    from antsmem.identity.fields import to_base64

    value: dict[str, Any] = dict(event.attributes)
    if event.key:
        value |= {"data_base64": to_base64(event.data), "recordkey": base64url(event.key)}
    return canonical.dumps(value) + b"\n"


def event_from_line(line: bytes) -> Event:
    """What `event_to_line` wrote; `IntegrityError` for what cannot be an event. Not verified."""
    from base64 import b64decode

    value = canonical.loads(line, MAX_EVENT_BYTES)
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise IntegrityError("a line of an event log is not an event")
    try:
        data = b64decode(value.pop("data_base64", ""), validate=True)
    except ValueError:
        raise IntegrityError("an event's data is not base64") from None
    key = _from_base64url(value.pop("recordkey", ""))
    event = Event(value, data, key)
    check_form(event)
    return event


def _header(kid: str) -> str:
    return base64url(canonical.dumps({"alg": "EdDSA", "b64": False, "crit": ["b64"], "kid": kid}))


def _kid(header: str) -> object:
    value = canonical.loads(_from_base64url(header), 1024)
    return value.get("kid") if isinstance(value, dict) else None


def _signed(header: str, attributes: Mapping[str, str]) -> bytes:
    return header.encode() + b"." + canonical.dumps(dict(attributes))


def _from_base64url(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        raise IntegrityError("a part of an event is not base64url") from None
