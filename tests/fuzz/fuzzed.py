"""Starts fuzzing in a process of its own, and remembers what was tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tallies import tally

TESTS = Path(__file__).parents[1]


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script of this directory with `words`."""
    places = [TESTS.parent, TESTS, *(TESTS / name for name in ("backup", "identity", "fuzz"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, str(TESTS / "fuzz" / script), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a run that found nothing says of itself."""
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    tally("fuzz")["mutants"] += found["mutants"]
    return found
