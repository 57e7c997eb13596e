"""Anchors: places off this host's workspace that remember how long the ledger is, so that an old one is noticed.

What an anchor keeps is a publication: the ledger's public, signed head and, unless the anchor is a pin, the sealed
ledger itself, so that whoever recovers the agent reads the newest ledger from any anchor. An anchor does not have
to be trusted: it may withhold or roll back, which other anchors show, and it cannot forge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.disk import locked, make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, RollbackError
from antsmem.core.record import field, record
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.ledger import Ledger, open_ledger
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.signing import SIGNATURE_BYTES, SigningKey, verify

HEAD_SCHEMA: Final = "antsmem.ledger-head/1"
SCHEMA: Final = "antsmem.ledger-publication/1"
MAX_BYTES: Final = 24 << 20
REMOVE: Final = (
    "see what was done there; then remove `anchors/ledger.json` (of a git remote: `refs/antsmem/ledger`)"
)
_HEX64: Final = re.compile(r"[0-9a-f]{64}")


class Anchor(Protocol):
    """A place that keeps the newest publication of one agent's ledger."""

    @property
    def name(self) -> str:
        """What to call it in messages: a name from the configuration, never an address with credentials."""
        ...

    def fetch(self) -> bytes | None:
        """The newest publication, as it is kept there; None: there never was one. `BackendError` if the anchor
        does not answer, `RefusedError` if it answers no."""
        ...

    def publish(self, data: bytes) -> None:
        """Keep the publication `data` instead of the one there is. One with the same head is left as it is;
        `RollbackError` if there is a newer or another one, `ConflictError` if somebody published meanwhile."""
        ...


@record
class Head:
    """The public head of a ledger: the number and hash of its newest row, and which host says so, when."""

    scid: str
    seq: int
    hash: str
    time: str
    host: str
    by: bytes
    sig: bytes = field(repr=False)


def sign_head(ledger: Ledger, host: str, key: SigningKey) -> Head:
    """The head of `ledger`, signed by `key`, the op key of `host`; dated as its newest row."""
    time = ledger.rows[-1].time if ledger.rows else ""
    unsigned = Head(ledger.scid, ledger.seq, ledger.hash, time, host, key.public, b"")
    return Head(
        ledger.scid, ledger.seq, ledger.hash, time, host, key.public, key.sign(canonical.dumps(_said(unsigned)))
    )


def head_to_json(head: Head) -> dict[str, Any]:
    """The JSON object of `head`."""
    return {**_said(head), "sig": head.sig.hex()}


def head_from_json(value: object) -> Head:
    """The head in a JSON object, its signature verified, else `IntegrityError`. Whose key it is, `check_head`
    says."""
    fields = Fields(value, "a ledger head")
    if fields.text("schema") != HEAD_SCHEMA:
        raise IntegrityError("a ledger head has another schema")
    head = Head(
        scid=fields.text("scid"),
        seq=fields.number("seq"),
        hash=fields.text("hash"),
        time=fields.text("time"),
        host=fields.text("host"),
        by=parse_multikey(fields.text("by")),
        sig=_unhex(fields.text("sig")),
    )
    fields.end()
    if not _HEX64.fullmatch(head.hash):
        raise IntegrityError("a ledger head has no hash")
    verify(head.by, canonical.dumps(_said(head)), head.sig)
    return head


def check_head(head: Head, log: IdentityLog) -> None:
    """Return if `head` is of the identity in `log` and signed by an op key that the log names for its host, else
    `IntegrityError`. A key that was revoked since may have signed it: what counts is where it fits."""
    if head.scid != log.scid:
        raise IntegrityError(f"ledger head is of identity `{head.scid[:60]}`, not of `{log.scid}`")
    if log.op_key(head.by).host != head.host:
        raise IntegrityError("a ledger head is signed by another host than it names")


@record
class Publication:
    """What an anchor keeps: the head, and the sealed ledger (empty in a pin)."""

    head: Head
    sealed: bytes = field(repr=False)

    def ledger(self, identities: Sequence[X25519Identity], log: IdentityLog) -> Ledger:
        """The ledger in it, verified, and the one that the head names; raises as `open_ledger` does."""
        ledger = open_ledger(self.sealed, identities, log)
        if (ledger.seq, ledger.hash) != (self.head.seq, self.head.hash):
            raise IntegrityError("the ledger is not the one that its head names")
        return ledger


