"""Goal: a runner that is killed at any moment, twice in a row too, leaves work that happens exactly once.

Method: SIGKILL before or after a system call of a fork that runs `once` or a whole wake, at moments drawn. Then it
runs again until it is settled; a person who is asked says what is true. For thousands of pairs of kills the effect
is a write of the killed process; else it is a process that lives on.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from effect_worlds import POLICIES
from memory import remove
from seeds import SEED
from struck import act_within, cases

from antsmem.core.record import replace
from antsmem.heartbeat import journal, locks, once
from antsmem.heartbeat.states import Kind

SOAK = os.environ.get("ANTSMEM_SOAK") == "1"
KILLS = 10_000 if SOAK else 1_000
PAIRS = 10_000 if SOAK else 5_000


def swept(
    root: Path,
    seed: int,
    kills: int,
    strikes: int = 1,
    kinds: tuple[Kind, ...] = POLICIES,
    slow_seconds: float = 0.0,
) -> tuple[int, list[str]]:
    """Strike cases (each `strikes` times) until so many were killed each time, and settle all of them: how many,
    and what went wrong."""
    rng, hits, wrong = random.Random(seed), 0, []
    moments = {True: 200, False: 120}
    for place in count():
        for case in cases(root / str(place), rng, kinds, slow_seconds):
            hit, found = case.struck(rng.randrange(1, moments[case.by_wake]))
            moments[case.by_wake] = found or moments[case.by_wake]
            struck = int(hit)
            for _ in range(strikes - 1):  # what was begun takes fewer moments, how many depends on how far it came
                most = rng.randrange(2, moments[case.by_wake])
                struck += case.struck(rng.randrange(1, most))[0]
            hits += struck == strikes
            wrong += case.wrong()
            if wrong or hits >= kills:
                remove(root / str(place))
                return hits, wrong
        remove(root / str(place))
    raise AssertionError


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effect is a write of the process itself, and of what is left behind there is nothing to find."""
    monkeypatch.setattr(once, "run_action", act_within)
    monkeypatch.setattr(once, "survivors", lambda *_: ())
    monkeypatch.setattr(once, "this_process", lambda: {"pid": 0, "pid_since": "", "boot": ""})
    monkeypatch.setattr(locks, "_require_reliable", lambda _path: None)


def test_killed_at_any_moment_it_happens_once(tmp_path: Path) -> None:
    hits, wrong = swept(tmp_path, SEED, KILLS)
    assert wrong == [] and hits >= KILLS


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux tells")
def test_processes_that_gave_the_lock_away_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = once.run_action
    monkeypatch.setattr(once, "run_action", lambda what, *rest: run(replace(what, lock=None), *rest))
    assert swept(tmp_path, SEED, 30, kinds=("verify", "hold"))[1] == []


def test_killed_twice_it_happens_once(tmp_path: Path, within: None) -> None:
    hits, wrong = swept(tmp_path, SEED, PAIRS, 2)
    assert wrong == [] and hits >= PAIRS


def blind(last: object, *_: object, **__: object) -> str:
    return "settled" if getattr(last, "state", "") in {"DONE", "SKIPPED"} else "start"


def forgetful(put: pytest.MonkeyPatch) -> None:
    put.setattr(once, "next_step", blind)
    put.setattr(once._Work, "_require_gone", lambda *_: None)


def late(put: pytest.MonkeyPatch) -> None:
    """What is started is recorded when it has ended."""
    kept: dict[str, Any] = {}
    started, run = once._Work._started, once._Work._run

    def pretended(self: Any, last: Any) -> Any:
        append = self.journal.append
        self.journal.append = lambda now_ns, *bodies: (
            kept.setdefault("entry", None) or _entry(self.journal, bodies)
        )
        try:
            return started(self, last)
        finally:
            self.journal.append = append

    put.setattr(once._Work, "_started", pretended)
    put.setattr(once._Work, "_run", run)


def _entry(made: journal.Journal, bodies: tuple[Any, ...]) -> Any:
    from antsmem.heartbeat.line import Entry

    return Entry(made.number + 1, "", "state", {**bodies[-1], "number": made.number + 1})


def lock_not_inherited(put: pytest.MonkeyPatch) -> None:
    run = once.run_action
    put.setattr(once, "run_action", lambda what, *rest: run(replace(what, lock=None), *rest))
    put.setattr(once, "survivors", lambda *_: ())


@pytest.mark.parametrize("broken", [forgetful, late, lock_not_inherited])
def test_control_a_guard_that_is_gone_is_noticed(
    tmp_path: Path, broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An action that outlives its runner for a while is what the lock is for."""
    broken(monkeypatch)
    assert swept(tmp_path, 3, 2_000, kinds=("hold", "verify"), slow_seconds=0.2)[1]


def test_control_two_kills_of_a_runner_that_tries_again_blindly(
    tmp_path: Path, within: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful(monkeypatch)
    assert swept(tmp_path, 3, 300, 2, ("hold", "verify"))[1]
