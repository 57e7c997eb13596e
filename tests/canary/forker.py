"""Run commands, each in a fork of this process, as told by one line of JSON each: started once, under strace.

    {"root": …, "words": […], "stdin": text, "more": {name: value}, "strike": [how, at], "leak": name, "tty": path}

The answer is one line too: {"code", "out", "err", "pid", "calls"}; `calls` is how many of our functions ran.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import resource
import signal
import sys
import tempfile
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaky import LEAKS
from made_homes import Home
from staging import later

import antsmem

OURS = antsmem.__path__[0]
FILE_BYTES = 4096
COUNT = mmap.mmap(-1, 8)
"""Shared with the forks."""


class Bug(Exception):  # noqa: N818 - it is a bug
    """A bug of ours, as nobody foresaw it."""


def strike(how: str, at: int) -> None:
    """Count our functions as they are called; at the `at`-th, let `how` happen."""
    if how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    count = 0
    value = ""

    def profile(frame: Any, event: str, given: Any) -> None:
        nonlocal count, value
        if event == "return" and frame.f_code.co_name == "keystore" and hasattr(given, "secrets"):
            value = given.secrets[0].value.decode() if given.secrets else ""
        if event != "call" or not frame.f_code.co_filename.startswith(OURS):
            return
        count += 1
        COUNT[:] = count.to_bytes(8, "big")
        if how == "crash with a value" and count >= at and value:
            told, value = value, ""
            raise Bug(f"in {frame.f_code.co_name}: {told} is odd")
        if count != at:
            return
        if how == "crash":
            raise Bug(f"in {frame.f_code.co_name}")
        if how in {"interrupt", "kill"}:
            signal.raise_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)

    sys.setprofile(profile)


def take_terminal(path: str) -> None:
    """Make the terminal at `path` ours, with standard input from it."""
    os.setsid()
    fd = os.open(path, os.O_RDWR)
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    os.dup2(fd, 0)


def before(order: dict[str, Any]) -> Callable[[], None]:
    """What happens in the fork before the command."""

    def prepare() -> None:
        tempfile.tempdir = None  # found again, in the command's own environment
        if order.get("tty"):
            take_terminal(order["tty"])
        if order.get("leak"):
            LEAKS[order["leak"]].install()
        later(order.get("days", 0))
        strike(*order.get("strike", ("", 0)))
        if order.get("until_it_speaks"):
            signal.signal(signal.SIGALRM, lambda *_: os.fstat(1).st_size and signal.raise_signal(signal.SIGINT))
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)

    return prepare


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        COUNT[:] = bytes(8)
        home = Home(Path(order["root"]))
        stdin = order.get("stdin", "").encode()
        ran = home.run(*order["words"], stdin=stdin, more=order.get("more", {}), before=before(order))
        calls = int.from_bytes(COUNT[:], "big")
        print(json.dumps({"code": ran.code, "out": ran.out, "err": ran.err, "calls": calls}), flush=True)


if __name__ == "__main__":
    serve()
