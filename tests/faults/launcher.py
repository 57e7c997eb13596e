"""Start `antsmem` for a fault test: at a fixed instant, and for a control with one guard removed.

    python launcher.py NOW_NS [--break NAME] [--advance THREAD:CALL:COUNT] WORDS…

Everything is imported before a marker call, so that what stands behind it in a trace is the command's own work.
Each kind of thread works alone, so that the same calls come in the same thread in each run.
A fault injector counts the calls of each thread from one: `--advance` lets the THREAD-th thread make COUNT calls
that fail and do nothing before it begins (0 = the main one), so that no other thread reaches its next number.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from breaks import BREAKS

import antsmem
from antsmem.core import clock

MARKER = "/antsmem/starts/here"
NO_FILE = 1_000_000

CREWS = {"check": "_THREADS", "epochs": "_THREADS", "packer": "_THREADS", "unpack": "_FETCHERS"}
"""Where a module of the engine says how many threads share a job."""

IDLE: dict[str, Callable[[], object]] = {
    "close": lambda: os.close(NO_FILE),
    "fchmod": lambda: os.fchmod(NO_FILE, 0),
    "fchown": lambda: os.fchown(NO_FILE, 0, 0),
    "fsync": lambda: os.fsync(NO_FILE),
    "ftruncate": lambda: os.ftruncate(NO_FILE, 0),
    "lseek": lambda: os.lseek(NO_FILE, 0, 0),
    "link": lambda: os.link("", ""),
    "mkdir": lambda: os.mkdir(""),
    "newfstatat": lambda: os.stat(""),
    "openat": lambda: os.open("", os.O_RDONLY),
    "pread64": lambda: os.pread(NO_FILE, 1, 0),
    "pwrite64": lambda: os.pwrite(NO_FILE, b"", 0),
    "read": lambda: os.read(NO_FILE, 1),
    "rename": lambda: os.rename("", ""),
    "unlink": lambda: os.unlink(""),
    "utimensat": lambda: os.utime(NO_FILE),
    "write": lambda: os.write(NO_FILE, b""),
    "writev": lambda: os.writev(NO_FILE, [b""]),
}
"""How to make a call that changes nothing."""


def import_all() -> None:
    """Every module of ours, and what they import when they are first used."""
    for room in ("core", "identity", "workspace", "backup", "heartbeat", "cli"):
        for module in pkgutil.walk_packages([f"{antsmem.__path__[0]}/{room}"], f"antsmem.{room}."):
            importlib.import_module(module.name)
    for name in ("antsmem.drivers.file", "ahocorasick_rs", "zstandard", "typer.main", "json", "urllib.parse"):
        importlib.import_module(name)


def idle(call: str, count: int) -> None:
    """Make `count` calls for nothing."""
    for _ in range(count):
        with suppress(OSError):
            IDLE[call]()


def prepare(words: list[str], modules: Iterable[str]) -> None:
    """For what works in one thread: import `modules`, and install the `--advance` that `words` begin with. The
    search for processes that were left behind reads all of /proc, so that no two runs make the same calls: here it
    finds nothing. What it is good for, tests/heartbeat shows."""
    for name in modules:
        importlib.import_module(name)
    for place in ("antsmem.heartbeat.action", "antsmem.heartbeat.once"):
        importlib.import_module(place).survivors = lambda *_: ()  # type: ignore[attr-defined]
    if words[0] == "--advance":
        _, call, count = words[1].split(":")
        assert call in IDLE
        idle(call, int(count))
        del words[:2]


def advance(rule: str) -> None:
    """Install `--advance`."""
    thread, call, count = rule.split(":")
    if thread == "0":
        idle(call, int(count))
        return
    started = 0
    start, run = threading.Thread.start, threading.Thread.run
    chosen: list[threading.Thread] = []

    def counted(self: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started == int(thread):
            chosen.append(self)
        start(self)

    def idled(self: threading.Thread) -> None:
        idle(call, int(count) if self in chosen else 0)
        run(self)

    threading.Thread.start, threading.Thread.run = counted, idled  # type: ignore[method-assign]


def start(words: list[str]) -> None:
    now_ns = int(words.pop(0))
    clock.now_ns = lambda: now_ns
    while words[0] in {"--break", "--advance"}:
        option, value = words.pop(0), words.pop(0)
        if option == "--break":
            BREAKS[value]()
        else:
            advance(value)
    import_all()
    for module, name in CREWS.items():
        engine = importlib.import_module(f"antsmem.backup.{module}")
        assert getattr(engine, name) > 1
        setattr(engine, name, 1)
    from antsmem.cli.main import main

    with suppress(OSError):
        os.rmdir(MARKER)
    main(words)


if __name__ == "__main__":
    start(sys.argv[1:])
