"""The device log: every event this workspace knows, of every device, as lines in files that only grow.

`.antsmem/events/<device>/<number>.jsonl`, one event a line; sealed contents beside, in `.antsmem/events/blobs`.
They are the truth of which every backend is a copy. A line without its end is that of a run that died: never read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from antsmem.core.disk import append_file, is_temp, make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError, naming
from antsmem.core.record import record
from antsmem.memory.event import Event, event_from_line, event_to_line

SEGMENT_BYTES: Final = 8 << 20
BLOBS: Final = "blobs"
_ENDING: Final = ".jsonl"
_HINT: Final = "antsmem restore --to DIR --path .antsmem/events gets it from a backup"


@record
class Spot:
    """Where the line of an event is: in which file of its device, from which byte, how many bytes."""

    segment: int
    start: int
    size: int


class EventFiles:
    """The device log below the directory `root`, which need not exist. One process at a time may write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def devices(self) -> list[str]:
        """The devices that have events here, by name."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if "~" in name)

    def append(self, device: str, events: Sequence[Event]) -> list[Spot]:
        """Append `events` of `device`; durable when it returns, and where each is. One write a file."""
        segment, start = self._end(device)
        spots: list[Spot] = []
        lines: list[bytes] = []
        place = start
        for event in events:
            line = event_to_line(event)
            if place and place + len(line) > SEGMENT_BYTES:
                self._write(device, segment, lines)
                segment, place, lines = segment + 1, 0, []
            spots.append(Spot(segment, place, len(line)))
            lines.append(line)
            place += len(line)
        self._write(device, segment, lines)
        return spots

    def read(self, device: str, spot: Spot) -> Event:
        """The event at `spot`. `IntegrityError`: it is not there any more."""
        try:
            fd = os.open(self._path(device, spot.segment), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            raise IntegrityError(f"the events of `{device}` are not where they were written") from None
        try:
            with naming(f"`{self._path(device, spot.segment)}`, byte {spot.start}", _HINT):
                return event_from_line(os.pread(fd, spot.size, spot.start))
        finally:
            os.close(fd)

    def events(self, device: str) -> Iterator[tuple[Event, Spot]]:
        """All events of `device` as they were written, not verified. `IntegrityError` for a line that is none."""
        for segment in self._segments(device):
            path = self._path(device, segment)
            start = 0
            for line in read_file(path).split(b"\n")[:-1]:
                size = len(line) + 1
                try:
                    event = event_from_line(line + b"\n")
                except IntegrityError as error:
                    raise IntegrityError(f"`{path}`, byte {start}: {error}", hint=_HINT) from None
                yield event, Spot(segment, start, size)
                start += size

    def sizes(self, device: str) -> int:
        """How many bytes the log of `device` has: changes with every append, and with every redaction."""
        return sum(self._path(device, segment).stat().st_size for segment in self._segments(device))

    def rewrite(self, device: str, segment: int, events: Sequence[Event]) -> list[Spot]:
        """Replace the file `segment` of `device` by `events`, and where each is now: what was destroyed in them is
        gone from it."""
        lines = [event_to_line(event) for event in events]
        write_file(self._path(device, segment), lines)
        spots, place = [], 0
        for line in lines:
            spots.append(Spot(segment, place, len(line)))
            place += len(line)
        return spots

    def keep_blob(self, sha256: str, data: bytes) -> None:
        """Keep the sealed content `data`."""
        path = self.blob_path(sha256)
        make_private_dir(path.parent)
        write_file(path, [data])

    def blob(self, sha256: str) -> bytes:
        """The sealed content; `NotFoundError` if it is not here, `IntegrityError` if it is another one."""
        path = self.blob_path(sha256)
        try:
            data = read_file(path)
        except NotFoundError:
            raise NotFoundError(f"the content `{sha256[:12]}…` is not on this host") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"`{path}` is damaged", hint="move it aside, then: antsmem sync")
        return data

    def blob_path(self, sha256: str) -> Path:
        """Where the sealed content is kept."""
        return self.root / BLOBS / sha256[:2] / sha256

    def _write(self, device: str, segment: int, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        path = self._path(device, segment)
        if not path.exists():
            make_private_dir(path.parent)
            write_file(path, [], new=True)
        append_file(path, b"".join(lines))

    def _end(self, device: str) -> tuple[int, int]:
        """The file to append to, and its size: a new one where the last is full or ends within a line."""
        segments = self._segments(device)
        if not segments:
            return 1, 0
        path = self._path(device, segments[-1])
        size = path.stat().st_size
        if size >= SEGMENT_BYTES or (size and not _ends_a_line(path, size)):
            return segments[-1] + 1, 0
        return segments[-1], size

    def _segments(self, device: str) -> list[int]:
        try:
            names = os.listdir(self.root / device)
        except FileNotFoundError:
            return []
        found = [name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING) and not is_temp(name)]
        return sorted(int(name) for name in found if name.isdecimal())

    def _path(self, device: str, segment: int) -> Path:
        return self.root / device / f"{segment:06d}{_ENDING}"


def _ends_a_line(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"