def publication_to_bytes(publication: Publication) -> bytes:
    """What is given to anchors."""
    body = {
        "schema": SCHEMA,
        "head": head_to_json(publication.head),
        "ledger": to_base64(publication.sealed),
    }
    return canonical.dumps(body) + b"\n"


def publication_from_bytes(data: bytes) -> Publication:
    """The publication in `data`, the signature of its head verified, else `IntegrityError`."""
    fields = Fields(canonical.loads(data, MAX_BYTES), "a publication of the ledger")
    if fields.text("schema") != SCHEMA:
        raise IntegrityError("a publication of the ledger has another schema")
    items = fields.object("head")
    found = Publication(head_from_json(items), fields.data("ledger"))
    fields.end()
    return found


def head_only(data: bytes) -> bytes:
    """The publication `data` without its ledger: enough to show that something newer exists."""
    return publication_to_bytes(Publication(publication_from_bytes(data).head, b""))


def refuse_older(name: str, there: bytes | None, data: bytes) -> bool:
    """Whether an anchor that holds `there` has to take the publication `data` (False: it has that one already).
    `RollbackError` if what it holds is newer, or as new and another; `IntegrityError` if it cannot be read."""
    if there is None:
        return True
    new = publication_from_bytes(data).head
    try:
        old = publication_from_bytes(there).head
    except IntegrityError as error:
        raise IntegrityError(f"anchor `{name}`: {error}", hint=f"{REMOVE}, and publish anew") from None
    if old.scid != new.scid:
        raise IntegrityError(f"anchor `{name}` holds the ledger of another identity")
    if old.seq > new.seq or (old.seq == new.seq and old.hash != new.hash):
        what = "a newer ledger" if old.seq > new.seq else "another ledger"
        raise RollbackError(
            f"anchor `{name}` holds {what} than this host: row {old.seq}, here {new.seq}",
            hint="antsmem secret verify takes over what is newer, or says where the histories part",
        )
    return (old.seq, old.hash) != (new.seq, new.hash)


@record
class PinFile:
    """The pin: the newest head that this host has seen, in a file outside of the workspace."""

    path: Path
    name: str = "pin"

    def fetch(self) -> bytes | None:
        """What the file holds; None: there is none."""
        try:
            return read_file(self.path, MAX_BYTES)
        except NotFoundError:
            return None

    def publish(self, data: bytes) -> None:
        """Keep the head in `data`."""
        make_private_dir(self.path.parent)
        with locked(self.path.with_suffix(".lock"), f"pin `{self.path}` is being written"):
            if refuse_older(self.name, self.fetch(), data):
                write_file(self.path, [head_only(data)])


@record
class Told:
    """What anchors said when they were asked: name → publication (None: never had one), name → why there was no
    answer."""

    answers: Mapping[str, bytes | None] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


def ask(anchors: Sequence[Anchor]) -> Told:
    """Ask every anchor for its newest publication; one that does not answer stops nothing."""
    answers: dict[str, bytes | None] = {}
    silent: dict[str, str] = {}
    for anchor in anchors:
        try:
            answers[anchor.name] = anchor.fetch()
        except IntegrityError:
            raise
        except AntsmemError as error:
            silent[anchor.name] = str(error)
    return Told(answers, silent)


@record
class Published:
    """Which anchors hold the head now, and which do not, and why."""

    took: tuple[str, ...]
    failed: Mapping[str, AntsmemError] = field(default_factory=dict)


def publish(data: bytes, anchors: Sequence[Anchor]) -> Published:
    """Give the publication `data` to every anchor. `RollbackError`, at the end, if one has a newer or another
    ledger; any other failure is reported."""
    took: list[str] = []
    failed: dict[str, AntsmemError] = {}
    for anchor in anchors:
        try:
            anchor.publish(data)
            took.append(anchor.name)
        except AntsmemError as error:
            failed[anchor.name] = error
    for refusal in failed.values():
        if isinstance(refusal, RollbackError):
            raise refusal
    return Published(tuple(took), failed)


def _said(head: Head) -> dict[str, Any]:
    return {
        "schema": HEAD_SCHEMA,
        "scid": head.scid,
        "seq": head.seq,
        "hash": head.hash,
        "time": head.time,
        "host": head.host,
        "by": multikey(head.by),
    }


def _unhex(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != SIGNATURE_BYTES or data.hex() != text:
        raise IntegrityError("a signature is not hex")
    return data
