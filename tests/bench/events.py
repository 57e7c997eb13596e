"""What the shared memory costs: `events.py`, with the environment that the project's tests have.

Prints events per second through each event log that runs here, against the plainest client; processor time of an
idle `antsmem sync` against `antsmem --version`; and one push of 100, 1,000 and 10,000 changed files.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "memory"), str(TESTS / "cli")]

from devices import Agent, DeviceAt, backends_at  # noqa: E402

from antsmem.memory.embedded.logs import FileLog  # noqa: E402
from antsmem.memory.roles import LogRecord  # noqa: E402

ANTSMEM = Path(sys.executable).parent / "antsmem"
_BATCH = 90


def records(count: int) -> list[LogRecord]:
    """Events as they go through a log: headers of 16 attributes, a kilobyte of data."""
    headers = {f"attribute{number}": "x" * 40 for number in range(16)}
    return [LogRecord("local/agent", f"id-{number}", headers, os.urandom(1024)) for number in range(count)]


def rate(append: Callable[[list[LogRecord]], None], count: int = 4500) -> float:
    """Events a second, in batches as a push has them."""
    made = records(count)
    started = time.perf_counter()
    for place in range(0, count, _BATCH):
        append(made[place : place + _BATCH])
    return count / (time.perf_counter() - started)


def bare_file(place: Path) -> Callable[[list[LogRecord]], None]:
    """The plainest durable log: one write and one fsync a batch."""
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(batch: list[LogRecord]) -> None:
        os.write(fd, b"".join(item.data + repr(item.headers).encode() for item in batch))
        os.fsync(fd)

    return append


def cpu_seconds(*words: str, home: Path, times: int = 10) -> float:
    """Processor time of a command, the mean of several runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    for _ in range(times):
        subprocess.run([ANTSMEM, *words], env=environment, cwd=home, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / times


def pushed(place: Path, count: int) -> float:
    """Seconds of processor time of one sync that records and pushes `count` new files."""
    device = DeviceAt(Agent("laptop"), "laptop", place, backends_at(place / "backend"))
    for number in range(count):
        device.write(f"notes/{number % 100}/{number}.md", f"# {number}\n\n" + "words " * 40)
    started = time.process_time()
    assert device.sync().pushed.events == count
    return time.process_time() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ours, bare = rate(FileLog(place / "log").append), rate(bare_file(place / "bare"))
        print(
            f"event log `file`: {ours:,.0f} events/s, {ours / bare:.2f} of a bare append with fsync ({bare:,.0f})"
        )
        environment = {"HOME": str(place), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        for words in (
            ["init", "agent", "--name", "kevin", "--recovery-out", "kit.txt"],
            ["-C", "agent", "backend", "add", "embedded", "shared"],
            ["-C", "agent", "sync"],
            ["-C", "agent", "sync"],
        ):
            subprocess.run([ANTSMEM, *words], env=environment, cwd=place, check=True, capture_output=True)
        version, idle = cpu_seconds("--version", home=place), cpu_seconds("-C", "agent", "sync", home=place)
        print(f"idle sync: {idle * 1000:.0f} ms; --version: {version * 1000:.0f} ms; {idle / version:.1f} times")
        print("files in one sync | processor seconds | ms a file")
        for count in (100, 1000, 10_000):
            spent = pushed(place / str(count), count)
            print(f"{count:>17} | {spent:>17.2f} | {spent / count * 1000:.2f}")


if __name__ == "__main__":
    main()
