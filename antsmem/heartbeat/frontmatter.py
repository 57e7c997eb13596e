"""The front matter of a HEARTBEAT.md: `heartbeat: 1`, `tz`, `base`, `quiet`; without the first it is not ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from antsmem.core.errors import ConfigError
from antsmem.core.plainyaml import Node, read_yaml
from antsmem.core.record import replace
from antsmem.heartbeat.plan import Remark, Settings
from antsmem.heartbeat.schedule import DAY, MINUTE, parse_duration
from antsmem.heartbeat.tags import zone_name

_OURS: Final = re.compile(rb"^heartbeat[ \t]*:", re.MULTILINE)
_QUIET: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_KEYS: Final = ("heartbeat", "tz", "base", "quiet")


def read_settings(matter: bytes) -> tuple[Settings, tuple[Remark, ...]]:
    """The settings in the bytes between two `---`, and what is wrong with them: a key that is wrong does not hold,
    the others do."""
    settings, errors = Settings(), []
    if not _OURS.search(matter):
        return settings, ()
    try:
        entries = read_yaml(matter, "HEARTBEAT.md").value
    except ConfigError as error:
        return settings, (Remark(1, f"front matter: {error}"),)
    for key, node in (entries if isinstance(entries, dict) else {}).items():
        try:
            settings = _take(settings, key, node)
        except ValueError as error:
            errors.append(Remark(node.line + 1, f"front matter: {error}"))
    return settings, tuple(errors)


def _take(settings: Settings, key: str, node: Node) -> Settings:
    said = str(node.value) if isinstance(node.value, str | int) else ""
    readers: dict[str, Callable[[], Settings]] = {
        "heartbeat": lambda: _version(settings, said),
        "tz": lambda: replace(settings, tz=zone_name(said)),
        "base": lambda: replace(settings, base_seconds=_base(said)),
        "quiet": lambda: replace(settings, quiet=_quiet(said)),
    }
    if key not in readers:
        raise ValueError(f"unknown key `{ascii(key[:40])[1:-1]}`: there are {', '.join(_KEYS)}")
    return readers[key]()


def _version(settings: Settings, said: str) -> Settings:
    if said != "1":
        raise ValueError("`heartbeat` is 1: another version is not known")
    return settings


def _base(said: str) -> int:
    try:
        seconds = parse_duration(said)
    except ValueError:
        seconds = 0
    if not MINUTE <= seconds <= DAY:
        raise ValueError("`base` is a time from `1m` to `1d`")
    return seconds


def _quiet(said: str) -> tuple[int, int]:
    found = _QUIET.fullmatch(said)
    if not found:
        raise ValueError("`quiet` is such as `22:00-07:00`")
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if start == end:
        raise ValueError("`quiet` ends when it starts: leave it out, or give it a width")
    return start, end
