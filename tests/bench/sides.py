"""Side by side: the same steps by every tool on the same workspace, taking turns so that noise hits all alike."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import BenchError, Command, Sample, measured
from tools import Tool

_MAKE = str(Path(__file__).with_name("make.py"))
_SETTLE_SECONDS = 2.1  # a file touched within two seconds of a backup is read again by the next


@dataclass(slots=True)
class Taken:
    """What was measured in one section: step → tool → samples, and sizes in bytes: figure → tool → values."""

    times: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def add(self, step: str, tool: str, sample: Sample) -> None:
        """Keep a sample."""
        self.times.setdefault(step, {}).setdefault(tool, []).append(sample)

    def add_size(self, figure: str, tool: str, size_bytes: int) -> None:
        """Keep a size."""
        self.sizes.setdefault(figure, {}).setdefault(tool, []).append(size_bytes)

    def peak(self) -> None:
        """Note the most memory that each tool took in any step."""
        for tools in self.times.values():
            for tool, samples in tools.items():
                self.add_size("peak memory", tool, max(sample.peak_bytes for sample in samples))
        self.sizes["peak memory"] = {tool: [max(sizes)] for tool, sizes in self.sizes["peak memory"].items()}


def make(*words: str | Path) -> None:
    """Run make.py."""
    subprocess.run([sys.executable, _MAKE, *map(str, words)], check=True)


def copied(pristine: Path, workspace: Path, *words: str | Path) -> None:
    """A fresh copy of a workspace; `words` tell make.py how to make the original, the first time."""
    if not pristine.exists():
        part = pristine.with_name(pristine.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        make(*words, part)
        part.rename(pristine)
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", pristine, workspace], check=True)


class Sides:
    """One workspace and the tools that back it up, with `runs` rounds a step."""

    def __init__(self, tools: Sequence[Tool], workspace: Path, runs: int, say: Callable[[str], None]) -> None:
        self.tools = tools
        self.workspace = workspace
        self.runs = runs
        self.say = say
        self.taken = Taken()

    def turns(self, step: str) -> Iterator[tuple[int, Tool]]:
        """Each tool once a round; another one begins every time."""
        for number in range(self.runs):
            self.say(f"{self.workspace.name}: {step} {number + 1}/{self.runs}")
            first = number % len(self.tools)
            for tool in (*self.tools[first:], *self.tools[:first]):
                yield number, tool

    def sample(self, tool: Tool, command: Command) -> Sample:
        """`command` of `tool`, with the workspace and its repository in the page cache, whatever was there."""
        for folder in (self.workspace, tool.repository):
            for place, _, names in os.walk(folder):
                for name in names:
                    with open(os.path.join(place, name), "rb", buffering=0) as file:
                        while file.read(1 << 20):
                            pass
        return measured(command)

    def each(self, step: str, command: Callable[[Tool], Command]) -> None:
        """Measure what `command` gives for each tool."""
        for _, tool in self.turns(step):
            self.taken.add(step, tool.name, self.sample(tool, command(tool)))

    def first(self) -> None:
        """The first backup into a new repository; the last round's repositories are used from then on."""
        for _, tool in self.turns("first"):
            place = self.place(tool)
            shutil.rmtree(place, ignore_errors=True)
            tool.begin(self.workspace, place)
            self.taken.add("first", tool.name, self.sample(tool, tool.backup()))
            self.taken.add_size("repository size", tool.name, tool.size_bytes())

    def place(self, tool: Tool) -> Path:
        """Where a tool keeps all it has."""
        return self.workspace.with_name(f"{self.workspace.name}-{tool.name}")

    def changed(self, step: str, change: Callable[[int], None]) -> None:
        """Backups after changes: `change` gets the round."""
        last = -1
        for number, tool in self.turns(step):
            if number != last:
                change(number)
                time.sleep(_SETTLE_SECONDS)
                last = number
            before = tool.size_bytes()
            self.taken.add(step, tool.name, self.sample(tool, tool.backup()))
            self.taken.add_size(f"{step}, bytes added", tool.name, tool.size_bytes() - before)

    def restored(self, step: str, command: Callable[[Tool, Path], Command], same: Callable[[Path], None]) -> None:
        """Restores, each into a new directory; in the first round `same` compares what came back.

        What was restored is emptied and stays until the end of all: where many files were deleted within the last
        minutes, ext4 looks long for a place for new ones.
        """
        for number, tool in self.turns(step):
            target = self.place(tool) / f"{step} {number}"
            target.mkdir()
            self.taken.add(step, tool.name, self.sample(tool, command(tool, target)))
            if not number:
                same(tool.restored(target))
            for folder, _, names in os.walk(target):
                for name in names:
                    os.truncate(os.path.join(folder, name), 0)


def corpus(sides: Sides) -> Taken:
    """All steps on one corpus."""
    workspace = sides.workspace
    sides.first()
    sides.each("unchanged", lambda tool: tool.backup())
    sides.changed("incremental", lambda number: make("hour", workspace, str(100 + number)))
    path = _one_path(workspace)
    sides.restored("restore", lambda tool, target: tool.restore(target), lambda there: _same(workspace, there))
    sides.restored(
        "one file",
        lambda tool, target: tool.restore_one(path, target),
        lambda there: _same(workspace / path, there / path),
    )
    sides.each("check", lambda tool: tool.check())
    sides.each("check, all data read", lambda tool: tool.check_data())
    sides.taken.peak()
    return sides.taken


def per_file(sides: Sides, files: int) -> Taken:
    """First, unchanged and changed backups of `files` small notes; a tenth of them changes each time."""
    workspace = sides.workspace
    sides.first()
    sides.each("unchanged", lambda tool: tool.backup())
    sides.changed("changed", lambda number: make("edit", workspace, str(files // 10), str(number)))
    return sides.taken


def _one_path(workspace: Path) -> str:
    """A note of middling size, the same each time."""
    notes = sorted(path for path in (workspace / "notes").rglob("*.md"))
    notes.sort(key=lambda path: path.stat().st_size)
    return str(notes[len(notes) // 2].relative_to(workspace))


def _same(source: Path, there: Path) -> None:
    words = ["diff", "-rq", "--no-dereference", "-x", ".antsmem", source, there]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    if found.returncode:
        raise BenchError(f"what came back to `{there}` differs: {found.stdout[:500]}{found.stderr[:500]}")
