"""Run a command under strace: list its system calls, kill it at one of them, let one of them fail."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engines import UnavailableError, program
from launcher import IDLE, MARKER

CHANGING = (
    "chmod", "chown", "copy_file_range", "fallocate", "fchmod", "fchmodat", "fchown", "fchownat", "fdatasync",
    "flock", "fsetxattr", "fsync", "ftruncate", "lchown", "link", "linkat", "lsetxattr", "mkdir", "mkdirat",
    "mknod", "mknodat", "openat", "pwrite64", "pwritev", "rename", "renameat", "renameat2", "rmdir", "sendfile",
    "setxattr", "symlink", "symlinkat", "sync", "syncfs", "truncate", "unlink", "unlinkat", "utimensat",
    "write", "writev",
)  # fmt: skip
"""The calls that change a file system, or hold a lock on it. `openat` counts where it may write or make a file."""

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
_NAMES = re.compile(r'(?<=\d)<([^>]+)>|"([^"]*)"')
_TEMP = re.compile(r"\.antsmem-tmp-[0-9a-f]{12}|(?<=[/-])[0-9a-f]{8,64}\b|(?<=pipe:)\[\d+\]")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of a run: the `number`-th `name` of its thread (0 = the main one, else in order of start).
    `others` is how often another thread makes calls of this name."""

    thread: int
    name: str
    number: int
    others: int
    text: str

    @property
    def changes(self) -> bool:
        """Whether it may change a file system."""
        return self.name in CHANGING and (self.name != "openat" or bool(_WRITING.search(self.text)))

    @property
    def can_be_struck(self) -> bool:
        """Whether an injector can tell this call from those of the same name in other threads."""
        return not self.others or self.name in IDLE

    def is_hit_by(self, ran: Ran) -> bool:
        """Whether the struck call is this one, and not another of the same name and number."""
        return bool(ran.hit) and _shape(self.name, ran.hit.partition("(")[2]) == _shape(self.name, self.text)

    def __str__(self) -> str:
        return f"{self.name}#{self.number}({_TEMP.sub('*', self.text)[:160]}"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. `code` is negative for a signal. `hit` is the call that a fault was injected into."""

    code: int
    out: str
    err: str
    hit: str = ""


@cache
def strace() -> str:
    """The program; `UnavailableError` where it is not installed or may not trace."""
    found = program("strace", "apt-get install strace")
    tried = subprocess.run(
        [found, "-f", "-qqq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        raise UnavailableError(f"`strace` may not trace here, allow ptrace: {tried.stderr.strip()[-200:]}")
    return found


def _shape(name: str, text: str) -> list[str]:
    """What is the same in each run: the names in a call, without what is random in them."""
    if name == "getrandom":
        return []
    names = _NAMES.findall(re.split(r"\) += ", text)[0])
    content = any(part in name for part in ("read", "write", "random"))
    kept = [place or quoted for place, quoted in names if place or not content]
    return [_TEMP.sub("*", found) for found in kept]


class Tracer:
    """Runs commands under strace with the environment `environment`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.strace = strace()
        self.environment = environment

    def calls(self, argv: Sequence[str], *, every: bool = False) -> tuple[Ran, list[Call]]:
        """Run `argv`; its calls behind the marker that may change something, or `every` one."""
        traced = "all" if every else _names(CHANGING)
        ran, lines = self._run(["--seccomp-bpf", "-y", "-s", "64", "-e", f"trace={traced}"], argv)
        return ran, _parsed(lines)

    def log(self, argv: Sequence[str]) -> tuple[Ran, list[str]]:
        """Run `argv`; the lines behind the marker, all bytes and the places of all descriptors in them."""
        options = ["--seccomp-bpf", "-y", "-xx", "-s", str(1 << 24), "-e", f"trace={_names(CHANGING)}"]
        ran, lines = self._run(options, argv)
        marker = "".join(f"\\x{byte:02x}" for byte in MARKER.encode())
        return ran, lines[next(at for at, line in enumerate(lines) if marker in line) + 1 :]

    def struck(self, argv: Sequence[str], call: Call, how: str) -> Ran:
        """Run `argv` and strike at `call`: `how` is `signal=KILL` or `error=ENOSPC`."""
        if call.others:
            at = next(i for i, word in enumerate(argv) if word.isdecimal()) + 1
            argv = [*argv[:at], "--advance", f"{call.thread}:{call.name}:{call.others}", *argv[at:]]
        inject = f"inject={call.name}:{how}:when={call.number + call.others}"
        quick = [] if "signal" in how else ["--seccomp-bpf"]
        ran, lines = self._run([*quick, "-y", "-s", "64", "-e", f"trace={call.name}", "-e", inject], argv)
        if "signal" in how:
            hit = [line for line in lines if _LINE.match(line)][-1] if ran.code == -9 else ""
        else:
            hit = next((line for line in lines if "(INJECTED)" in line), "")
        return Ran(ran.code, ran.out, ran.err, hit)

    def _run(self, options: Sequence[str], argv: Sequence[str]) -> tuple[Ran, list[str]]:
        with tempfile.NamedTemporaryFile(prefix="antsmem-strace-") as log:
            command = [self.strace, "-f", "-qqq", "-o", log.name, *options, *argv]
            done = subprocess.run(
                command, env=self.environment, capture_output=True, timeout=120, cwd="/", check=False
            )
            lines = Path(log.name).read_text(errors="replace").splitlines()
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode()), lines


def _names(names: Sequence[str]) -> str:
    """For strace: `?` forgives a call that this machine does not have."""
    return ",".join(f"?{name}" for name in names)


def _parsed(lines: Sequence[str]) -> list[Call]:
    counts: Counter[tuple[int, str]] = Counter()
    found: list[tuple[int, str, int, str]] = []
    started = False
    for line in lines:
        match = _LINE.match(line)
        if not match:
            continue
        pid, name, text = int(match[1]), match[2], match[3]
        counts[pid, name] += 1
        if started:
            found.append((pid, name, counts[pid, name], text))
        started = started or MARKER in text
    threads = {pid: index for index, pid in enumerate(sorted({pid for pid, _ in counts}))}
    others = {
        (pid, name): max((counts[other, name] for other in threads if other != pid), default=0)
        for pid, name in counts
    }
    return [Call(threads[pid], name, number, others[pid, name], text) for pid, name, number, text in found]
