"""`agent.yaml`: what the agent says about itself, which is not trusted.

It travels with the agent: names, time zone, tiers and path classes; no command, no address, no secret. A hostile
file can make backups smaller or rarer within the limits below, and whatever it leaves out is listed; it can do
nothing else.
Reference of every key: `docs/reference/path-classes.md` for `classes`, the comments of `render` for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import ConfigError, NotFoundError
from antsmem.core.plainyaml import MAX_BYTES, Node, Reader, read_yaml
from antsmem.core.record import field, record
from antsmem.workspace.classes import CLASSES, MOST_GLOBS, glob_fault
from antsmem.workspace.layout import Layout, settings_lost
from antsmem.workspace.rules import PathClass

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_DID: Final = re.compile(r"did:[a-z0-9]{1,32}(?::[A-Za-z0-9._%-]{1,255}){1,16}")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
_EVERY: Final = re.compile(r"[1-9][0-9]{0,5}[mhdw]")
_UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_SECONDS: Final = 366 * 86400
_KEPT: Final = ("hourly", "daily", "weekly", "monthly", "newest")
_MOST_KEPT: Final = 10_000


@record
class Tier:
    """How often a tier is written and how much of it is kept.

    `interval_seconds` 0 means no schedule (escrow: after each key change). The others count snapshots: the last
    `newest`, and one for each of the last so many hours, days, weeks and months.
    """

    interval_seconds: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    newest: int = 0


HOT: Final = Tier(interval_seconds=3600, hourly=48, daily=14)
COLD: Final = Tier(interval_seconds=7 * 86400, weekly=8, monthly=12)
ESCROW: Final = Tier(newest=3)


@record
class AgentSettings:
    """What `agent.yaml` says, defaults filled in. `classes` are globs by class, for `Classifier`."""

    name: str
    did: str | None = None
    time_zone: str = "UTC"
    hot: Tier = HOT
    cold: Tier = COLD
    escrow: Tier = ESCROW
    classes: Mapping[PathClass, tuple[str, ...]] = field(default_factory=dict)


def read_settings(layout: Layout) -> AgentSettings:
    """The settings of a workspace. No `agent.yaml` is a `NotFoundError`; a bad one as in `parse_settings`."""
    try:
        data = read_file(layout.settings, MAX_BYTES)
    except NotFoundError:
        raise settings_lost(layout.root) from None
    return parse_settings(data, str(layout.settings))


def parse_settings(data: bytes, shown: str) -> AgentSettings:
    """The settings in `data`. Raises `ConfigError` with file and line and, for an unknown key, the one meant."""
    return _Reader(shown).settings(read_yaml(data, shown))


def write_settings(layout: Layout, settings: AgentSettings) -> None:
    """Write a fresh `agent.yaml`. Raises `WouldOverwriteError` if there is one, `ConfigError` for bad settings."""
    text = render(settings).encode()
    if parse_settings(text, str(layout.settings)) != settings:
        raise ConfigError("the settings say what `agent.yaml` cannot hold: not written")
    make_private_dir(layout.home)
    write_file(layout.settings, [text], new=True)


def render(settings: AgentSettings) -> str:
    """`settings` as the text of `agent.yaml`, in the form that is quick to read."""
    lines = [
        "# This file travels with the agent and is not trusted: no commands, no addresses, no secrets.",
        f'name: "{settings.name}"',
    ]
    if settings.did is not None:
        lines.append(f'did: "{settings.did}"')
    lines += ["# The day of the daily log ends at midnight here.", f'time_zone: "{settings.time_zone}"']
    lines += ["# How often each kind of backup is made, and how many are kept.", "tiers:"]
    for tier, standard in (("hot", settings.hot), ("cold", settings.cold), ("escrow", settings.escrow)):
        lines.append(f"  {tier}:")
        if standard.interval_seconds:
            lines.append(f"    every: {_every(standard.interval_seconds)}")
        lines.append("    keep:")
        for unit in _KEPT:
            if count := getattr(standard, unit):
                lines.append(f"      {unit}: {count}")
    lines += [
        "# Paths with another class than antsmem's own rules give them (`antsmem -v backup` shows those), such as",
        "#   derived:",
        '#     - "renders/"',
        "# A secret always stays one.",
        "classes:",
    ]
    for path_class in CLASSES:
        globs = settings.classes.get(path_class, ())
        lines.append(f"  {path_class}:" if globs else f"  {path_class}: []")
        lines += [f"    - {_quoted(glob)}" for glob in globs]
    return "\n".join(lines) + "\n"


def name_from(text: str) -> str:
    """A valid agent name made from `text` (a directory name, say); `agent` if nothing of it is left."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64].strip("._-")
    return name or "agent"


