"""The commands that are struck: the world of each, how it came to be, and what must hold in it afterwards."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

from syscalls import Call, Ran, Tracer
from worlds import FRIDAY, HOUR, Tree, World, agent_tree, different, tree_of

from antsmem.core.age import X25519Identity
from antsmem.core.errors import AntsmemError

GUARDIAN = str(X25519Identity.generate().recipient)
SECOND, DAY = HOUR // 3600, 24 * HOUR
WRONG_WORDS = ("Traceback", "Error:")
EXPECTED_CODES = frozenset({3, 12, 20, 40, 41})
"""How a command may end when the disk fails: incomplete, locked, no key to be had, disk or store out of order,
refused."""


@dataclass
class Scenario:
    """A command, `words` (`WORLD`: where it lies) at `now_ns`, in a world that `build` makes. The rest is learned
    from an undisturbed run: the trees of the agent and the repository, and its secrets, before and after. `again`:
    how the command may end when it is run after itself. With `settles` the same command is run again before the
    repository is looked at: it holds keys that change in several places."""

    name: str
    words: tuple[str, ...]
    now_ns: int
    build: Callable[[World], None]
    in_place: bool = False
    makes_repository: bool = False
    again: tuple[int, ...] = (0,)
    settles: bool = False
    world: World = field(init=False)
    calls: list[Call] = field(init=False)
    before: Tree = field(init=False)
    after: Tree = field(init=False)
    made: Tree | None = field(init=False, default=None)
    forgotten: frozenset[str] = field(init=False, default=frozenset())
    secrets: tuple[object, object] = field(init=False)

    def prepare(self, root: Path) -> None:
        """Build the world, save it, and learn from an undisturbed run."""
        self.world = world = World(root)
        self.words = tuple(word.replace("WORLD", str(world.root)) for word in self.words)
        world.agent.mkdir(parents=True)
        self.build(world)
        world.save()
        self.words = tuple(str(world.kit) if word == "KIT" else word for word in self.words)
        self.before = agent_tree(world.agent)
        secrets = world.secrets()
        self.calls = self.record()
        self.after = agent_tree(world.agent)
        self.secrets = (secrets, world.secrets())
        listed = world.listed()
        new = listed - world.snapshots.keys()
        self.made = world.restored(*new) if new else None
        self.forgotten = frozenset(world.snapshots.keys() - listed)
        world.reset()

    def record(self, broken: str = "") -> list[Call]:
        """The calls of an undisturbed run; those whose number differs from run to run, as those of the memory
        allocator, are left out."""
        tracer = Tracer(self.world.environment)
        argv = self.world.argv(self.now_ns, *self.words, broken=broken)
        known: Container[tuple[str, int, int]] = ()
        for _ in range(1 if broken else 2):
            self.world.reset()
            ran, calls = tracer.calls(argv, every=True)
            assert ran.code == 0, ran
            steady = [call for call in calls if broken or (call.name, call.number, call.thread) in known]
            known = {(call.name, call.number, call.thread) for call in calls}
        return steady

    def strike(self, call: Call, how: str, broken: str = "") -> Ran:
        """Run the command in the world as it was, struck at `call`. In what order threads come to a call is a
        race: it is run again until it is the one that was meant."""
        argv = self.world.argv(self.now_ns, *self.words, broken=broken)
        for _ in range(20):
            self.world.reset()
            ran = Tracer(self.world.environment).struck(argv, call, how)
            if call.is_hit_by(ran):
                break
        return ran

    def damage(self, ran: Ran | None = None, *, folder_times: bool = True) -> list[str]:
        """What is wrong in the world after an accident, and after the next run. `ran` is how the struck command
        ended, if it ended by itself."""
        wrong: list[str] = []
        if ran is not None:
            wrong += self._said(ran, folder_times)
        partly = ran is not None and ran.code == 3
        if self.settles:
            again = self.world.run(self.now_ns + SECOND, *self.words)
            wrong += [f"run again it ended with {again.code}: {again.err}"] if again.code else []
        wrong += self._repository_damage(partly)
        wrong += self._agent_damage(folder_times)
        wrong += self._secrets_damage()
        wrong += self._next_run(partly, folder_times)
        return wrong

    def _said(self, ran: Ran, folder_times: bool) -> list[str]:
        """A failure must be told as one of ours, and success must be true."""
        if ran.code == 0:
            return [f"success was told: {problem}" for problem in self._undone(folder_times)]
        if ran.code not in EXPECTED_CODES or any(word in ran.err for word in WRONG_WORDS):
            return [f"ended with {ran.code}: {ran.err[-600:]}"]
        return []

    def _undone(self, folder_times: bool = True) -> list[str]:
        """What an undisturbed run would have done and this one has not."""
        world = self.world
        try:
            listed = world.listed()
        except AntsmemError as error:
            return [f"the repository does not open: {error}"]
        now, after = _timeless(agent_tree(world.agent), folder_times), _timeless(self.after, folder_times)
        wrong = different("the agent", now, after)
        if world.secrets() != self.secrets[1]:
            wrong.append("the secrets are not as they should be")
        if self.made is not None and not listed - world.snapshots.keys():
            wrong.append("there is no new snapshot")
        return wrong + [f"{i} is still there" for i in self.forgotten & listed]

    def _repository_damage(self, partly: bool = False, runs: int = 1) -> list[str]:
        if self.makes_repository:
            return []
        return self.world.repository_damage(self.made, self.forgotten, runs=runs, partly=partly)

    def _agent_damage(self, folder_times: bool) -> list[str]:
        """Before the next command, each file is the old one or the new one; elsewhere nothing changed at all."""
        now = agent_tree(self.world.agent)
        if not self.in_place:
            return different("the agent", _timeless(now, folder_times), _timeless(self.before, folder_times))
        wrong = []
        for path in sorted(now.keys() | self.before.keys() | self.after.keys()):
            found, old, new = now.get(path), self.before.get(path), self.after.get(path)
            kinds = {what[0] if what else "" for what in (old, new)}
            absent_for_a_moment = found is None and kinds != {"file"}
            of_two = found is not None and found[0] == "folder" and "folder" in kinds
            if found not in (old, new) and not absent_for_a_moment and not of_two:
                wrong.append(f"`{path}` is {found}, neither {old} nor {new}")
        return wrong

    def _secrets_damage(self) -> list[str]:
        """Secrets and ledger together are the old ones or the new ones."""
        try:
            found = self.world.secrets()
        except AntsmemError as error:
            return [f"the secrets do not open: {error}"]
        return [] if found in self.secrets else [f"the secrets are neither the old nor the new ones: {found}"]

    def _next_run(self, partly: bool, folder_times: bool) -> list[str]:
        """The next command finishes or clears away; the same command again succeeds; nothing is lost or left."""
        world, wrong = self.world, []
        if self.in_place:
            ran = world.run(self.now_ns + SECOND, "log", "back again")
            if ran.code:
                wrong.append(f"the next command ended with {ran.code}: {ran.err}")
            (world.agent / ".antsmem/restoring").exists() and wrong.append("a staging directory is left")
            wrong += [] if partly else self._old_or_new(folder_times)
            wrong += self._not_kept()
        ran = world.run(self.now_ns + 2 * SECOND, *self.words)
        if ran.code and ran.code not in self.again:
            return [*wrong, f"the next run ended with {ran.code}: {ran.err}"]
        if self.makes_repository:
            ran = world.run(self.now_ns + 3 * SECOND, "backup")
            if ran.code:
                return [*wrong, f"a backup after it ended with {ran.code}: {ran.err}"]
            return wrong + world.repository_damage(None, runs=9, partly=True)
        wrong += self._repository_damage(partly, runs=2)
        wrong += [f"after the next run {problem}" for problem in self._undone(folder_times)]
        ran = world.run(self.now_ns + 40 * DAY, "prune", "--grace-hours", "0")
        if ran.code:
            return [*wrong, f"prune ended with {ran.code}: {ran.err}"]
        return wrong + world.litter()

    def _old_or_new(self, folder_times: bool) -> list[str]:
        now = self._without_log(agent_tree(self.world.agent), folder_times)
        old, new = self._without_log(self.before, folder_times), self._without_log(self.after, folder_times)
        if now in (old, new):
            return []
        return [*different("neither the old agent", now, old), *different("nor the new one", now, new)]

    def _not_kept(self) -> list[str]:
        """Every content that the agent had is still somewhere in the workspace."""
        there = {what[3] if what[0] == "file" else what[1] for what in tree_of(self.world.agent).values()}
        wanted = {path: what for path, what in self.before.items() if what[0] != "folder"}
        return [
            f"the old `{path}` is nowhere"
            for path, what in wanted.items()
            if (what[3] if what[0] == "file" else what[1]) not in there
        ]

    @staticmethod
    def _without_log(tree: Tree, folder_times: bool) -> Tree:
        """Without the note that the next command wrote."""
        kept = {path: what for path, what in tree.items() if not path.startswith("memory/2026-")}
        if "memory" in kept:
            kept["memory"] = kept["memory"][:2]
        return _timeless(kept, folder_times)


def _timeless(tree: Tree, folder_times: bool) -> Tree:
    if folder_times:
        return tree
    return {path: what[:2] if what[0] == "folder" else what for path, what in tree.items()}


def _new_agent(world: World) -> None:
    """An agent with some files, an identity and an empty repository."""
    for number in range(12):
        world.write(f"memory/{number}.md", f"What happened on day {number}.\n" * 40, -9)
    world.write("SOUL.md", "Curious, kind, exact.\n", -9)
    world.write("skills/run.sh", "#!/bin/sh\n", -9, mode=0o755)
    (world.agent / "today").symlink_to("memory/11.md")
    os.link(world.agent / "SOUL.md", world.agent / "SOUL.again.md")
    world.age(-9, "today", "SOUL.md")
    options = ("--adopt", "--name", "kevin", "--recovery-out", str(world.kit), "--repository", str(world.store))
    world.must(FRIDAY, "init", str(world.agent), *options)


def _with_history(world: World) -> None:
    """Two hot snapshots and a cold one, and work that is in none of them."""
    _new_agent(world)
    world.snapshot(FRIDAY + HOUR)
    world.write("memory/3.md", "Corrected.\n", 1)
    world.snapshot(FRIDAY + 2 * HOUR)
    world.snapshot(FRIDAY + 2 * HOUR, "--tier", "cold")
    world.write("memory/4.md", "Corrected again.\n", 2)
    world.write("notes/new.md", "A new place.\n", 2)
    (world.agent / "memory/5.md").unlink()
    world.age(2, "memory")


def _with_attachment(world: World) -> None:
    """More to store than one thread packs, in a week that has no epoch key yet."""
    _with_history(world)
    data = random.Random(1).randbytes(2_700_000)
    (world.agent / "photo.jpg").write_bytes(data)
    world.age(2, "photo.jpg")


def _with_garbage(world: World) -> None:
    """Snapshots that no tier keeps, packs that are mostly or wholly garbage, tombstones that are due, an index,
    and two snapshots that the anchor does not list yet because the runs that made them died."""
    _new_agent(world)
    day = 3 * DAY
    doomed = [world.snapshot(FRIDAY - day)]
    for number in range(9):
        world.write(f"memory/{number}.md", f"Rewritten {number}.\n" * 30, -20)
    doomed.append(world.snapshot(FRIDAY - day + HOUR // 6))
    for number in range(2):
        world.write(f"memory/{number}.md", f"Rewritten {number} for good.\n" * 30, -10)
    world.snapshot(FRIDAY - day + HOUR // 3)
    world.snapshot(FRIDAY - day + HOUR // 3, "--tier", "cold")
    world.must(FRIDAY - day + HOUR // 2, "forget", doomed[1])
    del world.snapshots[doomed[1]]
    world.must(FRIDAY, "check", "--repair")
    anchor = world.store / "anchors/snapshots.json"
    earlier = anchor.read_bytes()
    for quarter in (1, 2):
        world.write("memory/1.md", f"At quarter {quarter}.\n", quarter)
        world.snapshot(FRIDAY + quarter * HOUR // 4)
    anchor.write_bytes(earlier)


def _with_changes(world: World) -> None:
    """A snapshot, then every kind of change: what an in-place restore has to undo."""
    world_root = world.agent
    world.write("old/deep/down.md", "Deep down.\n", -9)
    world.write("swap/inside.md", "Inside.\n", -9)
    world.write("closed/kept.md", "Behind a closed door.\n", -9)
    world.write("plain", "A file.\n", -9)
    _new_agent(world)
    (world_root / "closed").chmod(0o555)
    world.age(-9, "closed", "old/deep", "swap", "plain")
    world.snapshot(FRIDAY + HOUR)
    (world_root / "closed").chmod(0o755)
    for number in range(3):
        world.write(f"memory/{number}.md", f"Spoiled {number}.\n", 2)
    world.write("skills/run.sh", "#!/bin/sh\n", 2, mode=0o644)
    world.write("closed/kept.md", "Opened.\n", 2)
    world.write("extra/more/new.md", "Not in the snapshot.\n", 2)
    shutil.rmtree(world_root / "old")
    shutil.rmtree(world_root / "swap")
    world.write("swap", "A file where a directory was.\n", 2)
    (world_root / "plain").unlink()
    world.write("plain/inside.md", "A directory where a file was.\n", 2)
    (world_root / "today").unlink()
    (world_root / "today").symlink_to("memory/2.md")
    (world_root / "SOUL.md").unlink()
    world.write("SOUL.md", "Somebody else.\n", 2)
    world.age(2, "today", "memory", "extra/more", "closed")


def _with_plan(world: World) -> None:
    """An in-place restore that was killed just after its commit."""
    _with_changes(world)
    argv = world.argv(FRIDAY + 3 * HOUR, "restore", "--in-place")
    tracer = Tracer(world.environment)
    world.save()
    _, calls = tracer.calls(argv)
    commit = next(at for at, call in enumerate(calls) if "-plan.json" in call.text and call.name == "rename")
    target = next(call for call in calls[commit + 1 :] if call.changes and call.name != "fsync")
    world.reset()
    assert tracer.struck(argv, target, "signal=KILL").hit
    assert (world.agent / ".antsmem/restoring/plan.json").exists()


def _with_secrets(world: World) -> None:
    """Secrets in several states, an older backup, a change that no repository has been told of, and a file with
    values to put in."""
    _with_history(world)
    values = world.root / "values.env"
    values.write_text("TOKEN=one\nOTHER=two\n")
    world.must(FRIDAY + 2 * HOUR, "secret", "import", str(values))
    world.must(FRIDAY + 2 * HOUR + SECOND, "secret", "revoke", "OTHER")
    world.must(FRIDAY + 2 * HOUR + 2 * SECOND, "secret", "import", str(values))
    values.write_text("TOKEN=three\nMORE=four\n")
    read, write = os.pipe()
    os.write(write, b"next")
    os.close(write)
    world.must(FRIDAY + 3 * HOUR, "secret", "rotate", "OTHER", "--pending", "--fd", str(read))
    os.close(read)


def _without_repository(world: World) -> None:
    """The repository is configured and not there any more."""
    _new_agent(world)
    shutil.rmtree(world.store)


def _with_guardian(world: World) -> None:
    """Two snapshots of two weeks, a cold one, and a guardian."""
    _new_agent(world)
    world.snapshot(FRIDAY + HOUR)
    for number in range(4):
        world.write(f"memory/{number}.md", f"A week later {number}.\n" * 30, 20)
    world.snapshot(FRIDAY + 7 * DAY)
    world.snapshot(FRIDAY + 7 * DAY, "--tier", "cold")
    add = ("recovery", "add-guardian", "--threshold", "1", "--kit", str(world.kit))
    world.must(FRIDAY + 7 * DAY, *add, str(X25519Identity.generate().recipient))


def scenarios() -> list[Scenario]:
    """All of them, to be prepared."""
    restore = ("restore", "--in-place")
    secret = ("secret", "import", "WORLD/values.env", "--replace")
    later = FRIDAY + 8 * DAY
    return [
        Scenario("secret-import", secret, FRIDAY + 4 * HOUR, _with_secrets),
        Scenario(
            "secret-rotate",
            ("secret", "rotate", "OTHER", "--activate"),
            FRIDAY + 4 * HOUR,
            _with_secrets,
            again=(0, 10),
        ),
        Scenario("secret-revoke", ("secret", "revoke", "TOKEN"), FRIDAY + 4 * HOUR, _with_secrets),
        Scenario("backup", ("backup",), FRIDAY + 4 * HOUR, _with_history),
        Scenario("backup-new-week", ("backup",), FRIDAY + 4 * DAY, _with_attachment),
        Scenario("backup-cold", ("backup", "--tier", "cold"), FRIDAY + 4 * HOUR, _with_history),
        Scenario("prune", ("prune",), FRIDAY + 4 * DAY, _with_garbage),
        Scenario("prune-at-once", ("prune", "--grace-hours", "0"), FRIDAY + 4 * HOUR, _with_garbage),
        Scenario("restore-in-place", restore, FRIDAY + 4 * HOUR, _with_changes, in_place=True),
        Scenario("finish-restore", restore, FRIDAY + 4 * HOUR, _with_plan, in_place=True),
        Scenario("rotate", ("identity", "rotate", "--kit", "KIT"), later, _with_guardian, settles=True),
        Scenario(
            "guardians",
            ("recovery", "add-guardian", GUARDIAN, "--kit", "KIT"),
            later,
            _with_guardian,
            settles=True,
        ),
        Scenario("destroy", ("epoch", "destroy", "hot-20261116", "--yes"), later, _with_guardian, settles=True),
        Scenario(
            "init", ("repository", "init", "default"), FRIDAY + HOUR, _without_repository, makes_repository=True
        ),
    ]
