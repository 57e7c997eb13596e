"""`make demo`: an agent with a month of life is backed up, its machine is lost, another machine brings it back.

Runs the real program, each call a process of its own, in a temporary directory. Exits with 1 if a single byte,
mode or time differs from what was backed up.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import corpora

ANTSMEM = Path(sys.executable).parent / "antsmem"
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
Seen = dict[str, tuple[str, int, int, str]]
"""Path → (kind, mode, time in ns, SHA-256 of the bytes or where a link points)."""


class DifferenceError(Exception):
    """What came back is not what was backed up; one line for each difference."""


def look(root: Path) -> Seen:
    """Everything about every path below `root`."""
    seen: Seen = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        mode, time_ns = stat.S_IMODE(status.st_mode), status.st_mtime_ns
        if path.is_symlink():
            found = ("link", mode, time_ns, os.readlink(path))
        elif path.is_dir():
            found = ("directory", mode, time_ns, "")
        else:
            found = ("file", mode, time_ns, sha256(path.read_bytes()).hexdigest())
        seen[str(path.relative_to(root))] = found
    return seen


def files_in(seen: Seen) -> int:
    """How many of the paths are files."""
    return sum(kind == "file" for kind, *_ in seen.values())


def compare(before: Seen, after: Seen, left_out: Collection[str]) -> int:
    """How many paths came back as they were. Raises `DifferenceError` if any did not, or if one that was left out
    of backups did. The agent's own `.antsmem/` may differ: the new machine writes its keys there."""

    def counts(path: str) -> bool:
        return path.partition("/")[0] != ".antsmem" and not any(
            path == out or path.startswith(f"{out}/") for out in left_out
        )

    wanted = {path: what for path, what in before.items() if counts(path)}
    wrong = [f"{path}: is back although it was left out" for path in left_out if path in after]
    for path in sorted(wanted.keys() | {path for path in after if counts(path)}):
        old, new = wanted.get(path), after.get(path)
        if old is None or new is None:
            wrong.append(f"{path}: {'is new' if old is None else 'is missing'}")
            continue
        names = ("kind", "mode", "time", "bytes")
        wrong += [f"{path}: other {name}" for name, a, b in zip(names, old, new, strict=True) if a != b]
    if wrong:
        raise DifferenceError("\n".join(wrong))
    return len(wanted)


