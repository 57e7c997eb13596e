"""Make this device's own events: numbered, chained, sealed and signed.

Who this device is stands in a small file outside of the workspace, with the newest event it wrote: a workspace
that was put back to an older state goes on as another device, because no number may ever mean two events.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from antsmem.core import canonical
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import NotFoundError
from antsmem.core.record import record, replace
from antsmem.identity.fields import Fields
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.statement import Signer
from antsmem.memory.clocks import last_believed, next_clock
from antsmem.memory.event import (
    DELETED,
    FIRST,
    NO_EPOCH,
    PATCHED,
    REDACTED,
    SEEN,
    Draft,
    Event,
    Parent,
    context_of,
    sign_event,
    source_of,
)
from antsmem.memory.index import NOTHING, Head
from antsmem.memory.local import LocalMemory
from antsmem.memory.payload import INLINE_BYTES, Redaction, Revision, redaction_to_plain, revision_to_plain
from antsmem.memory.sealing import new_key, seal
from antsmem.workspace.ulid import new_ulid

_LIMIT: Final = 4096
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@record
class Speaker:
    """Who speaks for the agent on this host: its name in the identity log, and its op key."""

    host: str
    signer: Signer


@record
class Device:
    """This workspace as one of the agent's devices: `name` is `<host>~<8 letters>`, `key` the op key (multikey)
    that signs for it, `sequence` and `hash` its newest event as far as this host remembers."""

    name: str
    key: str
    sequence: int = 0
    hash: str = FIRST


def read_device(path: Path) -> Device | None:
    """What `write_device` wrote at `path`; None if there is nothing. `IntegrityError` for anything else."""
    try:
        fields = Fields(canonical.loads(read_file(path, _LIMIT), _LIMIT), f"`{path}`")
    except NotFoundError:
        return None
    device = Device(fields.text("device"), fields.text("key"), fields.number("sequence"), fields.text("hash"))
    fields.end()
    return device


def write_device(path: Path, device: Device) -> None:
    """Remember `device`."""
    value = {"device": device.name, "key": device.key, "sequence": device.sequence, "hash": device.hash}
    make_private_dir(path.parent)
    write_file(path, [canonical.dumps(value) + b"\n"])


def this_device(memory: LocalMemory, path: Path, speaker: Callable[[], Speaker]) -> Device:
    """The device that may write here: the one remembered at `path`, or a new one of `speaker` where that has a key
    that is revoked, or wrote more than is in the device log."""
    known = read_device(path)
    if known is not None:
        head = memory.index.heads().get(known.name, NOTHING)
        of = memory.log.operational_keys.get(parse_multikey(known.key))
        if of is not None and not of.revoked and head.sequence >= known.sequence:
            return known
    speaking = speaker()
    suffix = "".join(_LETTERS[byte & 31] for byte in os.urandom(8))
    device = Device(f"{speaking.host}~{suffix}", multikey(speaking.signer.public))
    write_device(path, device)
    return device


class Author:
    """Makes events of `device`, one after the other. What it made is to be taken in at once."""

    def __init__(self, memory: LocalMemory, device: Device, signer: Signer, now_ns: int) -> None:
        self._memory = memory
        self._device = device
        self._signer = signer
        self._now_ns = now_ns
        heads = memory.index.heads()
        self._head = heads.get(device.name, NOTHING)
        seen = memory.index.seen(device.name)
        self._parents = [
            Parent(name, head.sequence, head.hash)
            for name, head in sorted(heads.items())
            if name != device.name and seen.get(name, 0) < head.sequence
        ]
        self._clock = memory.index.latest_clock(last_believed(now_ns))

    @property
    def head(self) -> Head:
        """The newest event it made."""
        return self._head

    def revision(self, revision: Revision, content: bytes) -> Event:
        """The event that `revision.path` has `content` now (nothing: it is deleted)."""
        kind = PATCHED if revision.sha256 else DELETED
        subject = self._memory.keys.subject(revision.path, self._memory.keys.current)
        if len(content) <= INLINE_BYTES:
            return self._event(kind, subject, revision_to_plain(revision, content))
        return self._event(kind, subject, revision_to_plain(revision, b""), content)

    def redaction(self, redaction: Redaction, subject: str) -> Event:
        """The event that another one's content is destroyed."""
        return self._event(REDACTED, subject, redaction_to_plain(redaction))

    def seen(self) -> Event:
        """An event that holds nothing: it says by its parents what this device has seen, and vouches for that."""
        draft = self._draft(SEEN, "", new_ulid(self._now_ns), epoch=NO_EPOCH)
        return self._signed(draft)

    def _event(self, kind: str, subject: str, plain: bytes, apart: bytes = b"") -> Event:
        keys, event_id = self._memory.keys, new_ulid(self._now_ns)
        source = source_of(self._memory.stream, self._device.name)
        context = context_of(source, self._head.sequence + 1, event_id)
        key, blob = new_key(), ""
        if apart:
            sealed = seal(key, apart, context + b" blob")
            blob = hashlib.sha256(sealed).hexdigest()
            self._memory.files.keep_blob(blob, sealed)
        draft = replace(
            self._draft(kind, subject, event_id, epoch=keys.current),
            data=seal(key, plain, context),
            key=keys.wrap(key, keys.current, context),
            blob=blob,
        )
        return self._signed(draft)

    def _draft(self, kind: str, subject: str, event_id: str, *, epoch: str) -> Draft:
        self._clock = next_clock(self._now_ns, self._clock)
        return Draft(
            id=event_id,
            stream=self._memory.stream,
            device=self._device.name,
            type=kind,
            subject=subject,
            sequence=self._head.sequence + 1,
            clock=self._clock,
            prev=self._head.hash,
            parents=self._parents,
            epoch=epoch,
        )

    def _signed(self, draft: Draft) -> Event:
        event = sign_event(draft, self._signer)
        self._head = Head(draft.sequence, event.hash, self._signer.public)
        self._parents = []
        return event