def _every(seconds: int) -> str:
    unit = next(unit for unit, size in reversed(_UNITS.items()) if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Reader(Reader):
    """Nodes into settings."""

    def settings(self, top: Node) -> AgentSettings:
        entries = self.mapping(top, ("name", "did", "time_zone", "tiers", "classes"))
        if "name" not in entries:
            self.fail(top, "has no `name`")
        tiers = self.mapping(entries.get("tiers"), ("hot", "cold", "escrow"))
        did = entries.get("did")
        zone, zones = entries.get("time_zone"), "an IANA name such as `Europe/Lisbon`"
        return AgentSettings(
            name=self.text(entries["name"], "name", _NAME, "letters, digits, `.`, `_` and `-`, at most 64"),
            did=self.text(did, "did", _DID, "a DID such as `did:webvh:…`") if did else None,
            time_zone=self.text(zone, "time_zone", _ZONE, zones) if zone else "UTC",
            hot=self.tier(tiers.get("hot"), HOT),
            cold=self.tier(tiers.get("cold"), COLD),
            escrow=self.tier(tiers.get("escrow"), ESCROW),
            classes=self.classes(entries.get("classes")),
        )

    def tier(self, node: Node | None, standard: Tier) -> Tier:
        entries = self.mapping(node, ("every", "keep") if standard.interval_seconds else ("keep",))
        interval = standard.interval_seconds
        if every := entries.get("every"):
            text = self.text(every, "every", _EVERY, "a time such as `30m`, `1h`, `7d` or `2w`")
            interval = int(text[:-1]) * _UNITS[text[-1]]
            if interval > _LONGEST_SECONDS:
                self.fail(every, "`every` is longer than a year")
        kept = self.mapping(entries.get("keep"), _KEPT)
        if not kept:
            return Tier(interval, *(getattr(standard, unit) for unit in _KEPT))
        counts = [self.count(kept[unit], unit) if unit in kept else 0 for unit in _KEPT]
        if not any(counts):
            self.fail(entries["keep"], "`keep` keeps nothing")
        return Tier(interval, *counts)

    def count(self, node: Node, key: str) -> int:
        if not isinstance(node.value, int) or not 0 <= node.value <= _MOST_KEPT:
            self.fail(node, f"`{key}` is not a number from 0 to {_MOST_KEPT}")
        return node.value

    def classes(self, node: Node | None) -> dict[PathClass, tuple[str, ...]]:
        entries = self.mapping(node, CLASSES)
        found: dict[PathClass, tuple[str, ...]] = {}
        for path_class in CLASSES:
            if (entry := entries.get(path_class)) is None or entry.value is None:
                continue
            items = self.items(entry)
            if len(items) > MOST_GLOBS:
                self.fail(entry, f"`{path_class}` holds more than {MOST_GLOBS} globs")
            if items:
                found[path_class] = tuple(self.glob(item) for item in items)
        return found

    def glob(self, node: Node) -> str:
        text = self.line(node, "glob")
        if (fault := glob_fault(text)) is not None:
            self.fail(node, f"glob `{text[:64]}` {fault}")
        return text
