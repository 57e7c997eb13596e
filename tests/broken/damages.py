"""A zoo of broken files, made from sound ones: flipped, cut, lengthened, emptied, removed, exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Change = Mapping[Path, bytes | None]
"""What the files hold instead; None: they are gone."""


def files_of(folder: Path) -> list[Path]:
    """The objects of a repository in a folder; hidden files belong to the driver."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def flips(path: Path, step: int = 1) -> Iterator[Change]:
    """One bit of every `step`-th byte flipped, not always the same bit."""
    data = path.read_bytes()
    for at in range(0, len(data), step):
        yield {path: data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]}


def cuts(path: Path) -> Iterator[tuple[str, Change]]:
    """Shorter, longer, empty, full of zeros, and gone."""
    data = path.read_bytes()
    for length in sorted({0, 1, len(data) // 2, len(data) - 1} - {len(data)}):
        yield f"cut to {length}", {path: data[:length]}
    for line in range(1, min(data.count(b"\n"), 4)):
        yield f"without line {line}", {path: b"".join(data.splitlines(keepends=True)[line:])}
    yield "longer by a byte", {path: data + b"\0"}
    yield "longer by a line", {path: data + b"\n"}
    yield "twice itself", {path: data * 2}
    yield "full of zeros", {path: bytes(len(data))}
    yield "gone", {path: None}


def exchanges(paths: Sequence[Path]) -> Iterator[tuple[str, Change]]:
    """Each file in the place of each other one, and each pair with their places exchanged."""
    for number, one in enumerate(paths):
        for other in paths[number + 1 :]:
            first, second = one.read_bytes(), other.read_bytes()
            if first != second:
                yield f"{one.name} for {other.name}", {other: first}
                yield f"{other.name} for {one.name}", {one: second}
                yield f"{one.name} and {other.name} exchanged", {one: second, other: first}


@contextmanager
def broken(change: Change) -> Iterator[None]:
    """The files as `change` says; put right afterwards."""
    before = {path: path.read_bytes() for path in change}
    try:
        for path, data in change.items():
            path.unlink() if data is None else path.write_bytes(data)
        yield
    finally:
        for path, data in before.items():
            path.write_bytes(data)
