"""Goal: whatever a stranger hands us, only our errors come out, soon, in little memory, and nothing is written.

Method: good files of every kind are changed, byte by byte and, where they are signed or sealed, inside and then
signed and sealed again; each kind is read for some seconds in a process that may take 300 MiB, 5 s a mutant, and
may change nothing. Coverage leads atheris for a minute through some kinds, drawn. Hypothesis draws some, and
shrinks what it finds. ANTSMEM_SOAK=1: a minute each, and another minute led by coverage; ANTSMEM_FUZZ_SECONDS and
ANTSMEM_TEST_SEED set how long and which. The controls read without a guard, and must be caught.
"""

from __future__ import annotations

import os
import random
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import fuzzed
import mutants
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner import give, mutant
from seeds import SEED
from specimens import Specimens
from tallies import tally
from targets import TARGETS

from antsmem.core.errors import AntsmemError

SOAK = os.environ.get("ANTSMEM_SOAK") == "1"
SECONDS = os.environ.get("ANTSMEM_FUZZ_SECONDS", "60" if SOAK else "2")
LIMIT_MIB = 300
LED = sorted(TARGETS) if SOAK else sorted(TARGETS)[SEED % 9 :: 9]
LED_SECONDS = 60 if SOAK else 60 // len(LED)


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_errors_come_out_of_changed_files(name: str) -> None:
    found = fuzzed.told(fuzzed.run("runner.py", name, str(SEED), SECONDS))
    assert found["mutants"] > 5 * float(SECONDS)
    assert found["peak_mib"] < LIMIT_MIB


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine")
@pytest.mark.parametrize("name", LED)
def test_coverage_leads_to_nothing_else(name: str, tmp_path: Path) -> None:
    done = fuzzed.run("guided.py", name, str(SEED), str(LED_SECONDS), str(tmp_path))
    runs = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    assert done.returncode == 0 and runs, done.stdout[-3000:] + done.stderr[-3000:]
    tally("fuzz")["mutants"] += int(runs[1])


@pytest.mark.parametrize("name", TARGETS)
def test_hypothesis_finds_no_way_around_our_errors(specimens: Specimens, name: str) -> None:
    target = TARGETS[name](specimens)

    @settings(suppress_health_check=list(HealthCheck), max_examples=300 if SOAK else 30, database=None)
    @given(st.randoms(use_true_random=False))
    def read(dice: random.Random) -> None:
        data = mutant(target, dice)
        if data is not None:
            give(target, data)
            with suppress(AntsmemError):
                target.read(data)

    try:
        read()
    finally:
        give(target, target.seeds[0])


CONTROLS = {
    "raise": "ValueError",
    "write": "ForbiddenError",
    "start": "ForbiddenError",
    "wait": "processor time",
    "hoard": "MemoryError",
    "speak": "cannot be shown",
}


@pytest.mark.parametrize(("what", "told"), CONTROLS.items())
def test_control_a_reader_without_a_guard_is_caught(what: str, told: str) -> None:
    done = fuzzed.run("unguarded.py", what)
    assert done.returncode == 1 and told in done.stderr, done.stderr[-2000:]


def test_the_same_seed_makes_the_same_mutants(specimens: Specimens) -> None:
    target = TARGETS["manifest"](specimens)
    first, second = ([mutant(target, random.Random(f"7 {n}")) for n in range(50)] for _ in range(2))
    assert first == second and len(set(first)) > 40
    value = specimens.head()
    changed = [mutants.of_value(random.Random(n), value) for n in range(50)]
    assert value == specimens.head() and sum(each != value for each in changed) > 40
