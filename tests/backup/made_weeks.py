"""An agent whose hot backups are sealed to another key each week, with snapshots in each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from made_backups import Agent, Place, Tree, aged, tree_of, write

from antsmem.backup.erase import EraseJob, Moved, erase
from antsmem.backup.repository import Keyring
from antsmem.backup.tombstones import merged, tombstone
from antsmem.core import clock
from antsmem.core.age import X25519Identity
from antsmem.core.record import replace
from antsmem.drivers.file import FileStore

MONDAYS = ("20261102", "20261109", "20261116", "20261123")


@dataclass
class Weeks(Agent):
    """An agent whose hot backups are sealed to another key each week."""

    epochs: dict[str, X25519Identity] = field(
        default_factory=lambda: {f"hot-{day}": X25519Identity.generate() for day in MONDAYS}
    )
    week: int = 0
    destroyed: bytes = b""

    @property
    def names(self) -> list[str]:
        return sorted(self.epochs)

    def keys(self, host: str = "laptop") -> Keyring:
        """As the host of this week has them."""
        current = f"hot-{MONDAYS[self.week]}"
        carried = {
            f"{name}.age": f"sealed {name}".encode() for name in self.names if name[4:] <= MONDAYS[self.week]
        }
        carried["identity.jsonl"] = b"{}\n"
        return replace(
            super().keys(host),
            sealing={
                "hot": (current, self.epochs[current].recipient),
                "cold": ("cold-20261116", self.cold.recipient),
            },
            identities=list(self.epochs.values()),
            carried=carried | ({"destroyed.jsonl": self.destroyed} if self.destroyed else {}),
        )


class History:
    """Snapshots over the weeks, and the tree of each."""

    def __init__(self, root: Path, seed: int = 7, steps: int = 2) -> None:
        self.agent = Weeks()
        self.place = Place(root, self.agent)
        self.trees: dict[str, Tree] = {}
        self.of: dict[str, list[str]] = {}
        rng = random.Random(seed)
        for number in range(6):
            aged(write(self.place.workspace / f"lasting/{number}.md", f"{rng.random()}\n" * 30))
        for week, day in enumerate(MONDAYS):
            self.agent.week = week
            for _ in range(steps):
                for _ in range(2):
                    aged(write(self.place.workspace / f"{rng.randrange(5)}.md", f"{rng.random()}\n" * 30))
                taken = self.place.back_up().snapshot
                self.trees[taken] = tree_of(self.place.workspace)
                self.of.setdefault(f"hot-{day}", []).append(taken)

    def job(self, name: str) -> EraseJob:
        keys = self.agent.keys()
        stone = tombstone(keys.scid, name, keys.must_sign(), clock.now_ns())
        carried = {each: data for each, data in keys.carried.items() if each != f"{name}.age"}
        after = replace(keys, carried=carried | {"destroyed.jsonl": merged(self.agent.destroyed, stone, keys)})
        return EraseJob(name, self.agent.epochs[name], after, clock.now_ns(), self.place.pin)

    def erase(self, name: str, store: FileStore | None = None) -> Moved:
        return erase(self.place.repository(store=store), self.job(name))

    def done(self, name: str) -> None:
        """The host deletes its own copy, as it does once every repository is done."""
        self.agent.destroyed = dict(self.job(name).keys.carried)["destroyed.jsonl"]
        del self.agent.epochs[name]

    def verify(self, gone: Sequence[str] = (), renamed: bool = False) -> None:
        """What is not `gone` comes back exactly; `check` finds nothing."""
        state = self.place.state()
        wanted = [i for ids in self.of.values() for i in ids if i not in gone]
        times = {i[:-9]: tree for i, tree in self.trees.items()}
        assert [i[:-9] for i in state.ids] == [i[:-9] for i in wanted]
        assert renamed or list(state.ids) == wanted
        for snapshot in state.ids:
            target = self.place.root / "verify"
            self.place.restore(snapshot, target)
            assert tree_of(target) == times[snapshot[:-9]]
            shutil.rmtree(target)
        result = self.place.check()
        assert result.problems == [] and result.notes == []
