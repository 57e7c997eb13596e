"""Feed mutants to one target for some seconds, in a process of its own with little time, little memory and no pen.

    python runner.py TARGET SEED SECONDS [FIRST]

FIRST is the number of the first mutant; with 0 seconds it is the only one, as a failure names it.

The last line is JSON: how many mutants, how many were read without a complaint, and the memory that it took.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import mutants
from reading import Target
from specimens import Specimens
from targets import TARGETS

from antsmem.core.errors import AntsmemError, legible

MEMORY_BYTES = 300 << 20
"""What reading may take on top of what is there before."""
CPU_SECONDS = 5.0
"""What one mutant may take; a good file takes milliseconds."""
LONGEST = 20_000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
CHANGES |= {"os.chown", "os.utime", "os.setxattr", "subprocess.Popen", "os.exec", "os.fork", "socket.connect"}


class ForbiddenError(BaseException):
    """The reader wrote, started a program, or took too long."""


class Watch:
    """Forbids to change anything while it is `on`."""

    on = False

    def hook(self, event: str, given: tuple[Any, ...]) -> None:
        if self.on and (
            event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & WRITING)
        ):
            self.on = False
            raise ForbiddenError(f"{event} {given[:2]!r}")

    def late(self, _number: int, _frame: FrameType | None) -> None:
        raise ForbiddenError(f"more than {CPU_SECONDS} s of processor time")

    @contextmanager
    def reading(self, target: Target) -> Iterator[None]:
        """While a mutant is read."""
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        self.on = not target.writes
        try:
            yield
        finally:
            self.on = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


WATCH = Watch()


def prepared(name: str, place: Path) -> Target:
    """The target `name`, with its limits in force from here on."""
    target = TARGETS[name](Specimens(place))
    for seed in target.seeds:
        give(target, seed)
        if target.good:
            target.read(seed)
    sys.dont_write_bytecode = True  # of what a mutant is the first to load
    sys.addaudithook(WATCH.hook)
    signal.signal(signal.SIGVTALRM, WATCH.late)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return target


def mutant(target: Target, dice: Random) -> bytes | None:
    """A changed file; None where what was changed cannot be signed or sealed."""
    if target.inside is None or dice.random() < 0.4:
        return mutants.of_bytes(dice, target.seeds)
    try:
        return target.inside(dice)
    except (AntsmemError, TypeError, KeyError, AttributeError, ValueError):
        return None


def give(target: Target, data: bytes) -> None:
    """Put `data` where the target wants it."""
    if target.at is not None:
        target.at.write_bytes(data)


def accepted(target: Target, data: bytes) -> bool:
    """Whether `data` is read without a complaint. Anything but one of our errors goes through."""
    give(target, data)
    try:
        with WATCH.reading(target):
            target.read(data)
    except AntsmemError as error:
        text = f"{error}{error.hint}"
        text.encode()
        assert legible(text) == text and len(text) < LONGEST, f"an error that cannot be shown: {text[:300]!r}"
        return False
    return True


def fuzz(name: str, seed: int, seconds: float, first: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="antsmem-fuzz-") as place:
        target = prepared(name, Path(place))
        tried = good = 0
        end = time.process_time() + seconds
        while True:
            data = mutant(target, Random(f"{seed} {first + tried}"))
            if data is not None:
                try:
                    good += accepted(target, data)
                except BaseException as error:
                    shown = base64.b64encode(data[:3000]).decode()
                    error.add_note(f"{name} {seed} 0 {first + tried}: {len(data)} bytes {shown}")
                    raise
            tried += 1
            if time.process_time() >= end:
                break
        return {"target": name, "mutants": tried, "accepted": good, "peak_mib": _peak_mib()}


def _peak_mib() -> int:
    """The largest resident set so far. Linux lets `ru_maxrss` begin with that of the parent."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    words = sys.argv[1:]
    try:
        print(json.dumps(fuzz(words[0], int(words[1]), float(words[2]), int((words[3:] or ["0"])[0]))))
    except BaseException:  # noqa: BLE001 - whatever it is, it is what we look for
        traceback.print_exc()
        sys.exit(1)
