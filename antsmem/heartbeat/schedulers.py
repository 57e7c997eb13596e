"""Write what wakes the agent to where the system finds it, and tell the system: crontab, systemctl, launchctl.

What these programs say is theirs, and not shown; whether they did it is looked up, not believed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import DriverMissingError, NotFoundError, RefusedError
from antsmem.heartbeat.installing import with_cron_line

_SECONDS: Final = 20
_LIMIT: Final = 1 << 20
_NO_TABLE: Final = re.compile(rb"no crontab|no such file", re.IGNORECASE)


def put_cron_line(name: str, line: str, environment: Mapping[str, str]) -> bool:
    """Put `line` into the user's crontab as that of the job `name` (empty: take it out); whether that changed
    anything.

    `DriverMissingError` without the program `crontab`; `RefusedError` where it does not show the table, which is
    then left alone, or does not keep the new one.
    """
    before = _table(environment)
    after = with_cron_line(before, name, line)
    if after == before:
        return False
    code, _, _ = _run(["crontab", "-"], environment, after.encode("utf-8", "surrogateescape"))
    if code or line not in _table(environment):
        raise RefusedError("`crontab` did not take the line: the table is as it was", hint="try: crontab -e")
    return True


def put_files(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Write `files` into `folder`; whether any of them was another one before."""
    make_private_dir(folder)
    changed = False
    for name, data in files.items():
        with suppress(NotFoundError):
            if read_file(folder / name, _LIMIT) == data:
                continue
        write_file(folder / name, [data], mode=0o644)
        changed = True
    return changed


def remove_files(folder: Path, names: Sequence[str]) -> bool:
    """Remove them; whether any was there."""
    removed = False
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(folder / name)
            removed = True
    return removed


def tell(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> bool:
    """Run `commands`; whether all of them ended well. A program that is not there did not."""
    try:
        return all(_run(command, environment, b"")[0] == 0 for command in commands)
    except DriverMissingError:
        return False


def _table(environment: Mapping[str, str]) -> str:
    code, table, said = _run(["crontab", "-l"], environment, b"")
    if code and not (_NO_TABLE.search(said) and not table):
        raise RefusedError("`crontab -l` does not show the table: nothing is changed", hint="try: crontab -l")
    return table.decode("utf-8", "surrogateescape")


def _run(command: Sequence[str], environment: Mapping[str, str], given: bytes) -> tuple[int, bytes, bytes]:
    try:
        done = subprocess.run(
            command,
            input=given,
            env={**environment, "LC_ALL": "C"},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(f"`{command[0]}` does not answer", hint=f"try it by hand: {command[0]}") from None
    except OSError:
        raise DriverMissingError(
            f"the program `{command[0]}` is not installed", hint="install it, or choose another scheduler"
        ) from None
    return done.returncode, done.stdout, done.stderr
