"""Goal: whatever is done to an agent and its repository, in any order, every live snapshot is what it was.

Method: a hypothesis state machine edits, backs up, prunes, forgets, loses its cache, changes hosts, damages
and repairs, beside a model that knows only the tree of each snapshot.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from made_backups import Place, Tree, aged, tree_of, write
from memory import TMPFS
from pytest import MonkeyPatch

from antsmem.backup import hot, index, repack
from antsmem.backup.publish import publish_keys
from antsmem.backup.repair import repair

QUICK = TMPFS if os.access(TMPFS, os.W_OK) else None
NAMES = ("a.md", "b.md", "deep/c.md", "deep/er/d.bin", "x.db", "x.db-wal", "odd\nname", ".env")
TEXTS = (
    b"",
    b"small\n",
    b"another\n",
    b"long " * 5000,
    bytes(1 << 20) + b"end",
    b"SQLite format 3, no more",
)
FEW = {"deadline": None, "max_examples": 25, "stateful_step_count": 25}


class Lives(RuleBasedStateMachine):
    """An agent's life. `trees` is the model: the tree of every snapshot that should be there, in order."""

    snapshots: Bundle[str] = Bundle("snapshots")

    @initialize()
    def begin(self) -> None:
        self.root = Path(mkdtemp(dir=QUICK))
        self.place = Place(self.root)
        self.second = Place(self.root / "second", self.place.agent)
        self.second.workspace = self.place.workspace
        self.trees: dict[str, dict[str, Tree]] = {"hot": {}, "cold": {}}
        self.clock = 0
        self.patch = MonkeyPatch()
        self.patch.setattr(
            hot, "_MANY_SMALL", 4
        )  # a life is short here: what comes with many snapshots comes soon
        self.patch.setattr(index, "_EVERY", 3)
        self.patch.setattr(repack, "_MANY_SMALL", 3)

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.root)

    @rule(name=st.sampled_from(NAMES), data=st.sampled_from(TEXTS), rest=st.booleans())
    def edit(self, name: str, data: bytes, rest: bool) -> None:
        path = write(self.place.workspace / name, data)
        if rest:
            self.clock += 1
            aged(path, 1000 - self.clock)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        (self.place.workspace / name).unlink(missing_ok=True)

    @rule(source=st.sampled_from(NAMES), into=st.sampled_from(NAMES), hard=st.booleans())
    def rename_or_link(self, source: str, into: str, hard: bool) -> None:
        one, other = self.place.workspace / source, self.place.workspace / into
        if one.exists() and not other.exists() and ".env" not in {source, into}:
            other.parent.mkdir(parents=True, exist_ok=True)
            (os.link if hard else os.rename)(one, other)

    @rule(target=snapshots, tier=st.sampled_from(["hot", "hot", "hot", "cold"]), rehash=st.booleans())
    def back_up(self, tier: str, rehash: bool) -> str:
        result = self.place.back_up(tier, rehash=rehash)
        assert result.complete, result.warnings
        assert result.snapshot > max((*self.trees["hot"], *self.trees["cold"]), default="")
        self.trees[tier][result.snapshot] = self.portable()
        return result.snapshot

    def portable(self) -> Tree:
        return {path: what for path, what in tree_of(self.place.workspace).items() if path != b".env"}

    @rule(count=st.integers(1, 4), grace=st.sampled_from([0, 3600]))
    def prune(self, count: int, grace: int) -> None:
        self.place.prune({"hot": {"newest": count}, "cold": {"newest": 1}}, grace_seconds=grace)
        for tier, keep in (("hot", count), ("cold", 1)):
            self.trees[tier] = dict(list(self.trees[tier].items())[-keep:])

    @rule(snapshot=snapshots)
    def forget(self, snapshot: str) -> None:
        for tier in self.trees.values():
            if snapshot in list(tier)[:-1]:
                self.place.prune(forget=[snapshot])
                del tier[snapshot]

    @rule()
    def lose_the_cache(self) -> None:
        self.place.cache.unlink(missing_ok=True)

    @rule()
    def spoil_the_cache(self) -> None:
        if self.place.cache.exists():
            data = bytearray(self.place.cache.read_bytes())
            data[len(data) // 2] ^= 1
            self.place.cache.write_bytes(data)

    @rule()
    def move_to_another_host(self) -> None:
        for place in (self.place, self.second):
            place.state()
        self.place.agent.take_over()
        self.place.cache = self.root / "state" / f"cache of {len(self.place.agent.former)}"
        for place in (self.place, self.second):
            place.pin = None
            publish_keys(place.repository())

    @rule()
    def back_up_elsewhere_too(self) -> None:
        self.second.back_up()

    @precondition(lambda self: self.place.files("packs"))
    @rule(number=st.integers(0, 20), how=st.sampled_from(["gone", "cut", "flipped"]))
    def damage_and_put_right(self, number: int, how: str) -> None:
        """A copy is at hand: what was damaged is found, and all is well once it is put back."""
        packs = self.place.files("packs")
        path = packs[number % len(packs)]
        data = path.read_bytes()
        path.unlink() if how == "gone" else path.write_bytes(
            data[: len(data) // 2] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1])
        )
        lists = [self.place.folder / f"snapshots/{snapshot}.packs" for snapshot in self.trees["hot"]]
        needed = any(path.stem in each.read_text() for each in lists)
        assert self.place.check().problems or (how == "gone" and not needed)
        path.write_bytes(data)

    @precondition(lambda self: self.trees["hot"] and self.place.files("packs"))
    @rule(number=st.integers(0, 20))
    def damage_and_repair(self, number: int) -> None:
        """Another repository helps where it can; what is lost is named, and the rest is as it was."""
        packs = self.place.files("packs")
        packs[number % len(packs)].unlink()
        result = repair(self.place.repository(), [self.second.repository()])
        for snapshot in result.dropped:
            self.trees["hot"].pop(snapshot, None)
        if not self.trees["hot"]:
            self.place.pin = None  # as `antsmem check --accept-older`: there is nothing left that was seen
        for snapshot, paths in result.lost.items():
            if snapshot in self.trees["hot"]:
                self.restored(snapshot, set(paths))
                del self.trees["hot"][snapshot]
                self.drop(snapshot)

    def drop(self, snapshot: str) -> None:
        """Get rid of a snapshot that has lost files: the model knows whole ones only."""
        if snapshot == self.place.state().ids[-1]:
            fresh = self.place.back_up()
            self.trees["hot"][fresh.snapshot] = self.portable()
        self.place.prune(forget=[snapshot])

    def restored(self, snapshot: str, lost: set[str]) -> None:
        target = self.root / "salvaged"
        saved = self.place.restore(snapshot, target, salvage=True)
        assert lost <= set(saved.damaged)
        tree, gone = self.trees["hot"][snapshot], {path.replace("\\0012", "\n").encode() for path in saved.damaged}
        for path, what in tree_of(target).items():
            assert tree[path][:4] == what[:4], "what was salvaged is what it was"
        assert tree.keys() - gone == tree_of(target).keys()
        shutil.rmtree(target)

    @rule(snapshot=snapshots)
    def restore(self, snapshot: str) -> None:
        target = self.root / "restored"
        for tier, verb in (("hot", self.place.restore), ("cold", self.place.thaw)):
            if snapshot in self.trees[tier]:
                verb(snapshot, target)
                assert tree_of(target) == self.trees[tier][snapshot]
                shutil.rmtree(target)

    @rule(snapshot=snapshots)
    def restore_in_place(self, snapshot: str) -> None:
        if snapshot in self.trees["hot"]:
            self.place.bring_back(snapshot)
            shutil.rmtree(self.place.workspace / ".antsmem")
            there = {path: what for path, what in self.portable().items() if path}
            assert there == {path: what for path, what in self.trees["hot"][snapshot].items() if path}

    @invariant()
    def the_list_is_the_models(self) -> None:
        if not hasattr(self, "place"):
            return
        state = self.place.state()
        assert state.ids == tuple(self.trees["hot"]) and state.anchor.cold == tuple(self.trees["cold"])

    @rule()
    def check_everything(self) -> None:
        problems = self.place.check(keys=self.place.agent.kit()).problems
        assert problems == []
        for snapshot in (*self.trees["hot"], *self.trees["cold"]):
            self.restore(snapshot)


Lives.TestCase.settings = settings(**FEW, suppress_health_check=list(HealthCheck))
TestLives = Lives.TestCase
