"""The drivers of each role of the shared memory, as the conformance suites run them: one line adds a driver.

`OPENERS[role][name]` takes pytest's `request` and gives a `Backend`: a fresh place that holds nothing. A driver of
a server that has to be started asks for it with `request.getfixturevalue`; its name goes into `SERVERS` too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from antsmem.core.record import members
from antsmem.memory.embedded.blobs import FileBlobs
from antsmem.memory.embedded.caches import MemoryCache
from antsmem.memory.embedded.directories import FileDirectory
from antsmem.memory.embedded.durables import FileDurable
from antsmem.memory.embedded.logs import FileLog
from antsmem.memory.embedded.texts import FileTexts
from antsmem.memory.embedded.vectors import FileVectors


@dataclass(frozen=True)
class Backend:
    """A place of one driver. `open` gives another connection to it each time, created; `held` every byte that the
    system keeps, in any pieces; `forgets`: what is written may be gone when the connection is closed."""

    open: Callable[[], Any]
    held: Callable[[], Iterable[bytes]]
    forgets: bool = False


def bytes_below(root: Path) -> Iterator[bytes]:
    """Every file below `root`, names included."""
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            yield os.fsencode(os.path.relpath(os.path.join(folder, name), root))
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):  # a server may be tidying up
                if path.is_file():
                    yield path.read_bytes()


def _in_folder(kind: Callable[[Path], Any]) -> Callable[[pytest.FixtureRequest], Backend]:
    def made(request: pytest.FixtureRequest) -> Backend:
        root: Path = request.getfixturevalue("tmp_path") / "backend"
        return Backend(lambda: kind(root), lambda: bytes_below(root))

    return made


def _one(kind: Callable[[], Any]) -> Callable[[pytest.FixtureRequest], Backend]:
    """A backend inside the process: every connection is the same object."""

    def made(_request: pytest.FixtureRequest) -> Backend:
        only = kind()

        def held() -> Iterator[bytes]:
            for key, row in only._rows.items():  # a row's own text does not show its value
                parts = [getattr(row, member) for member in members(type(row))]
                yield from (part if isinstance(part, bytes) else repr(part).encode() for part in (key, *parts))

        return Backend(lambda: only, held, forgets=True)

    return made


OPENERS: dict[str, dict[str, Callable[[pytest.FixtureRequest], Backend]]] = {
    "log": {"file": _in_folder(FileLog)},
    "durable": {"file": _in_folder(FileDurable)},
    "cache": {"memory": _one(MemoryCache)},
    "vectors": {"file": _in_folder(FileVectors)},
    "text": {"file": _in_folder(FileTexts)},
    "blob": {"file": _in_folder(FileBlobs)},
    "directory": {"file": _in_folder(FileDirectory)},
}
SERVERS: set[str] = set()
"""Names of drivers that need a server program."""


def drivers(role: str) -> list[Any]:
    """The parameters of a suite's fixture."""
    return [
        pytest.param(name, marks=[pytest.mark.server] if name in SERVERS else [], id=name)
        for name in OPENERS[role]
    ]


def backend(role: str, request: pytest.FixtureRequest) -> Backend:
    """The fresh place for the parameter of `request`."""
    return OPENERS[role][request.param](request)
