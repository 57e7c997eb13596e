"""The target `namespace`: own processes, mounts, users, network and host name, on the same kernel (Linux)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.errors import UsageError
from antsmem.drill.machine import Machine, here, surroundings

HOST_NAME: Final = "antsmem-drill"
_KINDS: Final = ("--user", "--map-root-user", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc")
_INSIDE: Final = ("--user", "--mount", "--uts", "--ipc", "--pid", "--preserve-credentials")
_HOLDER: Final = "antsmem.drill.holder"
_PATIENCE_SECONDS: Final = 20.0


def require_namespaces() -> None:
    """`UsageError` where this user may not make namespaces, or the programs for it are missing."""
    try:
        done = subprocess.run(
            ["unshare", *_KINDS, "--net", "nsenter", "--version"], capture_output=True, timeout=20, check=False
        )
        allowed = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        allowed = False
    if not allowed:
        raise UsageError(
            "namespaces are not allowed here: not tested", hint="antsmem migrate-test --target process"
        )


def new_namespace(
    root: Path,
    keep: Path,
    program: tuple[str, ...],
    hidden: Iterable[Path],
    relay: tuple[int, Callable[[socket.socket], None]] | None,
) -> Machine:
    """A machine in namespaces of its own, which does not see the directories `hidden`.

    `relay`: the port of a relay on loopback, and what makes it listen at one more socket; without it the network
    is that of this machine.
    """
    ours, theirs = socket.socketpair()
    places = [str(each) for each in hidden if _can_hide(each, root, keep)]
    port = relay[0] if relay else 0
    words = [*_KINDS, *_net(relay), "--kill-child", *program[:1], "-P", "-m", _HOLDER]
    with theirs:
        process = subprocess.Popen(
            ["unshare", *words, str(theirs.fileno()), str(port), HOST_NAME, *places],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        ours.settimeout(_PATIENCE_SECONDS)
        said, descriptors, _, _ = socket.recv_fds(ours, 16, 1)
        if not said:
            raise OSError
        if relay and descriptors:
            relay[1](socket.socket(fileno=descriptors[0]))
        inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    except (OSError, IndexError):
        _end(ours, process)
        raise UsageError(
            "the namespaces could not be set up: not tested", hint="antsmem migrate-test --target process"
        ) from None
    machine = here("new", root, program, surroundings(str(root), "successor", "Pacific/Chatham", "C"), keep)
    enter = ["nsenter", "--target", inner, *_INSIDE, *_net(relay)]

    def wrap(line: Sequence[str]) -> list[str]:
        return [*enter, "--", *line]

    machine.wrap = wrap
    machine.end = lambda: _end(ours, process)
    return machine


def _net(relay: object) -> list[str]:
    return ["--net"] if relay else []


def _can_hide(place: Path, *needed: Path) -> bool:
    """Whether nothing that the new machine needs lies there."""
    if not place.is_dir():
        return False
    used = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__), *needed]
    return not any(each.resolve().is_relative_to(place.resolve()) for each in used)


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
