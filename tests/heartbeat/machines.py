"""The machines, tasks and the witness of the simulated world."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from made_journals import places

from antsmem.core.errors import BackendError, ConflictError
from antsmem.heartbeat.epoch import Post
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.states import KINDS, Kind

EVERY = ("15m", "1h", "4h", "09:00", "weekdays 18:30", "02:30", "daily", "5 * * * *", "mon 08:00")


class Died(BaseException):
    """The process was killed."""


class Shelf:
    """A witness. `cut`: nobody answers."""

    def __init__(self) -> None:
        self.document: bytes | None = None
        self.version, self.cut, self.owner = 0, False, ""

    def read(self) -> tuple[bytes, str] | None:
        if self.cut:
            raise BackendError("cut off")
        return None if self.document is None else (self.document, str(self.version))

    def swap(self, document: bytes, expected: str | None) -> None:
        found = self.read()
        if expected != (found[1] if found else None):
            raise ConflictError("somebody else was first")
        self.document, self.version = document, self.version + 1


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


def new_item(rng: random.Random, number: int) -> Item:
    """A task as somebody may write it."""
    words = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz    ", k=40)).strip() + f" number {number}"
    when = "once" if rng.random() < 0.35 else f'every="{rng.choice(EVERY)}"'
    if rng.random() < 0.15:
        when += " catchup=all"
    if rng.random() < 0.5:
        when = f"id=i{number} {when}"
    return Item(number, rng.choice(KINDS), when, " ".join(words.split()))
