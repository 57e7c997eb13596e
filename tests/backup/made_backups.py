"""An agent's keys, workspace and repository made for tests, and what a tree looks like when it is compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antsmem.backup.check import CheckJob, CheckResult, check
from antsmem.backup.cold import back_up_cold
from antsmem.backup.create import create_repository
from antsmem.backup.hot import BackupResult, Job, back_up_hot
from antsmem.backup.prune import PruneJob, PruneResult, prune
from antsmem.backup.reader import open_snapshot
from antsmem.backup.replace import differences, restore_in_place
from antsmem.backup.repository import (
    Keyring,
    Pin,
    Repository,
    State,
    open_repository,
    read_state,
)
from antsmem.backup.restore import RestoreResult, plan_restore, restore_to, select
from antsmem.backup.store import Store
from antsmem.backup.thaw import restore_cold
from antsmem.core import clock
from antsmem.core.age import X25519Identity
from antsmem.core.record import replace
from antsmem.drivers.file import FileStore
from antsmem.identity.scanner import Scanner
from antsmem.identity.signing import SigningKey
from antsmem.identity.waivers import NONE
from antsmem.workspace.classes import Classifier

HOUR_NS = 3_600_000_000_000
FINGERPRINT_KEY = bytes(range(32))
KEEP_ALL: Mapping[str, Mapping[str, int]] = {"hot": {"newest": 10_000}, "cold": {"newest": 10_000}}
Tree = dict[bytes, tuple[Any, ...]]


def silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass
class Agent:
    """One agent's keys, and those of a thief who knows the recipients but not the signing key."""

    op_key: SigningKey = field(default_factory=SigningKey.generate)
    hot: X25519Identity = field(default_factory=X25519Identity.generate)
    cold: X25519Identity = field(default_factory=X25519Identity.generate)
    scid: str = "QmAgentOfTheseTests"
    former: list[bytes] = field(default_factory=list)

    def take_over(self) -> None:
        """Another host of the same agent from now on: the old one's key is revoked."""
        self.former.append(self.op_key.public)
        self.op_key = SigningKey.generate()

    def keys(self, host: str = "laptop") -> Keyring:
        """What the agent's host lends to the engine: it cannot read the cold tier."""
        return Keyring(
            scid=self.scid,
            host=host,
            identity_version=1,
            trusted=[*self.former, self.op_key.public],
            current=[self.op_key.public],
            signer=self.op_key,
            sealing={
                "hot": ("hot-20261116", self.hot.recipient),
                "cold": ("cold-20261116", self.cold.recipient),
            },
            identities=[self.hot],
            carried={
                "hot-20261116.age": b"sealed hot key",
                "cold-20261116.age": b"sealed cold key",
                "identity.jsonl": b"{}\n",
            },
        )

    def kit(self) -> Keyring:
        """What a recovery kit lends: it reads everything and writes nothing."""
        return replace(self.keys(), signer=None, sealing={}, identities=[self.hot, self.cold], carried={})

    def thief(self) -> Keyring:
        """Somebody who knows the recipients, but not the agent's signing key."""
        return replace(self.keys(), signer=SigningKey.generate(), trusted=None)


