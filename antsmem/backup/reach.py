"""Which objects a snapshot needs: what `prune` keeps and `check` looks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from antsmem.backup.manifest import parse_object_list
from antsmem.backup.reader import ObjectReader
from antsmem.backup.repository import Repository, read_head
from antsmem.core.errors import IntegrityError
from antsmem.core.record import field, mutable_record

_HOLDING: Final = frozenset({b"f\t", b"c\t", b"C\t"})
"""How the lines of a manifest begin that name an object."""


@mutable_record
class Reach:
    """Answers for many snapshots; a manifest segment that they share is read once."""

    repository: Repository
    where: Mapping[bytes, str]
    _reader: ObjectReader = field(init=False)
    _segments: dict[bytes, frozenset[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = ObjectReader(self.repository, dict(self.where))

    def needed(self, snapshot_id: str) -> set[bytes]:
        """The digests of all objects of a snapshot. Raises `IntegrityError` where its manifest is not there."""
        return set().union(*self.parts(snapshot_id).values())

    def parts(self, snapshot_id: str) -> dict[bytes, frozenset[bytes]]:
        """The same in parts, by name: the segments of the manifest, which snapshots share, and its own objects."""
        root = read_head(self.repository, snapshot_id).root
        segments = parse_object_list(self._reader.get(root))
        found = {root: frozenset({root, *segments})}
        for segment in segments:
            held = self._segments.get(segment)
            if held is None:
                held = self._segments[segment] = frozenset(self._of_segment(segment))
            found[segment] = held
        return found

    def _of_segment(self, segment: bytes) -> set[bytes]:
        """Only what names an object is read of each line: a tenth of the cost of the whole."""
        lines = self._reader.get(segment).split(b"\n")
        rows = [line.split(b"\t", 6) for line in lines if line[:2] in _HOLDING]
        digests = _read_names([row[5] for row in rows if len(row) == 7])
        if len(digests) != len(rows):
            raise IntegrityError("the manifest holds a malformed line")
        found = set(digests)
        for row, digest in zip(rows, digests, strict=True):
            if row[0] != b"f":
                lists = self._list(digest)
                found.update(lists)
                for part in lists:
                    found.update(self._list(part))
        return found

    def _list(self, digest: bytes) -> list[bytes]:
        """What a list of objects names. One that is lost names nothing any more: it is missing itself, and must
        not stand in the way of everything else."""
        return parse_object_list(self._reader.get(digest)) if digest in self.where else []


def _read_names(names: list[bytes]) -> list[bytes]:
    """The digests that are written there; none where one is malformed."""
    try:
        joined = bytes.fromhex(b"".join(names).decode()) if {64}.issuperset(map(len, names)) else b""
    except ValueError:
        return []
    if len(joined) != 32 * len(names):  # white space is passed over
        return []
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]