@dataclass
class Machine:
    """A computer: a name, a home directory, and how the program is started on it."""

    name: str
    home: Path
    program: tuple[str, ...] = (str(ANTSMEM),)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)

    def antsmem(self, *words: str | Path) -> Any:
        """Run the program here; the JSON it answers."""
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        command = [*self.program, *map(str, words), "--json", "--no-input"]
        done = subprocess.run(
            command,
            cwd=self.home,
            env={**keep, "HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise DifferenceError(f"`antsmem {' '.join(map(str, words))}` exited with {done.returncode}: {said}")
        return json.loads(done.stdout) if done.stdout.strip() else {}


@dataclass
class Table:
    """What is shown while it happens: a step, what came of it, seconds."""

    started: float = field(default_factory=time.monotonic)
    number: int = 0

    def head(self, title: str) -> None:
        """Begin a part."""
        self._print(f"\n{self._tint('1', title)}")
        self.started = time.monotonic()

    def row(self, step: str, result: str) -> None:
        """A step is done."""
        now = time.monotonic()
        self.number += 1
        seconds = self._tint("2", f"{now - self.started:5.1f} s")
        self._print(f"  {self.number:2}  {step:34}  {seconds}  {result}")
        self.started = now

    def say(self, text: str) -> None:
        """A line below the steps."""
        self._print(f"  {text}")

    @staticmethod
    def _tint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def back_up(machine: Machine, agent: Path, *words: str) -> tuple[dict[str, Any], str]:
    """Back up; (the snapshot, a line about it)."""
    made = machine.antsmem("-C", agent, "backup", *words)["snapshots"][0]
    added = f"{megabytes(made['size_bytes'])} as {megabytes(made['added_bytes'])}, sealed and signed"
    return made, f"{made['files']} files, {added}"


@dataclass(frozen=True)
class Lost:
    """What an agent was when its machine was lost: at its cold backup, at its last one, and its identity."""

    at_cold: Seen
    at_last: Seen
    did: str


def live_and_back_up(table: Table, place: Path, first: Machine) -> Lost:
    """A month, three backups and a day before the last of them; then nothing is left but these and the kit."""
    agent, disk, kit = first.home / "agent", place / "disk", place / "kit.txt"
    table.head(f"On {first.name}")
    corpus = corpora.sample_agent(agent)
    before = look(agent)
    table.row("an agent lives for a month", f"{files_in(before)} files, {megabytes(corpus.size_bytes)} of its own")
    words = ("--name", "kevin", "--repository", disk, "--recovery-out", kit)
    made = first.antsmem("init", agent, "--adopt", *words)
    compare(before, look(agent), [])
    table.row("antsmem init --adopt", "an identity and a recovery kit; none of its files changed")
    table.row("antsmem backup", back_up(first, agent)[1])
    table.row("antsmem backup --tier cold", back_up(first, agent, "--tier", "cold")[1] + ", in one piece")
    at_cold = look(agent)
    changed = corpora.mutate(agent, 0.1)
    first.antsmem("-C", agent, "log", "Tomorrow this machine is gone. I do not know it yet.")
    table.row(
        "the agent lives for a day", f"{changed.edited} notes and {changed.rows} rows of its database change"
    )
    table.row("antsmem backup", back_up(first, agent)[1])
    at_last = look(agent)
    shutil.rmtree(first.home)
    table.row("the machine is lost", f"workspace, keys and configuration; left are {disk.name}/ and {kit.name}")
    return Lost(at_cold, at_last, made["did"])


def bring_back(table: Table, place: Path, second: Machine, lost: Lost) -> dict[str, str]:
    """Recover on another machine and compare; what was never in a backup, and why."""
    agent, disk, kit = second.home / "agent", place / "disk", place / "kit.txt"
    table.head(f"On {second.name}")
    words = ("--kit", kit, "--repository", disk)
    report = second.antsmem("recover", agent, *words, "--host", second.name)
    if report["did"] != lost.did:
        raise DifferenceError(f"identity: `{report['did']}` instead of `{lost.did}`")
    restored = report["restored"]
    table.row("antsmem recover --kit kit.txt", f"{restored['files']} files, the same identity, another host key")
    left_out = agents_own(restored)
    same = compare(lost.at_last, look(agent), left_out)
    table.row("compare", f"{same} paths: every byte, mode and time as it was")
    with closing(sqlite3.connect(f"file:{agent}/state/memory.db?mode=ro", uri=True)) as database:
        verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
        rows = database.execute("SELECT count(*) FROM memories").fetchone()[0]
    if verdict != "ok":
        raise DifferenceError(f"state/memory.db: {verdict}")
    table.row("open its database", f"{rows} memories, sound")
    thawed = second.antsmem("restore", "cold", *words, "--to", second.home / "archive")
    same = compare(lost.at_cold, look(second.home / "archive"), agents_own(thawed))
    table.row("antsmem restore cold", f"{same} paths: every byte, mode and time as it was")
    left_out |= agents_own(thawed)
    table.row("antsmem backup", back_up(second, agent)[1])
    checked = second.antsmem("-C", agent, "check", "--read-data")["repositories"][0]
    if checked["problems"]:
        raise DifferenceError(f"check: {checked['problems'][0]}")
    counts = f"{checked['snapshots']} hot and {checked['cold']} cold snapshots"
    table.row("antsmem check --read-data", f"{counts}, {checked['objects']} objects: no problem")
    return left_out


def agents_own(restored: dict[str, Any]) -> dict[str, str]:
    """What a restore left out of the agent's own files, and why."""
    return {path: why for path, why in restored["left_out"] if not path.startswith(".antsmem/")}


def main() -> int:
    """The demonstration; 1 if anything differs."""
    place = Path(tempfile.mkdtemp(prefix="antsmem-demo-"))
    began, table = time.monotonic(), Table()
    try:
        lost = live_and_back_up(table, place, Machine("old-machine", place / "old-machine"))
        left_out = bring_back(table, place, Machine("new-machine", place / "new-machine"), lost)
    except DifferenceError as error:
        table.head("Something differs:")
        for line in str(error).splitlines():
            table.say(line)
        table.say(f"everything is still in {place}")
        return 1
    shutil.rmtree(place)
    table.head("Never in a backup, and why:")
    for path, why in sorted(left_out.items()):
        table.say(f"    {path:34}  {why}")
    table.head(f"The agent is back, the same to the last byte. {time.monotonic() - began:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
