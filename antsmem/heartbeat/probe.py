"""Ask an installed agent program what it is: is it there, which version, does it know the options that we use."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from antsmem.core.errors import legible
from antsmem.core.record import record
from antsmem.heartbeat.agents import PROGRAMS, AgentCommand

SECONDS: Final = 20.0
_SAID_BYTES: Final = 256 << 10
_OPTION: Final = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")


@record
class Probe:
    """What is known of a program: where it is (empty: not found), the first line that it says of its version
    (empty: none), the options of the command line that its help does not name, and whether it gave any help."""

    path: str
    version: str = ""
    missing: tuple[str, ...] = ()
    helped: bool = False


def probe_program(command: AgentCommand, folder: Path) -> Probe:
    """Run the program of `command` with `--version`, then with `--help`, without a terminal, at most 20 s each.

    Another program than the preset's own is only looked for: who knows what it does when it is asked.
    """
    path = find_program(command.argv[0], command.environment, folder)
    program = PROGRAMS[command.preset]
    if not path or not is_known(command):
        return Probe(path)
    version = _said([path, "--version"], command.environment)
    help_text = _said([path, *program.probe[1:]], command.environment)
    wanted = [word.partition("=")[0] for word in command.argv[1:] if _OPTION.match(word)]
    known = set(_OPTION.findall(help_text or ""))
    missing = tuple(dict.fromkeys(word for word in wanted if word not in known)) if help_text else ()
    return Probe(path, _first(version) or "", missing, bool(help_text))


def is_known(command: AgentCommand) -> bool:
    """Whether the command runs the preset's own program."""
    return PROGRAMS[command.preset].probe[:1] == (os.path.basename(command.argv[0]),)


def find_program(name: str, environment: Mapping[str, str], folder: Path) -> str:
    """Where the program `name` is, on the PATH of `environment` or below `folder`, in which it is run; empty where
    it is not, or may not be run."""
    if "/" in name:
        path = os.path.join(folder, name)
        return path if os.path.isfile(path) and os.access(path, os.X_OK) else ""
    return shutil.which(name, path=environment.get("PATH", "")) or ""


def starts(path: str, environment: Mapping[str, str]) -> bool:
    """Whether the program at `path` can be started at all in `environment`: it may need others."""
    return _said([path, "--version"], environment) is not None


def _said(argv: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """What a command prints that ends well within its time, else None."""
    import subprocess

    try:
        done = subprocess.run(
            argv, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
            start_new_session=True, check=False,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if done.returncode:
        return None
    return (done.stdout[:_SAID_BYTES] or done.stderr[:_SAID_BYTES]).decode("utf-8", "replace")


def _first(text: str | None) -> str | None:
    return next((legible(line.strip())[:100] for line in (text or "").splitlines() if line.strip()), None)
