"""A process under strace that runs commands in forks of itself, and what was seen of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from syscalls import strace
from traces import OPTIONS, Seen, processes, seen_in

HERE = Path(__file__).parent


class Watched:
    """Runs commands, and gives what their processes let out."""

    def __init__(self, place: Path) -> None:
        self.trace = place / "trace"
        code = os.pathsep.join(str(HERE.parents[1] / name) for name in ("", "tests", "tests/canary", "tests/cli"))
        environment = {"HOME": str(place), "PATH": os.environ["PATH"], "PYTHONPATH": code, "TMPDIR": str(place)}
        command = [strace(), "-o", str(self.trace), *OPTIONS, sys.executable, str(HERE / "forker.py")]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.known: set[Path] = set()

    def run(self, order: dict[str, Any]) -> tuple[dict[str, Any], list[Seen]]:
        """How the command ended, and what was seen of it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if not self.known:
            self.known = {self.trace.with_suffix(f".{self._forker()}")}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        ran = json.loads(self.process.stdout.readline())
        traced = processes(self.trace, self.known)
        seen = [each for path in traced for each in seen_in(path)]
        for path in traced:
            path.unlink()
        return ran, seen

    def _forker(self) -> int:
        """The number of the process that strace started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def close(self) -> None:
        with suppress(OSError):
            self.process.communicate()
