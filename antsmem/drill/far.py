"""Targets on another system: a container by `docker` or `podman`, a computer by `ssh`. antsmem is installed there.

What outlives the old machine is carried there as an archive, and back when the agent has started.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from antsmem.core.errors import BackendError, DriverMissingError
from antsmem.drill.machine import Machine, kill_group, surroundings

ENGINES: Final = ("docker", "podman")
_ROOT: Final = "/tmp/antsmem-drill-"  # noqa: S108 - mktemp makes it there, private
_LIFE_SECONDS: Final = 3600
_BATCH: Final = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
_PATIENCE_SECONDS: Final = 300.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_engine() -> str:
    """The container engine that answers. `DriverMissingError`: none is installed; `BackendError`: none runs."""
    found = [name for name in ENGINES if shutil.which(name)]
    for name in found:
        if _quietly([name, "version"]) == 0:
            return name
    if found:
        raise BackendError(f"`{found[0]}` does not answer: not tested", hint=f"{found[0]} version")
    raise DriverMissingError("there is no container engine here", hint="install docker or podman")


def new_container(engine: str, image: str, keep: Path) -> Machine:
    """A machine in a new container of `image`, which has antsmem on its path. It shares the network of this
    machine, where the relay is; it goes when the test ends, or after an hour."""
    name = f"antsmem-drill-{os.urandom(6).hex()}"
    line = [engine, "run", "--detach", "--rm", "--network", "host", "--hostname", "antsmem-drill", "--name", name]
    line += ["--entrypoint", "sleep", image, str(_LIFE_SECONDS)]
    if _quietly(line) != 0:
        raise BackendError(f"no container of `{image}` could be started", hint=f"{engine} pull {image}")

    def wrap(words: Sequence[str]) -> list[str]:
        return [engine, "exec", "--interactive", name, *words]

    return _settled(f"container of {image}", wrap, keep, lambda: _quietly([engine, "rm", "--force", name]))


def require_host(ssh: Sequence[str], host: str) -> None:
    """`BackendError` if `host` does not answer to `ssh` (the program and its options)."""
    if _quietly([*ssh, *_BATCH, "--", host, "true"]) != 0:
        raise BackendError(f"`{host}` does not answer to ssh: not tested", hint=f"ssh {host} true")


def new_over_ssh(ssh: Sequence[str], host: str, keep: Path, port: int) -> Machine:
    """A machine that is a directory on `host`, reached by `ssh`. `port`: that of the relay on this machine's
    loopback, which is lent to the host's; 0: none."""
    forward = ["-R", f"127.0.0.1:{port}:127.0.0.1:{port}"] if port else []  # where it fails, the proofs do
    tunnel = subprocess.Popen(
        [*ssh, *_BATCH, *forward, "--", host, "echo ready; cat >/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if tunnel.stdout is None or tunnel.stdout.readline() != b"ready\n":
        kill_group(tunnel)
        raise BackendError(f"`{host}` does not stay connected", hint=f"ssh {host} true")

    def wrap(words: Sequence[str]) -> list[str]:
        return [*ssh, *_BATCH, "--", host, shlex.join(words)]

    return _settled(f"host {host}", wrap, keep, lambda: kill_group(tunnel))


def _settled(
    name: str, wrap: Callable[[Sequence[str]], list[str]], keep: Path, end: Callable[[], object]
) -> Machine:
    """A directory of ours on the machine, with what outlived the old one in it."""
    script = f"umask 077; mktemp -d {_ROOT}XXXXXX; command -v antsmem"
    machine = Machine(name, "/", (), {"PATH": _PATH}, "", wrap, near=False)
    try:
        made = subprocess.run(wrap(["sh", "-c", script]), capture_output=True, timeout=60, check=False, text=True)
        root, _, program = made.stdout.strip().partition("\n")
        if made.returncode or not root.startswith(_ROOT) or not program:
            raise BackendError(f"the {name} has no antsmem on its path: not tested", hint="install it there")
        machine.root, machine.keep, machine.program = root, f"{root}/keep", (program,)
        told = surroundings(root, "successor", "Pacific/Chatham", "C")
        machine.environment = {**told, "PATH": _PATH}
        machine.shell("umask 077; mkdir home tmp; ln -s ../keep/world home/world")
        machine.put(keep, "keep")
    except BaseException:
        end()
        raise

    def away() -> None:
        machine.run(["rm", "-rf", root])
        end()

    machine.end = away
    machine.history.clear()
    return machine


def _quietly(line: Sequence[str]) -> int:
    try:
        return subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_SECONDS,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 1
