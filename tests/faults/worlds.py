"""A small agent with a history, its repository, and what must be true of them after any accident.

A world is a directory that is put back between accidents. A scenario is a command in a world, with its two good
states: what was before and what is after. `Scenario.damage` says what is wrong, in words; nothing is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syscalls import Ran

import antsmem
from antsmem.backup.check import CheckJob, check
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import open_repository, read_state
from antsmem.backup.restore import plan_restore, restore_to
from antsmem.backup.thaw import restore_cold
from antsmem.cli.context import Context, Options
from antsmem.cli.keys import kit_keyring
from antsmem.cli.main import run
from antsmem.cli.pins import read_pin
from antsmem.core import clock
from antsmem.core.config import RepositoryConfig
from antsmem.core.disk import is_temp
from antsmem.core.errors import AntsmemError

LAUNCHER = [sys.executable, "-X", "frozen_modules", str(Path(__file__).with_name("launcher.py"))]

Tree = dict[str, tuple[Any, ...]]
"""Path → what is there: kind, mode, time, content."""

HOUR = 3_600_000_000_000
ID_LENGTH = len("20261120T152331.000Z-0123abcd")
FRIDAY = 1_795_188_211_000_000_000
"""2026-11-20T15:23:31Z."""


def tree_of(root: Path, skip: str = "") -> Tree:
    """All that is below `root`, but for directories named `skip`. Hard links name the first path of their file.
    The time of the directory that antsmem keeps for itself does not count."""
    found: Tree = {}
    inodes: dict[int, str] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != skip)
        for name in sorted((*folders, *files, ".")):
            path = os.path.normpath(os.path.join(folder, name))
            relative = os.path.relpath(path, root)
            status = os.lstat(path)
            mode, time_ns = stat.S_IMODE(status.st_mode), status.st_mtime_ns
            if stat.S_ISLNK(status.st_mode):
                found[relative] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[relative] = ("folder", mode, 0 if relative.startswith(".antsmem") else time_ns)
            else:
                digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
                first = inodes.setdefault(status.st_ino, relative)
                found[relative] = ("file", mode, time_ns, digest, first if status.st_nlink > 1 else relative)
    return found


def own(tree: Tree) -> Tree:
    """The agent's own part of a tree: without antsmem's directory."""
    return {path: what for path, what in tree.items() if path.split("/")[0] != ".antsmem"}


def agent_tree(root: Path) -> Tree:
    """The agent's own files as they stand in its workspace."""
    return tree_of(root, skip=".antsmem")


