"""Recognise which agent runtimes have written a tree, without changing a byte of it.

Every directory down to three levels below the top is looked at, so that several agents in one tree are each
found. No database is opened (that would write beside it): only the first bytes of files are read.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from antsmem.core.errors import NotFoundError
from antsmem.core.record import field, mutable_record, record
from antsmem.workspace.classes import Classifier
from antsmem.workspace.signatures import NOTES, SIGNATURES, Runtime, Signal

Confidence: TypeAlias = Literal["certain", "likely", "possible"]

_DEEPEST: Final = 3
_MOST_DIRECTORIES: Final = 5_000
_HEAD_BYTES: Final = 64 * 1024
_LEVELS: Final[tuple[tuple[int, Confidence], ...]] = ((5, "certain"), (3, "likely"), (2, "possible"))
_RELATIVES: Final[frozenset[Runtime]] = frozenset({"hermes", "nanobot", "picoclaw", "zeroclaw"})
"""Runtimes that share file names with OpenClaw."""


@record
class Recognised:
    """One runtime in one directory. `place` is relative to the tree, `.` for its top; `evidence` are the paths
    found there; `absent` are files of the agent that this runtime keeps somewhere else than in a file."""

    runtime: Runtime
    place: str
    confidence: Confidence
    evidence: tuple[str, ...]
    notes: tuple[str, ...]
    absent: tuple[str, ...]


@record
class Recognition:
    """All that was found, surest first. `complete` is False if the tree has too many directories to look at."""

    found: tuple[Recognised, ...]
    directories: int
    complete: bool


def recognise(root: Path) -> Recognition:
    """Recognise the runtimes in the tree at `root`; nothing is written. `NotFoundError` if it is no directory."""
    if not root.is_dir():
        raise NotFoundError(f"`{root}` is not a directory", hint="name the directory of the agent")
    classifier = Classifier()
    found: list[Recognised] = []
    places, looked = [b""], 0
    top = os.fsencode(root)
    while places and looked < _MOST_DIRECTORIES:
        relative = places.pop(0)
        looked += 1
        place = _Place(top, relative)
        found += _judged(place)
        if relative.count(b"/") + bool(relative) < _DEEPEST:
            for name in sorted(place.names(b"").values()):
                path = relative + b"/" + name if relative else name
                verdict = classifier.classify_dir(name, path)
                if verdict is None and name != b".git" and place.is_directory(name):
                    places.append(path)
    found = [one for one in found if not any(_explains(other, one) for other in found)]
    order = [level for _, level in _LEVELS]
    found.sort(key=lambda one: (order.index(one.confidence), one.place, one.runtime))
    return Recognition(tuple(found), looked, complete=not places)


def _explains(other: Recognised, one: Recognised) -> bool:
    """Whether `one` is only a part of the same runtime that was found as `other` further up."""
    top = "" if other.place == "." else other.place + "/"
    if other.runtime != one.runtime or other.place == one.place or not one.place.startswith(top):
        return False
    return all(f"{one.place.removeprefix(top)}/{path}" in other.evidence for path in one.evidence)


class _Place:
    """A directory with names compared without case; what was listed or read once is kept."""

    def __init__(self, top: bytes, relative: bytes) -> None:
        self.relative = relative
        self.path = top + b"/" + relative if relative else top
        self.listings: dict[bytes, dict[bytes, bytes]] = {}
        self.heads: dict[bytes, bytes] = {}

    def names(self, folder: bytes) -> dict[bytes, bytes]:
        """The names in `folder` by their lower case; empty for what is not a directory or cannot be listed."""
        if folder not in self.listings:
            listing: dict[bytes, bytes] = {}
            with suppress(OSError):
                listing = {name.lower(): name for name in sorted(os.listdir(self.full(folder)), reverse=True)}
            self.listings[folder] = listing
        return self.listings[folder]

    def full(self, inner: bytes) -> bytes:
        return self.path + b"/" + inner if inner else self.path

    def find(self, pattern: str) -> bytes | None:
        """The first path that matches `pattern` (see `signatures.py`), links to directories not followed."""
        inner = b""
        *folders, last = pattern.rstrip("/").encode().split(b"/")
        found = [inner]
        for part in folders:
            found = [path for one in found for path in self.among(one, part) if self.is_directory(path)]
        for one in found:
            for path in self.among(one, last):
                if not pattern.endswith("/") or self.is_directory(path):
                    return path
        return None

    def among(self, folder: bytes, part: bytes) -> list[bytes]:
        """The paths in `folder` whose name matches `part`."""
        names = self.names(folder)
        if b"*" in part or b"#" in part:
            from fnmatch import fnmatchcase

            form = part.decode().replace("#", "[0-9]")
            actual = [name for lower, name in sorted(names.items()) if fnmatchcase(os.fsdecode(lower), form)]
        else:
            actual = [names[part]] if part in names else []
        return [folder + b"/" + name if folder else name for name in actual]

    def is_directory(self, inner: bytes) -> bool:
        with suppress(OSError):
            return stat.S_ISDIR(os.lstat(self.full(inner)).st_mode)
        return False

    def head(self, inner: bytes) -> bytes:
        """The first bytes of a regular file; nothing of anything else."""
        if inner not in self.heads:
            self.heads[inner] = b""
            with suppress(OSError):
                fd = os.open(self.full(inner), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if stat.S_ISREG(os.fstat(fd).st_mode):
                        self.heads[inner] = os.read(fd, _HEAD_BYTES)
                finally:
                    os.close(fd)
        return self.heads[inner]


def _judged(place: _Place) -> list[Recognised]:
    """The runtimes that one directory speaks for."""
    scores: dict[Runtime, _Score] = {}
    for runtime, signals in SIGNATURES.items():
        score = _score(place, signals)
        if score.total >= _LEVELS[-1][0]:
            scores[runtime] = score
    certain = _LEVELS[0][0]
    if any(scores[runtime].total >= certain for runtime in scores.keys() & _RELATIVES) and (
        "openclaw" in scores and scores["openclaw"].strongest < certain
    ):
        del scores["openclaw"]  # its relatives use the same names: one that is certain explains them
    return [
        Recognised(
            runtime=runtime,
            place=os.fsdecode(place.relative) or ".",
            confidence=next(level for least, level in _LEVELS if score.total >= least),
            evidence=tuple(score.evidence),
            notes=tuple(_notes(runtime, place)),
            absent=tuple(_absent(runtime, place)),
        )
        for runtime, score in scores.items()
    ]


@mutable_record
class _Score:
    total: int = 0
    strongest: int = 0
    evidence: list[str] = field(default_factory=list)


def _score(place: _Place, signals: tuple[Signal, ...]) -> _Score:
    score = _Score()
    for signal in signals:
        path = place.find(signal.path)
        if path is None or (signal.holds and signal.holds not in place.head(path)):
            continue
        score.total += signal.weight
        score.strongest = max(score.strongest, signal.weight)
        shown = os.fsdecode(path)
        if shown not in score.evidence:
            score.evidence.append(shown)
    return score


def _absent(runtime: Runtime, place: _Place) -> list[str]:
    """Files of the agent that OpenClaw stopped keeping as files, and that are not there."""
    if runtime != "openclaw" or place.find("agents.md") is None:
        return []
    return [name for name in ("TOOLS.md", "HEARTBEAT.md") if place.find(name.lower()) is None]


def _notes(runtime: Runtime, place: _Place) -> list[str]:
    """What to know about this runtime's files, each note only where it applies."""
    notes = [
        note
        for path, holds, note in NOTES.get(runtime, ())
        if (found := place.find(path)) is not None and (not holds or holds in place.head(found))
    ]
    absent = _absent(runtime, place)
    if "TOOLS.md" in absent:
        notes.append("TOOLS moved into AGENTS since 2026.7.28")
    if "HEARTBEAT.md" in absent:
        notes.append("HEARTBEAT moved into the database since 2026.7.28")
    paths = ("memory/brain.db", "brain.db")
    if runtime == "zeroclaw" and place.find("memory_snapshot.md") and not any(map(place.find, paths)):
        notes.append("brain.db is missing: zeroclaw fills it from MEMORY_SNAPSHOT.md when it starts")
    return notes
