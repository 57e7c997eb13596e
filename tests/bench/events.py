"""What a sync costs: an idle one beside `antsmem --version`, one push of many changed files, the embedded log.

Processor time, so that others on the machine do not count. Run by `make bench`, or by itself.
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


def cpu_seconds(*words: str, home: Path, times: int = 5) -> float:
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


def best(measure: Callable[[], float], rounds: int = 3) -> float:
    """The least of several."""
    return min(measure() for _ in range(rounds))


def main() -> None:
    """Print the table."""
    print("| sync |  | target |  |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = {"HOME": str(place), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        for words in (
            ["init", "agent", "--name", "kevin", "--recovery-out", "kit.txt"],
            ["-C", "agent", "backend", "add", "embedded", "shared"],
            ["-C", "agent", "backend", "init"],
            ["-C", "agent", "sync"],
            ["-C", "agent", "sync"],
        ):
            subprocess.run([ANTSMEM, *words], env=environment, cwd=place, check=True, capture_output=True)
        version = best(lambda: cpu_seconds("--version", home=place))
        idle = best(lambda: cpu_seconds("-C", "agent", "sync", home=place))
        row("`antsmem --version`, ms", f"{version * 1000:.0f}")
        row("idle sync, ms", f"{idle * 1000:.0f} ({idle / version:.1f} ×)", "≤ 3 × --version", idle <= 3 * version)
        each: dict[int, float] = {}
        for count in (100, 1000, 10_000):
            each[count] = pushed(place / str(count), count) / count * 1000
            target = ("≤ 1.5 × that of 1,000", each[count] <= 1.5 * each[1000]) if count > 1000 else ("", None)
            row(f"{count:,} changed files in one sync, ms a file", f"{each[count]:.2f}", *target)
        pairs = [(rate(FileLog(place / f"log{n}").append), rate(bare_file(place / f"bare{n}"))) for n in range(3)]
        ours, bare = (max(side) for side in zip(*pairs, strict=True))
        row("log `file`, events/s", f"{ours:,.0f} ({ours / bare:.2f} of a bare append and fsync)")


def row(what: str, figure: str, target: str = "", met: bool | None = None) -> None:
    """One line of the table."""
    verdict = "" if met is None else "met" if met else "**not met**"
    print(f"| {what} | {figure} | {target} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
