"""A snapshot's name, head and signature, and the anchor that lists which snapshots there must be.

    snapshots/<id>.packs   `<sha256>  packs/<sha256>.age` a line: what `sha256sum -c` takes; derived, unsigned
    snapshots/<id>.sig     signed statement over the sealed head: repository, sequence, parent, SHA-256
    snapshots/<id>.age     the head: age(canonical JSON); its appearance is the commit
    anchors/snapshots.json signed statement: the snapshots there are and the epoch files, newest sequence

An id is `<UTC to the millisecond>-<4 random bytes>`, so that ids sort by time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from antsmem.core.clock import file_stamp, parse_file_stamp
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import members, record

HOT: Final = "hot"
COLD: Final = "cold"
TIERS: Final = (HOT, COLD)

_ID = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[0-9a-f]{8}")
_TEXTS: Final = ("id", "repository", "agent", "host", "tier", "parent", "epoch")
_NUMBERS: Final = ("sequence", "identity_version", "entries", "files", "size_bytes", "warnings")
_PACKS_LINE = re.compile(r"([0-9a-f]{64})  packs/\1\.age")


@record
class Head:
    """What a snapshot says of itself. `root` is the manifest's root object (hot) or the digest of the whole
    manifest (cold); `left_out` counts the paths that are not in it, by reason; `size_bytes` is all content."""

    id: str
    repository: str
    agent: str
    host: str
    tier: str
    sequence: int
    parent: str
    time_ns: int
    epoch: str
    identity_version: int
    root: bytes
    entries: int
    files: int
    size_bytes: int
    left_out: dict[str, int]
    warnings: int

    def as_json(self) -> dict[str, Any]:
        """For canonical JSON: the instant as text (integers there end at 2^53), the digest in hex."""
        return {
            "schema": "antsmem.snapshot/1",
            "id": self.id,
            "repository": self.repository,
            "agent": self.agent,
            "host": self.host,
            "tier": self.tier,
            "sequence": self.sequence,
            "parent": self.parent,
            "time_ns": str(self.time_ns),
            "epoch": self.epoch,
            "identity_version": self.identity_version,
            "root": self.root.hex(),
            "entries": self.entries,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "left_out": dict(self.left_out),
            "warnings": self.warnings,
        }

    @classmethod
    def from_json(cls, value: Any) -> Head:
        """The head that `as_json` gave; `IntegrityError` if it is not one."""
        try:
            fields = {name: value[name] for name in members(cls) if name not in {"time_ns", "root"}}
            head = cls(**fields, time_ns=int(value["time_ns"]), root=bytes.fromhex(value["root"]))
            numbers = (*(getattr(head, name) for name in _NUMBERS), *head.left_out.values())
            sound = value["schema"] == "antsmem.snapshot/1" and len(head.root) == 32
            sound = sound and all(type(number) is int and number >= 0 for number in numbers)
            sound = sound and all(isinstance(getattr(head, name), str) for name in _TEXTS)
            sound = sound and 0 <= head.time_ns < 1 << 63
        except (AttributeError, KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise IntegrityError("a snapshot head is malformed")
        return head


def new_id(now_ns: int) -> str:
    """A fresh id for a snapshot taken at `now_ns`."""
    return f"{file_stamp(now_ns)}-{os.urandom(4).hex()}"


def time_of(snapshot_id: str) -> int:
    """The instant in an id, nanoseconds since 1970 UTC, to the millisecond."""
    try:
        if _ID.fullmatch(snapshot_id):
            return parse_file_stamp(snapshot_id)
    except ValueError:
        pass
    raise UsageError(f"`{snapshot_id}` is not a snapshot id", hint="see `antsmem snapshots`")


def is_id(text: str) -> bool:
    """Whether `text` has the form of a snapshot id."""
    return _ID.fullmatch(text) is not None


def ids_in(names: Sequence[str], folder: str, suffix: str) -> list[str]:
    """The ids, in order, of the snapshots that have a file with this `suffix` among the `names` in `folder`: at
    once, because there may be very many."""
    named = "\n".join([name for name in names if name.endswith(suffix)])
    return sorted(re.findall(rf"^{folder}/({_ID.pattern}){re.escape(suffix)}$", named, re.MULTILINE))


def pack_lines(packs: Iterable[str]) -> bytes:
    """The `.packs` file of a snapshot that needs `packs` (SHA-256 in hex)."""
    return "".join([f"{name}  packs/{name}.age\n" for name in sorted(packs)]).encode()


def parse_pack_lines(data: bytes, snapshot_id: str) -> list[str]:
    """The packs that a `.packs` file names."""
    text = data.decode("latin-1")
    rows = [_PACKS_LINE.fullmatch(row) for row in text.split("\n")[:-1]]
    names = [row[1] for row in rows if row]
    if len(names) != len(rows) or (text and not text.endswith("\n")) or names != sorted(set(names)):
        raise IntegrityError(f"the pack list of snapshot `{snapshot_id}` is damaged")
    return names
