"""Readers without a guard, for the controls of `test_fuzz.py`: `runner.py` with one of them for a target."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable

import runner
import targets
from reading import Target
from specimens import Specimens

from antsmem.core.errors import AntsmemError, IntegrityError


class RudeError(IntegrityError):
    """Shows what it was given as it is."""

    def __init__(self, message: str) -> None:
        AntsmemError.__init__(self, "x")
        self.args = (message,)


def _hoard(data: bytes) -> None:
    bytearray(1 << 30)


def _wait(data: bytes) -> None:
    while True:
        pass


def _speak(data: bytes) -> None:
    raise RudeError("\x1b[2J")


READERS: dict[str, Callable[[bytes], object]] = {
    "raise": int,
    "write": lambda _: os.mkdir("x"),
    "start": lambda _: subprocess.run(["true"], check=True),
    "wait": _wait,
    "hoard": _hoard,
    "speak": _speak,
}


def made(_: Specimens) -> Target:
    return Target([b"1"], READERS[sys.argv[1]], good=False)


if __name__ == "__main__":
    runner.CPU_SECONDS = 0.2
    targets.TARGETS["unguarded"] = made
    try:
        runner.fuzz("unguarded", 1, 1.0, 0)
    except BaseException:  # noqa: BLE001 - shown, as the runner does
        traceback.print_exc()
        sys.exit(1)
