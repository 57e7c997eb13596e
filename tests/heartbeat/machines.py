"""The machines, tasks and the witness of the simulated world."""

from __future__ import annotations

import errno
import os
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from made_journals import places

from antsmem.core.errors import BackendError, ConflictError, DiskError
from antsmem.heartbeat.daily import mark_of
from antsmem.heartbeat.epoch import Claim, Post
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.states import KINDS, Kind
from antsmem.identity.signing import SigningKey
from antsmem.workspace.layout import Layout

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
KEY = SigningKey(bytes([0x11]) * 32)
ZONES = ("UTC", "America/New_York", "Europe/Lisbon", "Australia/Lord_Howe", "Africa/Cairo")
CHANGES = (1_793_512_800 * SECOND, 1_805_007_600 * SECOND, 1_792_900_800 * SECOND)
"""Near changes of the clocks in autumn 2026 and spring 2027."""
EVERY = ("15m", "1h", "4h", "09:00", "weekdays 18:30", "02:30", "daily", "5 * * * *", "mon 08:00")


class Died(BaseException):
    """The process was killed."""


class Shelf:
    """A witness in memory. `silent` raises that; `document` may be replaced by hand."""

    def __init__(self) -> None:
        self.document: bytes | None = None
        self.version = 0
        self.silent: Exception | None = None

    def read(self) -> tuple[bytes, str] | None:
        if self.silent:
            raise self.silent
        return None if self.document is None else (self.document, str(self.version))

    def swap(self, document: bytes, expected: str | None) -> None:
        found = Shelf.read(self)  # whatever a test has `read` say
        if expected != (found[1] if found else None):
            raise ConflictError("somebody else was first")
        self.document, self.version = document, self.version + 1


class Disk:
    """The place of `append_file`: sometimes the disk is full, sometimes the process is killed half-way, sometimes
    nobody knows whether it is there. `writes` counts, the one that `fails_in` so many fails."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.writes = self.fails_in = 0

    def write(self, path: Path, data: bytes) -> None:
        self.writes += 1
        fails = self.fails_in == 1
        self.fails_in = max(0, self.fails_in - 1)
        size = os.path.getsize(path)
        how = self.rng.choice(("dies", "full", "unsure")) if fails else ""
        with open(path, "ab", buffering=0) as lines:
            lines.write(data[: self.rng.randrange(len(data) + 1)] if fails and how != "unsure" else data)
            if how == "full" or (how == "unsure" and self.rng.random() < 0.5):
                lines.truncate(size)
        if how == "dies":
            raise Died
        if fails:
            raise DiskError(os.strerror(errno.ENOSPC if how == "full" else errno.EIO))


@dataclass
class Line:
    """A machine's way to the witness. `cut`: nobody answers."""

    shelf: Shelf
    cut: bool = False

    def read(self) -> tuple[bytes, str] | None:
        if self.cut:
            raise BackendError("cut off")
        return self.shelf.read()

    def swap(self, document: bytes, expected: str | None) -> None:
        self.read()
        self.shelf.swap(document, expected)


@dataclass
class Item:
    """A line of HEARTBEAT.md: what it does is `act NUMBER`."""

    number: int
    kind: Kind
    when: str
    words: str
    paused: bool = False

    @property
    def text(self) -> str:
        verify = f' verify="ask {self.number}"' if self.kind == "verify" else f" effect={self.kind}"
        mark = " [paused]" if self.paused else ""
        return f"- {self.words}{mark} {{{self.when}{verify}}}\n  run: act {self.number}\n"


@dataclass
class Machine:
    """A host with its memory and its copy of the workspace. `keys` is what somebody may call there, `told` what
    was said of them."""

    name: str
    root: Path
    skew_ns: int
    line: Line | None
    items: list[Item] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    kept: Journal | None = None

    @cached_property
    def workspace(self) -> Path:
        return self.root / f"{self.name}-workspace"

    @cached_property
    def post(self) -> Post:
        return Post(self.root / self.name, self.workspace / "epoch.json", "kevin")

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.workspace)

    @property
    def claim(self) -> Claim:
        return Claim("Qm", self.name, KEY, self.line)

    @property
    def data(self) -> bytes:
        return ("# Heartbeat\n\n" + "".join(item.text for item in self.items)).encode()

    def journal(self, *, new: bool = False) -> Journal:
        """As it is open, or as a new process sees it."""
        if self.kept is None or new:
            self.kept = Journal(places(self.workspace), self.post.born)
        else:
            self.kept.refresh()
        return self.kept

    def knows(self, key: str) -> bool:
        """Whether anything is recorded of `key`: what is settled is not carried into a new month."""
        return self.journal().last(key) is not None or any(self.journal().entries(key))

    def told_wrongly(self) -> list[str]:
        """What is done and not told in the daily logs, or twice."""
        told = "".join(path.read_text() for path in self.workspace.glob("memory/*.md"))
        count = Counter(re.findall("<!-- (hb:[^!]*) -->", told))
        owed = {mark_of(entry) for entry in self.journal().untold()}
        entries = (entry for entry in self.journal().entries() if entry.state == "DONE" and entry.text("task"))
        return [
            mark for mark in map(mark_of, entries) if count[mark] > 1 or (count[mark] < 1 and mark not in owed)
        ]


def jumped(rng: random.Random, now_ns: int) -> int:
    """What a clock shows that was set, or after a sleep, or near a change of the season."""
    if rng.random() < 0.15:
        return rng.choice(CHANGES) + rng.randrange(-3, 3) * HOUR
    return now_ns + rng.choice((-40 * DAY, -DAY, -HOUR, -MINUTE, HOUR, 9 * HOUR, DAY, 3 * DAY, 33 * DAY, 33 * DAY))


def skew_ns(rng: random.Random) -> int:
    """By how much a machine's clock is wrong."""
    return rng.randrange(-25, 25) * SECOND


def new_item(rng: random.Random, number: int) -> Item:
    """A task as somebody may write it."""
    words = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz    ", k=40)).strip() + f" number {number}"
    when = "once" if rng.random() < 0.35 else f'every="{rng.choice(EVERY)}"'
    if rng.random() < 0.15:
        when += " catchup=all"
    if rng.random() < 0.5:
        when = f"id=i{number} {when}"
    return Item(number, rng.choice(KINDS), when, " ".join(words.split()))
