"""The programs that are compared: antsmem, restic and borg, each at its defaults, encrypted, fsyncing as it does.

A tool keeps a repository, a cache and a home directory of its own in a fresh place, so that nothing of the user
is read or written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from measure import Command, run, tree_bytes

_PASSPHRASE = "only for benchmarks"


class Tool(ABC):
    """A backup program. Its commands are valid after `begin`."""

    name = ""
    settings = ""
    version_word = "--version"

    def __init__(self, program: Path) -> None:
        self.program = program
        self.workspace = self.place = Path()
        self.snapshots = 0

    def begin(self, workspace: Path, place: Path) -> None:
        """Make an empty repository for `workspace` in the new directory `place`."""
        self.workspace, self.place, self.snapshots = workspace, place, 0
        (place / "home").mkdir(parents=True)
        self.make_repository()

    @property
    def repository(self) -> Path:
        """Where the backups go."""
        return self.place / "repository"

    @property
    def version(self) -> str:
        """As the program says it."""
        said = subprocess.run([self.program, self.version_word], capture_output=True, text=True, check=True)
        return said.stdout.split()[1]

    def size_bytes(self) -> int:
        """What the repository takes."""
        return tree_bytes(self.repository)

    def command(self, *words: str | Path, folder: Path | None = None) -> Command:
        """A command of this program."""
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(self.place / "home"),
            **self.variables(),
        }
        return Command((str(self.program), *map(str, words)), environment, folder or self.workspace)

    def variables(self) -> dict[str, str]:
        """Environment variables besides the usual."""
        return {}

    @abstractmethod
    def make_repository(self) -> None:
        """The part of `begin` that is the program's own."""

    @abstractmethod
    def backup(self) -> Command:
        """One snapshot of the workspace."""

    @abstractmethod
    def restore(self, target: Path) -> Command:
        """All of the newest snapshot into the empty directory `target`."""

    @abstractmethod
    def restore_one(self, path: str, target: Path) -> Command:
        """The one file `path` of the newest snapshot into the empty directory `target`."""

    @abstractmethod
    def check(self) -> Command:
        """What the program's `check` does when nothing else is asked for."""

    @abstractmethod
    def check_data(self) -> Command:
        """Read, decrypt and verify all data."""

    def restored(self, target: Path) -> Path:
        """Where in `target` the workspace's top is."""
        return target


class Antsmem(Tool):
    """This project. The host's key goes to `keys`, because it is refused below a version-controlled directory."""

    name = "antsmem"
    settings = "writes read back by size, as by default"

    def __init__(self, program: Path, keys: Path) -> None:
        super().__init__(program)
        self.keys = keys

    def variables(self) -> dict[str, str]:
        """See `Tool`."""
        return {"XDG_CONFIG_HOME": str(self.keys)}

    def make_repository(self) -> None:
        """See `Tool`."""
        shutil.rmtree(self.workspace / ".antsmem", ignore_errors=True)
        kit = self.place / "kit.txt"
        run(
            self.command(
                "init", self.workspace, "--adopt", "--name", "bench",
                "--recovery-out", kit, "--repository", self.repository,
            )
        )  # fmt: skip

    def backup(self) -> Command:
        """See `Tool`."""
        return self.command("backup")

    def restore(self, target: Path) -> Command:
        """See `Tool`."""
        return self.command("restore", "--to", target)

    def restore_one(self, path: str, target: Path) -> Command:
        """See `Tool`."""
        return self.command("restore", "--to", target, "--path", path)

    def check(self) -> Command:
        """See `Tool`."""
        return self.command("check")

    def check_data(self) -> Command:
        """See `Tool`."""
        return self.command("check", "--read-data")


class Restic(Tool):
    """https://restic.net"""

    name = "restic"
    settings = "repository version 2, compression `auto`"
    version_word = "version"

    def variables(self) -> dict[str, str]:
        """See `Tool`."""
        return {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": _PASSPHRASE}

    def make_repository(self) -> None:
        """See `Tool`."""
        run(self.command("init", "--repository-version", "2"))

    def backup(self) -> Command:
        """See `Tool`."""
        return self.command("backup", "--exclude", self.workspace / ".antsmem", self.workspace)

    def restore(self, target: Path) -> Command:
        """See `Tool`."""
        return self.command("restore", "latest", "--target", target)

    def restore_one(self, path: str, target: Path) -> Command:
        """See `Tool`."""
        return self.command("restore", "latest", "--target", target, "--include", self.workspace / path)

    def check(self) -> Command:
        """See `Tool`."""
        return self.command("check")

    def check_data(self) -> Command:
        """See `Tool`."""
        return self.command("check", "--read-data")

    def restored(self, target: Path) -> Path:
        """See `Tool`."""
        return target / self.workspace.relative_to("/")


class Borg(Tool):
    """https://borgbackup.org"""

    name = "borg"
    settings = "repokey-blake2, compression zstd (level 3)"

    def variables(self) -> dict[str, str]:
        """See `Tool`."""
        home = str(self.place / "home")
        return {"BORG_REPO": str(self.repository), "BORG_PASSPHRASE": _PASSPHRASE, "BORG_BASE_DIR": home}

    def make_repository(self) -> None:
        """See `Tool`."""
        run(self.command("init", "--encryption", "repokey-blake2"))

    def backup(self) -> Command:
        """See `Tool`."""
        self.snapshots += 1
        name = f"::{self.snapshots}"
        return self.command("create", "--compression", "zstd", "--exclude", ".antsmem", name, ".")

    def restore(self, target: Path) -> Command:
        """See `Tool`."""
        return self.command("extract", f"::{self.snapshots}", folder=target)

    def restore_one(self, path: str, target: Path) -> Command:
        """See `Tool`."""
        return self.command("extract", f"::{self.snapshots}", path, folder=target)

    def check(self) -> Command:
        """See `Tool`."""
        return self.command("check")

    def check_data(self) -> Command:
        """See `Tool`."""
        return self.command("check", "--verify-data")


def peers(own: Path) -> tuple[list[Tool], list[str]]:
    """The peers that are here, and the names of those that are not. One in an environment below `own`
    (`own/borg/bin/borg`) goes before one on PATH."""
    found: list[Tool] = []
    missing = []
    for kind in (Restic, Borg):
        program = shutil.which(kind.name, path=f"{own / kind.name / 'bin'}:{os.environ['PATH']}")
        if program is None:
            missing.append(kind.name)
        else:
            found.append(kind(Path(program)))
    return found, missing