class Place:
    """A workspace, its repository in a folder, and this host's memory of it, all below `root`."""

    def __init__(self, root: Path, agent: Agent | None = None) -> None:
        self.root = root
        self.workspace = root / "workspace"
        self.folder = root / "repository"
        self.agent = agent or Agent()
        self.cache = root / "state" / "cache"
        self.known: list[tuple[str, bytes]] = []
        self.waivers = NONE
        self.classes: Mapping[Any, Sequence[str]] = {}
        self.pin: Pin | None = None
        self.workspace.mkdir(parents=True, exist_ok=True)
        self.cache.parent.mkdir(exist_ok=True)
        if not self.folder.exists():
            create_repository(self.store(), self.agent.keys(), clock.now_ns())

    def store(self) -> Store:
        return FileStore.open(str(self.folder), {})

    def repository(self, keys: Keyring | None = None, store: Store | None = None) -> Repository:
        return open_repository(store or self.store(), keys or self.agent.keys())

    def state(self) -> State:
        return read_state(self.repository(), self.pin)

    def believed(self, keys: Keyring | None = None) -> Repository:
        """The repository with what its list says of each snapshot: what every command that reads begins with."""
        repository = self.repository(keys)
        read_state(repository, self.pin)
        return repository

    def job(self, **changes: Any) -> Job:
        job = Job(
            root=os.fsencode(self.workspace),
            classifier=Classifier(self.classes),
            scanner=Scanner(self.known, fingerprint_key=FINGERPRINT_KEY),
            waivers=self.waivers,
            cache_path=self.cache,
            now_ns=clock.now_ns(),
            pin=self.pin,
        )
        return replace(job, **changes)

    def back_up(self, tier: str = "hot", *, store: Store | None = None, **changes: Any) -> BackupResult:
        verb = back_up_hot if tier == "hot" else back_up_cold
        result = verb(self.repository(store=store), self.job(**changes))
        self.pin = result.pin
        return result

    def restore(
        self,
        snapshot: str,
        to: Path,
        paths: Sequence[bytes] = (),
        *,
        salvage: bool = False,
        keys: Keyring | None = None,
    ) -> RestoreResult:
        opened = open_snapshot(self.believed(keys), snapshot, salvage=salvage)
        plan = plan_restore(opened, select(opened.entries, paths), salvage=salvage)
        return restore_to(opened, to, plan, salvage=salvage, progress=silent)

    def thaw(self, snapshot: str, to: Path) -> RestoreResult:
        return restore_cold(self.believed(self.agent.kit()), snapshot, to, silent)

    def bring_back(self, snapshot: str, paths: Sequence[bytes] = ()) -> RestoreResult:
        """Restore in place."""
        opened = open_snapshot(self.believed(), snapshot)
        difference = differences(opened, os.fsencode(self.workspace), paths, Classifier(self.classes))
        return restore_in_place(opened, self.workspace, difference, clock.now_ns(), silent)

    def check(self, percent: int = 100, keys: Keyring | None = None) -> CheckResult:
        return check(self.repository(keys), CheckJob(self.pin, percent))

    def prune(self, policy: Mapping[str, Mapping[str, int]] = KEEP_ALL, **changes: Any) -> PruneResult:
        job = replace(PruneJob(policy, clock.now_ns(), grace_seconds=0), **changes)
        return prune(self.repository(), self.state(), job)

    def files(self, folder: str) -> list[Path]:
        """What the repository holds in one of its folders."""
        place = self.folder / folder
        return sorted(place.iterdir()) if place.is_dir() else []


def tree_of(root: Path, skip: Sequence[str] = ()) -> Tree:
    """All that is below `root` and not below a path of `skip`: kind, mode, owner, mtime in nanoseconds, content,
    extended attributes; a hard link names the first path of its file."""
    found: Tree = {}
    first: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    stack, skipped = [b""], {os.fsencode(path) for path in skip}
    while stack:
        relative = stack.pop()
        path = os.path.join(top, relative) if relative else top
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if kind == stat.S_IFDIR:
            below = sorted(os.path.join(relative, name) for name in os.listdir(path))
            stack += [name for name in reversed(below) if name not in skipped]
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind == stat.S_IFREG:
            content = _digest(path)
            xattrs = tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)))
            if status.st_nlink > 1:
                content = (content, first.setdefault((status.st_dev, status.st_ino), relative))
        owner = (status.st_uid, status.st_gid)
        found[relative] = (kind, stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, content, xattrs)
    return found


def _digest(path: bytes) -> str:
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            hashed.update(data.rstrip(b"\0") + b"%d" % len(data))
    return hashed.hexdigest()


def write(path: Path, text: str | bytes = "text\n") -> Path:
    """A file, with the directories it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def aged(path: Path, seconds: int = 60) -> Path:
    """Make a file look as if it had rested: what was touched within two seconds is always read again."""
    status = path.lstat()
    at = status.st_mtime_ns - seconds * 1_000_000_000
    os.utime(path, ns=(at, at), follow_symlinks=False)
    return path
