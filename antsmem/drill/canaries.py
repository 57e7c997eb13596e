"""Values that may stand nowhere but in their own file, and the search for them in all that was written or sent."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from antsmem.core.disk import Buffer
from antsmem.core.record import record
from antsmem.core.spellings import KnownValues
from antsmem.drill.tree import paths_below

_LEAST_BYTES: Final = 8
_CHUNK: Final = 8 << 20


@record
class Searched:
    """What a search went through, and what it found, a line each: which value, how spelt, where."""

    size_bytes: int
    places: int
    hits: tuple[str, ...]


class Canaries:
    """Named values, searched in every spelling in which a value commonly travels."""

    def __init__(self, values: Sequence[tuple[str, bytes]]) -> None:
        """`values`: at least 8 bytes each, at least one."""
        self._names = [name for name, _ in values]
        self._known = KnownValues([value for _, value in values], least=_LEAST_BYTES)
        self._size_bytes = 0
        self._places = 0
        self._hits: dict[str, None] = {}

    @property
    def searched(self) -> Searched:
        """What was searched until now."""
        return Searched(self._size_bytes, self._places, tuple(self._hits))

    def look(self, data: Buffer, place: str) -> None:
        """Search bytes that stood or travelled at `place`."""
        self._places += 1
        self._size_bytes += len(data)
        self._note(data, place)

    def look_below(self, root: Path, name: str, allowed: Collection[Path] = ()) -> None:
        """Search every file, every name and every link below `root`, but the files `allowed`: where a key has to
        lie."""
        top, passed = os.fsencode(root), {os.fsencode(each) for each in allowed}
        for path in paths_below(top):
            whole, place = top + b"/" + path, f"{name}:{path.decode(errors='backslashreplace')}"
            self._note(path, place)
            if os.path.islink(whole):
                self._note(os.readlink(whole), place)
            elif os.path.isfile(whole) and whole not in passed:
                self._file(whole, place)

    def look_at(self, file: Path, place: str) -> None:
        """Search one file."""
        self._file(os.fsencode(file), place)

    def _file(self, path: bytes, place: str) -> None:
        self._places += 1
        overlap = self._known.longest
        with open(path, "rb") as file:
            window = b""
            while part := file.read(_CHUNK):
                self._size_bytes += len(part)
                window = window[-overlap:] + part
                self._note(window, place)

    def _note(self, window: Buffer, place: str) -> None:
        for hit in self._known.search(window):
            self._hits[f"{self._names[hit.value]} ({hit.form}) in {place}"] = None