class World:
    """An agent, its home directory and its repositories, all below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root / "world"
        self.saved = root / "saved"
        self.scratch = root / "scratch"
        self.home, self.agent, self.kit = self.root / "home", self.root / "agent", self.root / "kit.txt"
        self.store = self.root / "repository"
        code = str(Path(antsmem.__file__).parents[1])
        self.environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": code}
        self.environment |= {"PYTHONHASHSEED": "0"}  # the same calls in each run
        self.snapshots: dict[str, Tree] = {}

    def argv(self, now_ns: int, *words: str, broken: str = "") -> list[str]:
        """The command line of a run of its own."""
        control = ["--break", broken] if broken else []
        return [*LAUNCHER, str(now_ns), *control, "-C", str(self.agent), *words]

    def run(self, now_ns: int, *words: str) -> Ran:
        """Run a command in this process."""
        options = Options(workspace=str(self.agent), no_input=True)
        with _captured() as (out, err), _at(now_ns):
            context = Context(options, self.environment)
            try:
                code = run(context, list(words))
            except AntsmemError as error:
                context.output.error(error)
                code = error.exit_code
            except SystemExit as end:
                code = int(end.code or 0)
            except OSError:  # as Python ends a program that does not expect it
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
        return Ran(code, out.getvalue().decode(), err.getvalue().decode())

    def must(self, now_ns: int, *words: str) -> str:
        """Run a command that has to succeed."""
        ran = self.run(now_ns, *words)
        assert ran.code == 0, (words, ran)
        return ran.out

    def save(self) -> None:
        """What `reset` puts back."""
        shutil.rmtree(self.saved, ignore_errors=True)
        _copy(self.root, self.saved)

    def reset(self) -> None:
        """Put everything back as it was saved."""
        remove(self.root)
        _copy(self.saved, self.root)

    def write(self, path: str, text: str, hour: int, mode: int = 0o644) -> None:
        """A file of the agent, written at `hour`."""
        target = self.agent / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        self.age(hour, path)

    def age(self, hour: int, *paths: str) -> None:
        """Give paths and the directories above them the time `hour`."""
        at = FRIDAY + hour * HOUR + 123_456_789
        for path in paths:
            for place in (Path(path), *Path(path).parents):
                os.utime(self.agent / place, ns=(at, at), follow_symlinks=False)

    def snapshot(self, now_ns: int, *words: str) -> str:
        """Take a snapshot of the agent as it is, remember what must come back, and tell its id."""
        snapshot_id = self.must(now_ns, "backup", *words).split()[0]
        self.snapshots[snapshot_id] = self.restored(snapshot_id)
        assert own(self.snapshots[snapshot_id]) == agent_tree(self.agent)
        return snapshot_id

    def opened(self) -> Any:
        """The repository, opened with the recovery kit, which opens everything."""
        store = Context(Options(), self.environment).store(RepositoryConfig("default", str(self.store)))
        return open_repository(store, kit_keyring(store, self.kit))

    def restored(self, snapshot_id: str) -> Tree:
        """The tree of a snapshot, restored for a moment."""
        remove(self.scratch)
        repository = self.opened()
        try:
            read_state(repository, None)  # what its list says of each snapshot
            if (self.store / "cold" / f"{snapshot_id}.sig").exists():
                restore_cold(repository, snapshot_id, self.scratch, lambda *_: None)
            else:
                snapshot = open_snapshot(repository, snapshot_id)
                plan = plan_restore(snapshot, snapshot.entries)
                restore_to(snapshot, self.scratch, plan, salvage=False, progress=lambda *_: None)
            return tree_of(self.scratch)
        finally:
            remove(self.scratch)

    def secrets(self) -> tuple[Any, ...]:
        """The agent's secrets, and what its ledger says of them; opening completes what a killed run left."""
        context = Context(Options(workspace=str(self.agent)), self.environment)
        context.output.hide = lambda _values: None  # type: ignore[method-assign]  # one mask a process, not a call
        custody = context.custody
        if custody is None:
            return ()
        held = sorted((each.name, each.version, each.state, each.value) for each in custody.keystore.secrets)
        return (*held, *((*key, each.state) for key, each in custody.ledger.standings().items()))

    def listed(self) -> set[str]:
        """The ids of the snapshots that the repository says it has."""
        pins = list((self.home / ".local/state/antsmem").glob("*/pin-*"))
        repository = self.opened()
        pin = next((read_pin(path) for path in pins if repository.id in path.name), None)
        state = read_state(repository, pin)
        return {*state.ids, *state.anchor.cold}

    def repository_damage(
        self, extra: Tree | None, gone: frozenset[str] = frozenset(), *, runs: int = 1, partly: bool = False
    ) -> list[str]:
        """What is wrong with the repository: `check --read-data`, each snapshot restored and compared. As many new
        snapshots as there were `runs` may be there if they restore to `extra` (`partly`: to anything); those in
        `gone` may be there or not."""
        wrong: list[str] = []
        try:
            found = check(self.opened(), CheckJob(None, 100))
            wrong += [*found.problems, *found.notes]
            listed = self.listed()
        except AntsmemError as error:
            return [f"the repository does not open: {error}"]
        wrong += [f"snapshot {i} is lost" for i in self.snapshots.keys() - gone - listed]
        new = listed - self.snapshots.keys()
        if len(new) > (runs if extra is not None or partly else 0):
            wrong.append(f"{len(new)} snapshots came from nowhere")
        for snapshot_id in listed:
            try:
                tree = self.restored(snapshot_id)
            except AntsmemError as error:
                wrong.append(f"snapshot {snapshot_id} does not restore: {error}")
                continue
            if snapshot_id in self.snapshots or not partly:
                wrong += different(f"snapshot {snapshot_id}", tree, self.snapshots.get(snapshot_id) or extra or {})
        return wrong

    def litter(self) -> list[str]:
        """Files in the repository that no snapshot needs."""
        paths = [path for path in self.store.rglob("*") if path.is_file()]
        needed = {
            line.split("  ")[1]
            for path in paths
            if path.suffix == ".packs"
            for line in path.read_text().split("\n")[:-1]
        }
        loose = [path.name for path in paths if is_temp(path.name)]
        loose += [
            f"packs/{path.name}"
            for path in paths
            if path.parent.name == "packs" and f"packs/{path.name}" not in needed
        ]
        for folder, endings in (("snapshots", {".age", ".sig", ".packs"}), ("cold", {".sig", ".tar.zst.age"})):
            names = {path.name for path in paths if path.parent.name == folder}
            for stem in {name[:ID_LENGTH] for name in names if not is_temp(name)}:
                if {name[ID_LENGTH:] for name in names if name.startswith(stem)} != endings:
                    loose.append(f"{folder}/{stem}")
        return [f"litter: {name}" for name in loose]


def different(what: str, found: Tree, wanted: Tree) -> list[str]:
    """Where two trees differ, in words."""
    paths = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    return [f"{what}: `{path}` is {found.get(path)}, not {wanted.get(path)}" for path in paths[:3]]


def remove(path: Path) -> None:
    """Remove a tree, closed directories too."""
    if path.exists():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


@contextlib.contextmanager
def _at(now_ns: int) -> Iterator[None]:
    before = clock.now_ns
    clock.now_ns = lambda: now_ns
    try:
        yield
    finally:
        clock.now_ns = before


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    out, err, umask = io.BytesIO(), io.BytesIO(), os.umask(0o077)
    texts = [io.TextIOWrapper(each, write_through=True) for each in (out, err)]
    try:
        with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
            yield out, err
    finally:
        for text in texts:
            text.detach()
        os.umask(umask)
