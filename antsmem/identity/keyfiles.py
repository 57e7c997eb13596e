"""Names of the key files that lie beside the keystore and travel in `keys/` of every repository."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

DESTROYED_LIST: Final = "destroyed.jsonl"
"""The epochs whose keys were destroyed."""

_GUARDIANS: Final = re.compile(r"guardians-([1-9][0-9]{0,5})-(set|[0-9]{1,2}(?:-[0-9]{1,2})*)\.sealed")


def set_number(name: str) -> int:
    """Which set of guardians the file called `name` belongs to; 0 if it is no guardians' file."""
    match = _GUARDIANS.fullmatch(name)
    return int(match[1]) if match else 0


def newest_set(names: Iterable[str]) -> int:
    """The number of the set in force, given the names of all files; 0 if there is none."""
    return max(map(set_number, names), default=0)
