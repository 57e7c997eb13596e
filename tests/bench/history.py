"""A year of hourly snapshots, made through the library with a clock of our own, in a process of its own.

`history.py WORKSPACE HOURS prune|keep`: the agent in WORKSPACE, whose home is $HOME, gets HOURS snapshots that end
an hour ago; a few files change before each. `prune` applies the tiers' policy once a day, `keep` never.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from statistics import median

from antsmem.backup.hot import Job, back_up_hot
from antsmem.backup.prune import PruneJob, prune
from antsmem.backup.repository import read_state
from antsmem.backup.retention import DEFAULT
from antsmem.backup.snapshot import COLD, HOT
from antsmem.cli.context import Context, Options
from antsmem.cli.keys import host_keyring
from antsmem.workspace.classes import Classifier

_HOUR_NS = 3_600_000_000_000
_WINDOW = 25


class Year:
    """The agent and its time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = random.Random(8)
        self.notes = sorted(path for path in root.rglob("*.md") if ".antsmem" not in path.parts)
        self.spent: list[float] = []

    def hour(self, now_ns: int, with_prune: bool) -> None:
        """Edit, back up, perhaps prune."""
        self.edit(now_ns)
        started = time.perf_counter()
        self.back_up(now_ns)
        self.spent.append(time.perf_counter() - started)
        if with_prune:
            self.prune(now_ns)

    def context(self, now_ns: int) -> Context:
        """A run of the program at another time."""
        context = Context(Options(workspace=str(self.root)), dict(os.environ))
        context.now_ns = now_ns
        context.output.hide = lambda _values: None  # a program has one mask around its output, not one an hour
        return context

    def edit(self, now_ns: int) -> None:
        """Three notes grow by a line, ten minutes before."""
        for path in self.rng.sample(self.notes, 3):
            with open(path, "ab") as file:
                file.write(b"\n- " + self.rng.randbytes(60).hex().encode())
            os.utime(path, ns=(now_ns, now_ns - 600_000_000_000))

    def back_up(self, now_ns: int) -> None:
        """One hot snapshot, as `antsmem backup` takes it."""
        context = self.context(now_ns)
        with context.working():
            keys = host_keyring(context, HOT, COLD)
            opened = context.repository(context.named()[0], keys)
            job = Job(
                root=os.fsencode(context.layout.root),
                classifier=Classifier(context.settings.classes),
                scanner=context.scanner(),
                waivers=context.waivers(),
                cache_path=context.agent_state / f"cache-{opened.id}",
                now_ns=now_ns,
                pin=context.pin(opened),
            )
            context.keep_pin(opened, back_up_hot(opened, job).pin)

    def prune(self, now_ns: int) -> None:
        """As `antsmem prune` does it."""
        context = self.context(now_ns)
        with context.working():
            opened = context.repository(context.named()[0], host_keyring(context, HOT, COLD))
            prune(opened, read_state(opened, context.pin(opened)), PruneJob(DEFAULT, now_ns))


def main(words: list[str]) -> None:
    """Live through the hours; print the median seconds of a backup at the beginning and at the end as JSON."""
    root, hours, how = Path(words[0]), int(words[1]), words[2]
    year, now_ns = Year(root), time.time_ns() - int(words[1]) * _HOUR_NS
    for number in range(hours):
        year.hour(now_ns + number * _HOUR_NS, how == "prune" and number % 24 == 23)
        if number % 240 == 239:
            sys.stderr.write(f"H: hour {number + 1}/{hours}\n")
    spent = year.spent
    early, late = spent[10 : 10 + _WINDOW] or spent, spent[-_WINDOW:]
    sys.stdout.write(json.dumps([median(early), median(late)]))


if __name__ == "__main__":
    main(sys.argv[1:])
