"""`make bench`: antsmem beside restic and borg, on the same data in the same run, against the targets.

Workspaces are generated, kept below `.bench/` and used warm. Every figure is of a whole process, median of the
rounds; the tools take turns. Peers are what is on PATH, or in an environment below `.bench/`
(`python -m venv .bench/borg && .bench/borg/bin/pip install borgbackup`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from leaks import leaks
from measure import BenchError
from report import costs, growth, put_into, side_by_side
from sides import Sides, Taken, copied, corpus, per_file
from tools import Antsmem, Tool, peers
from years import history

_PROJECT = Path(__file__).parents[2]
_OWN = _PROJECT / ".bench"
_QUICK = {"S": 3, "M": 3, "L": 1, "H": 3, "files": 1, "leaks": 1, "sync": 3, "streams": 5, "stores": 5}
_ROUNDS = {"S": 7, "M": 5, "L": 3, "H": 7, "files": 3, "leaks": 5, "sync": 3, "streams": 5, "stores": 5}
_SCRIPTS = {"sync": "events.py", "streams": "streams.py", "stores": "stores.py"}
"""Sections that have a script of their own, which prints the table."""
_ALONE = {"H", "leaks", *_SCRIPTS}
"""Sections without peers."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One call: the tools (ours first), the peers that are not here, and the rounds of a section."""

    ours: Antsmem
    others: list[Tool]
    missing: list[str]
    rounds: Mapping[str, int]
    quick: bool
    load: float

    def section(self, name: str) -> tuple[str, dict[str, Taken]]:
        """Measure a section; its table and what it was made of."""
        if name in _SCRIPTS:
            return scripted(_SCRIPTS[name]), {}
        if name == "H":
            hours = 240 if self.quick else 8760
            taken = history(self.ours, _OWN, hours, self.rounds[name], _say)
            return growth(taken, hours), {name: taken}
        if name == "leaks":
            found_all, taken_all = leaks(self.ours, _OWN / "work" / name, self.rounds[name], _say)
            return found_all, {name: taken_all}
        if name != "files":
            found = self.on(name, "corpus", name, steps=corpus)
            return side_by_side(name, found), {name: found}
        counts = (1000, 10_000) if self.quick else (1000, 10_000, 100_000)
        by_count = {
            count: self.on(f"{count} files", "notes", str(count), steps=partial(per_file, files=count))
            for count in counts
        }
        return costs(by_count), {str(count): each for count, each in by_count.items()}

    def on(self, name: str, *made: str, steps: Callable[[Sides], Taken]) -> Taken:
        """Take the `steps` on a fresh copy of the workspace that make.py makes of `made`."""
        workspace = _OWN / "work" / name
        copied(_OWN / "corpora" / name, workspace, *made)
        rounds = self.rounds["files" if made[0] == "notes" else name]
        sides = Sides([self.ours, *self.others], workspace, rounds, _say)
        return steps(sides)

    def caption(self, section: str) -> str:
        """With what the table was made."""
        others = () if section in _ALONE else self.others
        told = [f"{tool.name} {tool.version} ({tool.settings})" for tool in (self.ours, *others)]
        absent = f" Not here: {', '.join(self.missing)}." if self.missing else ""
        when = time.strftime("%Y-%m-%d %H:%M")
        busy = f" **Others used the machine (load {self.load:.1f}): a rough idea only.**" if self.load > 1 else ""
        return f"{when}, {self.rounds[section]} rounds, {_machine()}. {'; '.join(told)}.{absent}{busy}"


def main() -> None:
    """Measure the sections that were asked for; print a table for each."""
    options = _options()
    rounds = dict.fromkeys(_ROUNDS, options.runs) if options.runs else _QUICK if options.quick else _ROUNDS
    shutil.rmtree(_OWN / "work", ignore_errors=True)
    with tempfile.TemporaryDirectory() as keys:
        ours = Antsmem(Path(sys.executable).with_name("antsmem"), Path(keys))
        bench = Bench(ours, *peers(_OWN), rounds, options.quick, os.getloadavg()[0])
        _say("first use of every program, so that none pays for it later")
        replace(bench, rounds={"files": 1}).on("20 files", "notes", "20", steps=corpus)
        for section in _ROUNDS:
            if section not in options.only.split(","):
                continue
            table, taken = bench.section(section)
            text = f"{table}\n\n{bench.caption(section)}"
            sys.stdout.write(text + "\n\n")
            sys.stdout.flush()
            samples = json.dumps({name: asdict(each) for name, each in taken.items()}, indent=1)
            (_OWN / f"samples-{section}.json").write_text(samples)
            if options.into:
                put_into(options.into, section, text)
    shutil.rmtree(_OWN / "work")


def scripted(name: str) -> str:
    """The table that a script of this directory prints; in a process of its own, so that this one stays small."""
    tests = Path(__file__).parents[1]
    command = [sys.executable, str(tests / "bench" / name)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(tests)}, text=True, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise BenchError(f"`{name}` ended with {done.returncode}")
    return done.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        default=",".join(_ROUNDS),
        help="S, M, L, H (a year), files (cost a file), leaks, sync, streams and stores (need `make servers`)",
    )
    parser.add_argument("--runs", type=int, help="rounds of every step")
    parser.add_argument("--quick", action="store_true", help="few rounds, ten days for H, up to 10,000 files")
    parser.add_argument("--into", type=Path, help="also put the tables between their marks in this page")
    options = parser.parse_args()
    if not set(options.only.split(",")) <= set(_ROUNDS):
        parser.error(f"--only takes some of {','.join(_ROUNDS)}")
    return options


def _machine() -> str:
    """Processor, cores, memory, file system: what the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    found = subprocess.run(["df", "--output=fstype", _OWN], capture_output=True, text=True, check=False)
    kind = found.stdout.split()[-1] if found.stdout else "?"
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, {platform.system()}, {kind}, "
        f"Python {platform.python_version()}"
    )


def _say(what: str) -> None:
    sys.stderr.write(f"bench: {what}\n")


def start() -> None:
    """`main`, with a failure said in one line."""
    try:
        main()
    except BenchError as error:
        raise SystemExit(f"bench: {error}") from None


if __name__ == "__main__":
    start()
