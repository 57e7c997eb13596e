"""A computer on which an agent can live: how the program is started there, and how files get there and back."""

from __future__ import annotations

import os
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from antsmem.core.errors import BackendError
from antsmem.core.record import field, mutable_record, record

Watch: TypeAlias = Callable[[int, bool], None]

PATIENCE_SECONDS: Final = 120.0
_LIMIT: Final = 64 << 20


@record
class Ran:
    """A command that ended on a machine. `out` and `err` are all that it printed."""

    words: tuple[str, ...]
    code: int
    out: bytes = field(repr=False)
    err: bytes = field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object it printed; empty if it printed none."""
        import json

        try:
            found = json.loads(self.out[:_LIMIT])
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def said(self) -> str:
        """What it said last, one line: for a person who asks why it failed."""
        text = (self.err or self.out).decode(errors="replace").strip()
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("  →")]
        return lines[-1][:300] if lines else ""


@mutable_record
class Machine:
    """A machine `name` with everything of ours below `root`, a path there.

    `wrap` turns a command line for the machine into one for here. `near` says that `root` is on this disk too.
    `program` starts antsmem there; `environment` is all that a program there is given. `keep` is the path there of
    what outlives machines: repository, kit, escrow, the world. `watch` is told of each process group that is
    started (as a negative number) and whether it is to end with this process, or has ended.
    """

    name: str
    root: str
    program: tuple[str, ...]
    environment: Mapping[str, str]
    keep: str
    wrap: Callable[[Sequence[str]], list[str]] = list
    near: bool = True
    watch: Watch = lambda _group, _lives: None
    end: Callable[[], None] = lambda: None
    history: list[Ran] = field(default_factory=list)

    @property
    def agent(self) -> str:
        """The workspace there."""
        return f"{self.root}/agent"

    @property
    def home(self) -> str:
        """The home directory there."""
        return f"{self.root}/home"

    def line(self, words: Sequence[str]) -> list[str]:
        """The command line here that runs `words` there, in an environment that is otherwise empty."""
        given = [f"{name}={value}" for name, value in self.environment.items()]
        return self.wrap(["/usr/bin/env", "-i", *given, *words])

    def run(self, words: Sequence[str], stdin: bytes = b"") -> Ran:
        """Run a command there and wait for its end; `BackendError` if the machine cannot be reached, or hangs."""
        try:
            process = self._begin(words, subprocess.PIPE)
            try:
                out, err = process.communicate(stdin, PATIENCE_SECONDS)
            except BaseException:
                kill_group(process)
                raise
            finally:
                self.watch(-process.pid, False)
        except (OSError, subprocess.TimeoutExpired):
            raise BackendError(f"the machine `{self.name}` does not answer", hint="is it there?") from None
        ran = Ran(tuple(words), process.returncode, out, err)
        self.history.append(ran)
        return ran

    def call(self, *words: str) -> list[str]:
        """The words that run the program there, in the agent's workspace, for its JSON."""
        return self.plainly("--json", *words)

    def plainly(self, *words: str) -> list[str]:
        """The words that run the program there, for its text."""
        there = ["sh", "-c", 'cd "$0" 2>/dev/null; exec "$@"', self.agent]
        return [*there, *self.program, "--no-input", *words]

    def antsmem(self, *words: str, stdin: bytes = b"") -> Ran:
        """Run the program there and wait for its end."""
        return self.run(self.call(*words), stdin)

    def shell(self, script: str) -> Ran:
        """Run a script there with `sh`, in the machine's root."""
        return self.run(["sh", "-c", f"cd {shlex.quote(self.root)} && {{ {script}\n}}"])

    def facts(self) -> dict[str, str]:
        """What there is to know of the machine, for people."""
        ran = self.shell("uname -n; uname -sr; id -u")
        told = [*ran.out.decode(errors="replace").splitlines(), "", "", ""]
        environment = self.environment
        return {
            "host name": told[0],
            "system": told[1],
            "user": f"{environment.get('USER', '')} (uid {told[2]})",
            "home": self.home,
            "time zone": environment.get("TZ", ""),
            "language": environment.get("LANG", ""),
        }

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command there and do not wait. It leads a process group of its own."""
        return self._begin(words, subprocess.DEVNULL)

    def _begin(self, words: Sequence[str], streams: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.line(words), stdin=streams, stdout=streams, stderr=streams, start_new_session=True, cwd="/"
        )
        self.watch(-process.pid, True)
        return process

    def put(self, source: Path, to: str) -> None:
        """Bring the tree `source` there, as `to` below the root."""
        with (
            subprocess.Popen(
                self.line(["tar", "-C", self.root, "-xpf", "-"]), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process,
            suppress(BrokenPipeError),
            tarfile.open(fileobj=process.stdin, mode="w|") as archive,
        ):
            archive.add(source, to)
        if process.returncode:
            raise BackendError(f"could not bring files to the machine `{self.name}`", hint="has it `tar`?")

    def pack(self, into: Path, what: Sequence[str], without: Sequence[str] = ()) -> None:
        """Fetch the trees `what` below the root, but those `without`, into the file `into`: in GNU tar's POSIX
        format, which keeps every digit of a time."""
        left_out = [f"--exclude={each}" for each in without]
        words = ["tar", "-C", self.root, "--format=posix", *left_out, "-cf", "-", *what]
        with open(into, "wb") as file:  # a scratch file, which nobody relies on
            done = subprocess.run(self.line(words), stdout=file, stderr=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise BackendError(f"could not fetch files from the machine `{self.name}`", hint="has it GNU `tar`?")


def here(name: str, root: Path, program: tuple[str, ...], environment: Mapping[str, str], keep: Path) -> Machine:
    """A machine that is a directory on this one: another home, another user name, another clock on the wall."""
    for folder in ("home", "tmp"):
        (root / folder).mkdir(parents=True, mode=0o700)
    (root / "home" / "world").symlink_to(keep / "world")
    return Machine(name, str(root), program, environment, str(keep))


def surroundings(root: str, user: str, zone: str, language: str) -> dict[str, str]:
    """All that programs on a machine are told of their surroundings."""
    return {
        "HOME": f"{root}/home",
        "USER": user,
        "LOGNAME": user,
        "TMPDIR": f"{root}/tmp",  # noqa: S108 - its own
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TZ": zone,
        "LANG": language,
    }


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Take the power away: nothing of the process group gets to say goodbye."""
    import signal

    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
