"""Where a user's files of antsmem are: the XDG Base Directory Specification, version 0.8."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from antsmem.core.errors import UsageError


def own_place(environment: Mapping[str, str], variable: str, default: str) -> Path:
    """The folder `antsmem` in what `variable` names, else in `default` of the home directory. Relative paths are
    invalid there, and ignored. `UsageError` where there is no home."""
    base = environment.get(variable, "")
    return Path(base if os.path.isabs(base) else os.path.join(_home(environment), default)) / "antsmem"


def _home(environment: Mapping[str, str]) -> str:
    if os.path.isabs(home := environment.get("HOME", "")):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise UsageError("this user has no home directory", hint="set HOME to an absolute path") from None
