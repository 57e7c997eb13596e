"""Start `antsmem once` or a wake for a fault test: all is imported before the marker call, see `launcher.py`.

    python once_launcher.py NOW_NS [--advance THREAD:CALL:COUNT] WORDS…

The calls that `--advance` makes are the main thread's, whatever its number.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from launcher import MARKER, prepare

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
    prepare(words, MODULES)
    from antsmem.cli.main import main

    with suppress(OSError):
        os.rmdir(MARKER)
    main(words)


if __name__ == "__main__":
    start(sys.argv[1:])
