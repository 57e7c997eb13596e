"""Goal: no order of calls, crashes, clock jumps, and answers of the world repeats an effect or loses one.

Method: a simulation of `once` and of the journal against a model of the world, without processes: an action is a
function that may do its effect or not, and end, fail, time out, or die with its caller before, during or after.
Several callers interleave, the clock jumps by up to months, the journal's tail is torn, writes fail. Invariants
are looked at on the way. The seed is told. Mutations of the state machine must each be noticed (controls).
"""

from __future__ import annotations

import errno
import inspect
import os
import random
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_journals import DAY, FRIDAY, month_of, places

from antsmem.core.errors import AntsmemError, BusyError, DiskError
from antsmem.heartbeat import fold, journal, once, states
from antsmem.heartbeat.action import Action, Output
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.once import Effect, Host
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import KINDS, Ended, Kind

SOAK = os.environ.get("ANTSMEM_SOAK") == "1"
STEPS = 200_000 if SOAK else 4_000


class Died(BaseException):
    """The caller was killed."""


class Simulation:
    """One agent's world. Keys have a kind for ever; `did` counts effects."""

    def __init__(self, root: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.root = root
        self.now_ns = FRIDAY
        self.did: dict[str, int] = {}
        self.kinds: dict[str, Kind] = {}
        self.fails_in = 0
        self.journal = self._opened()
        self.told: dict[str, str] = {}

    def _opened(self) -> Journal:
        return Journal(places(self.root))

    def step(self) -> None:
        """Something happens."""
        roll = self.rng.random()
        if roll < 0.05:
            self.now_ns += self.rng.choice([1, 60, 3600, 86400, -3600, -86400 * 3]) * 1_000_000_000
        elif roll < 0.06:
            self.now_ns += self.rng.choice([31, 62, -31]) * DAY
        elif roll < 0.10:
            self.journal = self._opened()
        elif roll < 0.12 and self.kinds:
            with open(month_of(self.root), "ab") as lines:
                lines.write(b'01234567 {"at":"2026'[: self.rng.randrange(1, 20)])
        elif roll < 0.13:
            places(self.root).index.unlink(missing_ok=True)
        elif roll < 0.16:
            self.fails_in = self.rng.randrange(1, 4)
        elif roll < 0.26:
            self.person()
        else:
            self.call()
        self.now_ns += 1_000_000

    def call(self) -> None:
        """Somebody calls `once`."""
        known = list(self.kinds)[-12:]
        key = self.rng.choice(known) if known and self.rng.random() < 0.75 else f"k{len(self.kinds)}"
        kind = self.kinds.setdefault(key, self.rng.choice(KINDS))
        verify = ("verify",) if kind == "verify" else ()
        host = Host(lambda: self.now_ns, self.rng.random, patient=self.rng.random() < 0.2)
        caller = self.journal if self.rng.random() < 0.5 else self._opened()
        try:
            result = once.once(caller, Effect(key, ("act",), kind, verify), host)
        except (Died, DiskError, BusyError):
            self.journal = self._opened() if caller is self.journal else self.journal
            return
        if self.told.get(key) in {"DONE", "SKIPPED"}:
            assert result.state == self.told[key], f"{key} was {self.told[key]} and is {result.state}"
        self.told[key] = result.state
        if result.state == "DONE":
            assert self.did.get(key, 0) > 0, f"{key} is DONE and never happened"

    def act(self, what: Action, *_: Any) -> tuple[Ended, Output]:
        """The place of `run_action`."""
        key, nothing = what.environment["ANTSMEM_KEY"], Output(0, 0, False)
        if what.argv == ("verify",):
            if self.rng.random() < 0.1:
                return Ended(2), nothing
            return Ended(0 if self.did.get(key) else 1), nothing
        assert "ANTSMEM_FENCE" in what.environment
        how = self.rng.choice(
            ["good"] * 4 + ["unstarted", "fails", "temporary", "late", "killed", "dies-before", "dies-after"]
        )
        happens = how in {"good", "dies-after"} or (how in {"fails", "late", "killed"} and self.rng.random() < 0.5)
        if happens and not (self.kinds[key] == "idempotent" and self.did.get(key)):
            self.did[key] = self.did.get(key, 0) + 1
        if how.startswith("dies"):
            raise Died
        ended = {
            "good": Ended(0), "unstarted": Ended(127, started=False), "fails": Ended(1), "temporary": Ended(75),
            "late": Ended(None, 15, True), "killed": Ended(None, 9),
        }  # fmt: skip
        return ended[how], nothing

    def person(self) -> None:
        """Somebody settles what is held, truthfully."""
        open_keys = [key for key, state in self._opened().open.items() if state in {"HELD", "UNKNOWN"}]
        if open_keys:
            key = self.rng.choice(open_keys)
            word: Any = self.rng.choice(["done"] if self.did.get(key) else ["redo", "redo", "drop"])
            try:
                resolve_effect(self._opened(), key, word, self.now_ns)
            except (Died, DiskError):
                return
            self.told[key] = {"done": "DONE", "redo": "PLANNED", "drop": "SKIPPED"}[word]

    def write(self, path: Any, data: bytes) -> None:
        """The place of `append_file`: sometimes the disk is full, sometimes the process is killed half-way."""
        fails = self.fails_in == 1
        self.fails_in = max(0, self.fails_in - 1)
        size = os.path.getsize(path)
        with open(path, "ab") as lines:
            lines.write(data[: self.rng.randrange(len(data) + 1)] if fails else data)
            lines.flush()
            died = self.rng.random() < 0.5
            if fails and not died:
                lines.truncate(size)
        if fails:
            if died:
                raise Died
            raise DiskError(os.strerror(errno.ENOSPC))

    def check(self) -> None:
        """The invariants."""
        for key, count in self.did.items():
            assert count == 1 or self.kinds[key] in {"pure", "retry"}, (
                f"{key} ({self.kinds[key]}) happened {count} times"
            )

    def finish(self) -> None:
        """Everything comes to an end, and nothing is lost."""
        self.fails_in = 0
        for key, kind in self.kinds.items():
            for _ in range(200):
                if self.told.get(key) in {"DONE", "SKIPPED"}:
                    break
                try:
                    host = Host(lambda: self.now_ns, self.rng.random)
                    verify = ("verify",) if kind == "verify" else ()
                    self.told[key] = once.once(self._opened(), Effect(key, ("act",), kind, verify), host).state
                except Died:
                    continue
                if self.told[key] == "HELD":
                    word: Any = "done" if self.did.get(key) else "redo"
                    resolve_effect(self._opened(), key, word, self.now_ns)
            assert self.told.get(key) in {"DONE", "SKIPPED"}, f"{key} never ends"
            assert self.told[key] == "SKIPPED" or self.did.get(key), f"{key} is lost"
        self.check()


def simulate(root: Path, seed: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    world = Simulation(root, seed)
    monkeypatch.setattr(once, "run_action", world.act)
    monkeypatch.setattr(once, "survivors", lambda *_: ())
    monkeypatch.setattr(journal, "append_file", world.write)
    monkeypatch.setattr(journal, "_INDEX_BYTES", 2000)
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
    for number in range(steps):
        world.step()
        if number % 50 == 0:
            world.check()
    world.check()
    world.finish()
    return world


def test_nothing_repeats_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    for part in range(STEPS // 400):
        world = simulate(tmp_path / str(part), seed + part, 400, monkeypatch)
        assert len(world.kinds) > 20


MUTATIONS: list[tuple[Any, str, str]] = [
    (states.next_step, '"HELD" else "held"', '"HELD" else "start"'),
    (states.next_step, 'last.state == "PLANNED"', 'last.state in {"PLANNED", "STARTED"}'),
    (states.next_step, 'last.state == "FAILED"', 'last.state in {"FAILED", "UNKNOWN"}'),
    (states.next_step, "last.state in SETTLED", 'last.state == "DONE"'),
    (states.next_step, 'return "ask"\n    if kind', 'return "start"\n    if kind'),
    (states.next_step, 'return "hold"\n', 'return "start"\n'),
    (states.outcome, 'return "UNKNOWN"\n    if ended.code == 0', 'return "FAILED"\n    if ended.code == 0'),
    (states.outcome, 'ended.code == TEMPORARY else "UNKNOWN"', 'ended.code else "UNKNOWN"'),
    (states.outcome, 'ended.code == TEMPORARY else "UNKNOWN"', 'ended.code == TEMPORARY else "DONE"'),
    (states.answered, '{0: "DONE", 1: "PLANNED"}', '{0: "PLANNED", 1: "DONE"}'),
    (states.answered, '"HELD")', '"PLANNED")'),
    (states.answered, '"HELD")', '"DONE")'),
    (
        fold.Fold._state,
        "self.keys[key] = (self.size, entry.number)",
        "self.keys.setdefault(key, (self.size, entry.number))",
    ),
    (journal.Journal._carried, 'entry.state in SETTLED and entry.text("task")', "entry.state in SETTLED"),
    (journal.Journal._carried, "entry.state in SETTLED and", "entry.state not in SETTLED and not"),
    (journal.Journal._close_end, "if not rest and not self._fold.trailing:", "if True:"),
]


def mutated(function: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    """`function` with one thing changed in its source."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(before) == 1, f"`{before}` is not once in {function.__qualname__}"
    space: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source.replace(before, after)
    exec(compile(code, "mutated", "exec"), function.__globals__, space)
    changed: Callable[..., Any] = space[function.__name__]
    return changed


def install(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], changed: Callable[..., Any]) -> None:
    """Put `changed` wherever `function` is used."""
    name = function.__name__
    for place in (states, once, fold.Fold, journal.Journal):
        if getattr(place, name, None) is function:
            monkeypatch.setattr(place, name, changed)


@pytest.mark.parametrize(("function", "before", "after"), MUTATIONS, ids=range(len(MUTATIONS)))
def test_control_a_changed_state_machine_is_noticed(
    function: Callable[..., Any], before: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, function, mutated(function, before, after))
    for seed in range(8):
        try:
            simulate(tmp_path / str(seed), seed, 600, monkeypatch)
        except (AssertionError, AntsmemError, KeyError):
            return
    pytest.fail(f"nobody noticed `{after}`")
