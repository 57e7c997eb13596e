"""What is sealed in an event: a line of canonical JSON that says what happened to which file, then the content.

Content of more than 64 KB lies in a blob, sealed with the same key. Format: docs/spec/event-v1.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError
from antsmem.core.record import field, record
from antsmem.identity.fields import Fields

INLINE_BYTES: Final = 64 << 10
"""The largest content that stands in an event itself."""

MAX_CONTENT_BYTES: Final = 256 << 20
"""The largest content that is synchronised at all: it is sealed in memory."""

_HEADER_BYTES: Final = 256 << 10
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MAX_BASES: Final = 1024


@record
class Revision:
    """One state of one file. `base` are the ids of the revisions that its author had in the file before; `sha256`
    is that of the content, empty where the file was deleted."""

    path: str
    base: tuple[str, ...] = ()
    sha256: str = ""
    size_bytes: int = 0
    executable: bool = False


@record
class Redaction:
    """That the content of the event `event` of `device` is destroyed. `path` and `base` are what it said, so that
    its place among the revisions stays."""

    event: str
    device: str
    sequence: int
    path: str
    base: tuple[str, ...]


@record
class Opened:
    """A payload: what happened, and the content if it stands inside."""

    said: Revision | Redaction | None
    inside: bytes = field(repr=False)


def revision_to_plain(revision: Revision, inside: bytes) -> bytes:
    """The plain text of an event that says `revision`, with the content `inside` (empty: it is in a blob)."""
    head = {
        "path": revision.path,
        "base": list(revision.base),
        "sha256": revision.sha256,
        "size": revision.size_bytes,
        "executable": revision.executable,
        "inside": len(inside),
    }
    return canonical.dumps(head) + b"\n" + inside


def redaction_to_plain(redaction: Redaction) -> bytes:
    """The plain text of an event that says `redaction`."""
    head = {
        "event": redaction.event,
        "device": redaction.device,
        "sequence": redaction.sequence,
        "path": redaction.path,
        "base": list(redaction.base),
    }
    return canonical.dumps(head) + b"\n"


def parse_revision(plain: bytes) -> Opened:
    """What `revision_to_plain` wrote, padded; `IntegrityError` for anything else."""
    fields, rest = _head(plain)
    revision = Revision(
        path=checked_path(fields.text("path")),
        base=_bases(fields),
        sha256=fields.text("sha256"),
        size_bytes=fields.number("size"),
        executable=fields.truth("executable"),
    )
    size = fields.number("inside")
    fields.end()
    if revision.sha256 and not _DIGEST.fullmatch(revision.sha256):
        raise IntegrityError("a revision's digest is not one")
    if size > len(rest) or size not in {0, revision.size_bytes} or rest[size:].strip(b"\0"):
        raise IntegrityError("a revision does not hold as much as it says")
    inside = rest[:size]
    if size and hashlib.sha256(inside).hexdigest() != revision.sha256:
        raise IntegrityError("a revision does not hold what it says")
    return Opened(revision, inside)


def parse_redaction(plain: bytes) -> Opened:
    """What `redaction_to_plain` wrote, padded; `IntegrityError` for anything else."""
    fields, _ = _head(plain)
    redaction = Redaction(
        fields.text("event"), fields.text("device"), fields.number("sequence"), fields.text("path"), _bases(fields)
    )
    fields.end()
    if redaction.path:
        checked_path(redaction.path)
    return Opened(redaction, b"")


def checked_path(path: str) -> str:
    """`path` if it is one of a file in the workspace: relative, no empty, `.` or `..` part, nothing of antsmem's
    own; else `IntegrityError`."""
    parts = path.split("/")
    if any(part in {"", ".", "..", ".antsmem"} for part in parts) or "\0" in path or len(path.encode()) > 4096:
        raise IntegrityError("a revision names a path that is none of the workspace's")
    return path


def _head(plain: bytes) -> tuple[Fields, bytes]:
    line, newline, rest = plain.partition(b"\n")
    if not newline:
        raise IntegrityError("a payload does not begin with a line")
    value: Mapping[str, Any] = canonical.loads(line, _HEADER_BYTES)
    return Fields(value, "a payload"), rest


def _bases(fields: Fields) -> tuple[str, ...]:
    found = fields.texts("base")
    if len(found) > _MAX_BASES:
        raise IntegrityError("a revision names more bases than any has")
    return found
