"""A home directory with an agent in it, and commands run there as a terminal would run them.

A command runs in a fork of the test: with its own standard streams, environment, signal handlers and exit code,
but without the time that starting Python takes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import nacl.bindings
import zstandard

from antsmem.cli.main import everything, main
from antsmem.core import age
from antsmem.drivers import file
from antsmem.identity import rollover, scanner

everything()  # what a fork finds loaded it need not load
LOADED = (age, file, rollover, scanner, nacl.bindings, zstandard)
KIT = "kit.txt"
CLOSED = str(2**31 - 1)
"""A file descriptor that no process ever has open."""
TRACE = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ran:
    """How a command ended. `code` is its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The one JSON document on stderr."""
        found = json.loads(self.err)
        assert isinstance(found, dict) and found["schema"] == "antsmem.error/1"
        return found


class Home:
    """Everything below `root`: the home directory, the agent's workspace, and where commands are run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.workspace = root / "agent"
        self.home.mkdir(parents=True, exist_ok=True)
        self.environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        user: int = 0,
        more: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Ran:
        """Run `antsmem WORDS` in `root`. `user`: as whom, where root runs the tests. `before`: called first."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            child = os.fork()
            if child == 0:
                self._become(words, (given.fileno(), out.fileno(), err.fileno()), user, more or {}, before)
            _, status = os.waitpid(child, 0)
            out.seek(0)
            err.seek(0)
            texts = out.read().decode(errors="surrogateescape"), err.read().decode(errors="surrogateescape")
        return Ran(os.waitstatus_to_exitcode(status), *texts)

    def _become(
        self,
        words: tuple[str, ...],
        streams: tuple[int, int, int],
        user: int,
        more: Mapping[str, str],
        before: Callable[[], None] | None,
    ) -> None:
        code = 70
        try:
            for number, fd in enumerate(streams):
                os.dup2(fd, number)
            sys.stdin = os.fdopen(0, "r", encoding="utf-8")
            sys.stdout = os.fdopen(1, "w", encoding="utf-8")
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            os.environ.clear()
            os.environ.update(self.environment | dict(more))
            os.chdir(self.root)
            if before:
                before()
            main(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except BaseException:  # noqa: BLE001 - as the interpreter would: shown, and exit code 1
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def must(self, *words: str, code: int = 0, stdin: bytes = b"") -> Ran:
        """Run a command in the workspace, which must end with `code`."""
        ran = self.run("-C", str(self.workspace), *words, stdin=stdin)
        assert ran.code == code, ran
        return ran

    def init(self, *words: str) -> Ran:
        """Make the agent."""
        ran = self.run("init", str(self.workspace), "--name", "kevin", "--recovery-out", KIT, *words)
        assert ran.code == 0, ran
        return ran

    @property
    def repository(self) -> Path:
        """Where its first repository is."""
        (found,) = (self.home / ".local/share/antsmem").glob("*/repository")
        return found

    @property
    def ids(self) -> list[str]:
        """The snapshots of the first repository, oldest first."""
        return [row["id"] for row in self.must("snapshots", "--json").document["snapshots"]]

    def start(self, script: str, *words: str) -> subprocess.Popen[str]:
        """A process of its own: `script`, then the command."""
        code = f"import sys\n{script}\nfrom antsmem.cli.main import main\nmain(sys.argv[1:])\n"
        command = [sys.executable, "-c", code, "-C", str(self.workspace), *words]
        return subprocess.Popen(
            command, env=self.environment, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


def copy_of(model: Path, root: Path) -> Home:
    """Another agent just like the first. It lies elsewhere, so the paths in its configuration are put right."""
    shutil.copytree(model, root, dirs_exist_ok=True, symlinks=True)
    for path in (root / "home/.config/antsmem/agents").iterdir():
        path.write_text(path.read_text().replace(str(model), str(root)))
    return Home(root)
