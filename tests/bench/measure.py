"""Start one program, wait for its end, and say what it took: wall clock, processor, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TO_BYTES = 1 if sys.platform == "darwin" else 1024


class BenchError(Exception):
    """A measured program failed, or gave back other bytes than it was given: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, its whole environment, and the directory that it starts in."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. `cpu_seconds` is user plus system of the process and all its children; `peak_bytes` the resident
    set of the largest of them."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: Command) -> Sample:
    """Run `command` to its end. Raises `BenchError` with the last it said where it does not exit 0.

    A child counts the memory of the process that started it until it becomes its own program: whoever calls this
    stays small (workspaces are made in processes of their own).
    """
    with open(command.folder.parent / "said", "w+b") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.words, env=command.environment, cwd=command.folder, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            words = " ".join(command.words)
            raise BenchError(f"`{words}` ended with {process.returncode}: {said.read()[-2000:].decode()}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _TO_BYTES)


def measured(command: Command) -> Sample:
    """`run`, after everything that others left to be written is on the disk."""
    os.sync()
    return run(command)


def middle(samples: list[Sample]) -> Sample:
    """The median of each figure."""
    return Sample(
        median(sample.wall_seconds for sample in samples),
        median(sample.cpu_seconds for sample in samples),
        int(median(sample.peak_bytes for sample in samples)),
    )


def tree_bytes(folder: Path) -> int:
    """The bytes in all files below `folder`."""
    return sum(
        os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names
    )
