"""What the operator allows the heartbeat: the section `heartbeat` of `config.yaml`.

heartbeat:
  trust: pin                      # a changed HEARTBEAT.md waits for `antsmem heartbeat approve`; else: open
  timeout: 15m
  allow:                          # commands of HEARTBEAT.md that may run; `*` at the end: with any arguments
    - "./bin/has-post *"
  budget:
    run: "10m, 0.50usd"           # one run; a task's tag may ask for less
    task: "1h"                    # a task, in a day
    day: "3h, 60turns, 5usd"      # all tasks, in a day
  witness: https://relay.example  # who knows which host works; also git+URL, the name or URL of a repository
  ping_url: env:PING_URL          # whom to tell that wakes happen
  ping_every: 10m                 # how often a wake tells that had nothing to do
"""

from __future__ import annotations

import re
from typing import Final

from antsmem.core.duration import UNITS
from antsmem.core.plainyaml import Node, Reader
from antsmem.core.record import field, record

TRUST: Final = ("open", "pin")
SCOPES: Final = ("run", "task", "day")
KEYS: Final = ("trust", "timeout", "allow", "budget", "witness", "ping_url", "ping_every")
TIMEOUT_SECONDS: Final = 600
PING_SECONDS: Final = 600
_LONGEST_SECONDS: Final = 86400
_TIME: Final = re.compile(r"(\d{1,6})([smhd])")
_COUNT: Final = re.compile(r"(\d{1,9})(turns|tokens)")
_MONEY: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?usd")


@record
class Budget:
    """At most so much, None: as much as it takes. `cost_micros` is millionths of a US dollar."""

    seconds: int | None = None
    turns: int | None = None
    tokens: int | None = None
    cost_micros: int | None = None


@record
class WakeConfig:
    """How far the heartbeat may go. `origin` is where that is said, `default` if nowhere."""

    trust: str = "open"
    timeout_seconds: int = TIMEOUT_SECONDS
    allow: tuple[tuple[str, ...], ...] = ()
    run: Budget = field(default_factory=Budget)
    task: Budget = field(default_factory=Budget)
    day: Budget = field(default_factory=Budget)
    witness: str = ""
    ping_url: str = field(default="", repr=False)
    ping_seconds: int = PING_SECONDS
    origin: str = "default"

    def allows(self, words: tuple[str, ...]) -> bool:
        """Whether a command of HEARTBEAT.md may run."""
        return any(
            words[: len(known) - 1] == known[:-1] if known[-1] == "*" else words == known for known in self.allow
        )


def parse_budget(text: str) -> Budget:
    """`10m, 40turns, 20000tokens, 0.50usd`: any of these, each once. `ValueError` for all else."""
    found: dict[str, int] = {}
    for part in (part.strip().lower() for part in text.split(",")):
        if match := _TIME.fullmatch(part):
            name, value = "seconds", int(match[1]) * UNITS[match[2]]
        elif match := _COUNT.fullmatch(part):
            name, value = match[2], int(match[1])
        elif match := _MONEY.fullmatch(part):
            name, value = "cost_micros", int(match[1]) * 1_000_000 + int((match[2] or "").ljust(6, "0"))
        else:
            raise ValueError(part)
        if name in found:
            raise ValueError(part)
        found[name] = value
    return Budget(**found)


def read_wake_config(reader: Reader, node: Node | None) -> WakeConfig:
    """The section `node`; what is not said there is as by default. `ConfigError` with file and line."""
    if node is None:
        return WakeConfig()
    entries = reader.mapping(node, KEYS)
    trust = reader.line(entries["trust"], "trust") if "trust" in entries else "open"
    if trust not in TRUST:
        reader.fail(entries["trust"], f"`trust` is one of {', '.join(TRUST)}")
    budgets = reader.mapping(entries.get("budget"), SCOPES)
    run, task, day = (_budget(reader, budgets[each], each) if each in budgets else Budget() for each in SCOPES)
    return WakeConfig(
        trust,
        _time(reader, entries["timeout"], "timeout") if "timeout" in entries else TIMEOUT_SECONDS,
        tuple(_command(reader, item) for item in reader.items(entries["allow"])) if "allow" in entries else (),
        run,
        task,
        day,
        witness=reader.line(entries["witness"], "witness") if "witness" in entries else "",
        ping_url=reader.line(entries["ping_url"], "ping_url") if "ping_url" in entries else "",
        ping_seconds=_time(reader, entries["ping_every"], "ping_every")
        if "ping_every" in entries
        else PING_SECONDS,
        origin=f"{reader.shown}:{node.line}",
    )


def _time(reader: Reader, node: Node, key: str) -> int:
    text = reader.text(node, key, _TIME, "a time such as `90s`, `15m` or `2h`")
    seconds = int(text[:-1]) * UNITS[text[-1]]
    if not 0 < seconds <= _LONGEST_SECONDS:
        reader.fail(node, f"`{key}` is from 1s to 1d")
    return seconds


def _command(reader: Reader, node: Node) -> tuple[str, ...]:
    import shlex

    text = reader.line(node, "allow")
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not words:
        reader.fail(node, "`allow` is a list of commands, as a shell reads words")
    return words


def _budget(reader: Reader, node: Node, scope: str) -> Budget:
    text = reader.line(node, scope)
    try:
        return parse_budget(text)
    except ValueError:
        reader.fail(node, f"`{scope}` is such as `10m, 40turns, 20000tokens, 0.50usd`")
