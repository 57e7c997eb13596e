"""What a wake with nothing due costs on an agent with a long history, next to `antsmem --version`.

    python tests/bench/idle.py [RECORDS]

User and system time of 20 runs each in turn, and how often they wait for the disk. A wake that finds the file
touched has to look into the journal; any other one sees in its note of the last wake that nothing can be due.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "cli"), str(TESTS / "faults")]

from made_homes import Home  # noqa: E402
from syscalls import strace  # noqa: E402

from antsmem.heartbeat.journal import Journal, Places  # noqa: E402
from antsmem.heartbeat.slots import NANO, slot_text  # noqa: E402

RUNS = 20
PROGRAM = str(Path(sys.executable).with_name("antsmem"))


def lived(home: Home, records: int) -> int:
    """Give the agent a history of so many records in its newest month; how many there are."""
    places = Places(home.workspace / ".antsmem/heartbeat", home.root / "index")
    journal, now = Journal(places), time.time_ns()
    while journal.number < records:
        with journal.deciding(now):
            for _ in range(100):
                slot = slot_text(now // NANO - 3600 * (records - journal.number))
                body = {"kind": "state", "key": f"past@{slot}", "task": "past", "slot": slot}
                run = f"{journal.number:024x}"
                states = ({"state": "PLANNED"}, {"state": "STARTED", "run": run}, {"state": "DONE", "run": run})
                journal.append(now, *({**body, **state} for state in states))
    return journal.number


def cpu(words: list[str], environment: dict[str, str]) -> float:
    """User and system milliseconds of one run."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([PROGRAM, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = getrusage(RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def waits(words: list[str], environment: dict[str, str]) -> int:
    """How often one run waits for the disk."""
    with tempfile.NamedTemporaryFile("r") as told:
        traced = [strace(), "-f", "-qq", "-o", told.name, "-e", "trace=fsync,fdatasync,sync,syncfs", PROGRAM]
        subprocess.run([*traced, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
        return told.read().count("sync")


def main(records: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        home = Home(Path(root))
        home.init()
        (home.home / ".config/antsmem/config.yaml").open("a").write('heartbeat:\n  allow:\n    - "*"\n')
        file = home.workspace / "HEARTBEAT.md"
        file.write_text("- run: true {id=look every=24h}\n")
        home.must("heartbeat")
        number, wake = lived(home, records), ["-C", str(home.workspace), "heartbeat"]
        for _ in range(3):
            home.must("heartbeat")
        rows: list[tuple[str, list[str], Callable[[], object]]] = [
            ("the same, file touched", wake, file.touch),
            ("a wake, nothing due", wake, lambda: None),
            ("antsmem --version", ["--version"], lambda: None),
        ]
        times: dict[str, list[float]] = {name: [] for name, _, _ in rows}
        for _ in range(RUNS):
            for name, words, before in rows:
                before()
                times[name].append(cpu(words, home.environment))
        first = median(times["antsmem --version"])
        print(f"{number} records; CPU time, median of {RUNS} runs")
        for name, words, before in reversed(rows):
            before()
            count = waits(words, home.environment)
            print(f"{name:24} {median(times[name]):6.1f} ms  {median(times[name]) / first:4.2f}x  {count} fsync")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
