"""What processes did, as strace saw it: every byte that they wrote or sent, every name, argument and environment.

Not seen are bytes that go through memory alone: pages written to a mapped file, and what `sendfile` copies. The
first are found if the file is left, the second were written once before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "execve", "execveat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "send", "sendto", "sendmsg",
    "sendmmsg", "memfd_create", "openat", "open", "creat", "unlink", "unlinkat", "rename", "renameat", "renameat2",
    "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "rmdir", "mknodat", "setxattr", "fsetxattr",
    "lsetxattr", "connect", "prctl", "add_key",
)  # fmt: skip
"""What lets bytes out of a process, or names something."""
OPTIONS = (
    *("-ff", "-q", "-y", "-xx", "-v", "-s", str(1 << 24), "--seccomp-bpf"),
    *("-e", "trace=" + ",".join(f"?{name}" for name in CALLS)),
)
"""For strace: one file a process, all bytes whole, as `\\xNN`."""

_CALL = re.compile(r"(\w+)\((?:(\d+)<((?:\\x[0-9a-f]{2}|[^>\\])*)(?:>|\\x3e))?(.*)\Z", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_END = re.compile(r"^\+\+\+ (exited|killed)", re.MULTILINE)
_DONE = " = 0"
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Bytes that left a process, and where they went: `stdout or stderr`, `argv`, `env`, `name`, `net`, `memfd`,
    `pipe`, or the path of a file."""

    place: str
    data: bytes


def processes(trace: Path, known: set[Path]) -> list[Path]:
    """The traces that begin with `trace` and are not in `known`, when all of them have ended."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        found = [path for path in trace.parent.glob(f"{trace.name}.*") if path not in known]
        if found and all(_END.search(path.read_text()[-200:]) for path in found):
            return sorted(found)
        assert time.monotonic() < give_up, (
            f"strace does not tell how {found} ended: {[path.read_text()[-300:] for path in found]}"
        )
        time.sleep(0.002)


def seen_in(path: Path) -> Iterator[Seen]:
    """All that one process let out. Writes to one place are also given as the one text that they make together.
    A program that it became is looked at as it was started, and is not ours from then on."""
    joined: dict[str, list[bytes]] = {}
    for line in path.read_text().splitlines():
        match = _CALL.match(line)
        if not match:
            continue
        name, number, target, rest = match.groups()
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(rest)]
        if name.startswith("exec"):
            arguments = len(_TEXT.findall(rest.split("], [")[0]))
            yield Seen("argv", b" ".join(texts[:arguments]))
            yield Seen("env", b"\n".join(texts[arguments:]))
            if rest.endswith(_DONE):
                break
        elif "write" in name or name.startswith("send"):
            place = "net" if name.startswith("send") else place_of(number or "", target or "")
            joined.setdefault(place, []).append(b"".join(texts))
        else:
            yield Seen("name", b" ".join(texts))
    for place, parts in joined.items():
        yield Seen(place, b"".join(parts))
        if len(parts) > 1:
            yield from (Seen(place, part) for part in parts)


def place_of(number: str, target: str) -> str:
    """The name of where a descriptor leads."""
    path = bytes.fromhex(target.replace("\\x", "")).decode(errors="replace") if "\\x" in target else target
    if number in {"1", "2"}:
        return "stdout or stderr"
    for start, place in (
        ("/memfd:", "memfd"),
        ("pipe:", "pipe"),
        ("socket:", "net"),
        ("TCP", "net"),
        ("UDP", "net"),
    ):
        if path.startswith(start):
            return place
    return path
