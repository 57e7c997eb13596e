"""Start `antsmem once` or a wake for a fault test: all is imported before the marker call, see `launcher.py`.

    python once_launcher.py NOW_NS [--advance THREAD:CALL:COUNT] WORDS…

The search for processes that were left behind reads all of /proc, so that no two runs make the same calls: here it
finds nothing. What it is good for, tests/heartbeat shows.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress

from launcher import IDLE, MARKER, idle

from antsmem.core import clock

MODULES = (
    "antsmem.cli.commands.once", "antsmem.cli.main", "antsmem.cli.turns", "antsmem.cli.wakes",
    "antsmem.cli.witnesses", "antsmem.heartbeat.context", "antsmem.heartbeat.daily", "antsmem.heartbeat.settle",
    "antsmem.heartbeat.wake", "hashlib", "json",
    "selectors", "shlex", "subprocess", "typer.main", "typer.core", "unicodedata", "_posixsubprocess",
)  # fmt: skip


def start(words: list[str]) -> None:
    now_ns = int(words.pop(0))
    clock.now_ns = lambda: now_ns
    for name in MODULES:
        importlib.import_module(name)
    for place in ("antsmem.heartbeat.action", "antsmem.heartbeat.once"):
        importlib.import_module(place).survivors = lambda *_: ()  # type: ignore[attr-defined]
    if words[0] == "--advance":
        _, call, count = words[1].split(":")
        assert call in IDLE
        idle(call, int(count))
        del words[:2]
    from antsmem.cli.main import main

    with suppress(OSError):
        os.rmdir(MARKER)
    main(words)


if __name__ == "__main__":
    start(sys.argv[1:])
