"""Merging is commutative, associative, idempotent and loses nothing: three devices, a bad network, and crashes.

Method: a hypothesis state machine. A step is one of: somebody edits or deletes a file on a device; a device
records its changes; a device is given some events of all there are (lost, doubled, out of order); a device
arranges its workspace; a device dies at a random write and starts again, perhaps without its index. At the end of
each run all events reach everybody, in another order each: the workspaces must be byte-identical, and every word
that nobody took away on purpose stands somewhere. ANTSMEM_TEST_SEED says which runs. Controls: without the
copies beside, with the newest version alone, with the one that arrived last, and with deliveries that count twice,
a run has to fail.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from devices import START_NS
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from nodes import AGENT, WORD, Died, Disk, Node
from seeds import SEED
from tallies import tally

from antsmem.core.errors import NotFoundError
from antsmem.core.record import replace
from antsmem.memory import intake, outcome
from antsmem.memory.digest import state_digest
from antsmem.memory.event import Event
from antsmem.memory.index import NOTHING, Index, Past

STEPS = 100_000 if os.environ.get("ANTSMEM_SOAK") == "1" else 20_000
RUNS, LENGTH = 50, 50  # runs at once, and steps of a run
TALLY = "merge"
TEXTS = ("MEMORY.md", "memory/2026-11-20.md", "HEARTBEAT.md")
WHOLES = ("photo.bin", "SOUL.md", "deep/data.bin")


class Machine(RuleBasedStateMachine):
    """Three devices of one agent. Every choice comes from one number a step."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="merge-"))
        self.nodes = [Node(AGENT, host, self.place / host) for host in ("laptop", "desktop", "server")]
        for place, node in enumerate(self.nodes):
            node.now_ns = START_NS + (place - 1) * 3_600 * 10**9  # clocks that are an hour off
            node.start()
        self.sent: dict[bytes, None] = {}
        self.words: set[bytes] = set()
        self.gone: set[bytes] = set()
        self.count = 0

    @rule(seed=st.integers(0, 2**32))
    def edit(self, seed: int) -> None:
        type(self).steps += 1
        dice = random.Random(seed)
        node, path = dice.choice(self.nodes), dice.choice(TEXTS + WHOLES)
        beside = [name for name in node.files() if ".conflict-" in name or ".proposal-" in name]
        if beside and dice.random() < 0.3:
            path = dice.choice(beside)
        before = node.files().get(path, b"")
        if dice.random() < 0.12 and before:
            node.remove(path)
            after = b""
        else:
            after = self.edited(path, before, dice)
            node.write(path, after)
        self.gone |= set(WORD.findall(before)) - set(WORD.findall(after))

    def edited(self, path: str, before: bytes, dice: random.Random) -> bytes:
        self.count += 1
        word = f"w{self.count}w".encode()
        self.words.add(word)
        if path.endswith(".bin") or path.startswith("SOUL"):
            return b"\0" + word
        lines = before.splitlines(keepends=True)
        line = b"- " + word + b"\n"
        if path.startswith("memory/"):
            line = f"- 10:00 x <!-- e:01JD3QZ4X8M6V0C2N9T5B{self.count:05d} -->\n  ".encode() + word + b"\n"
        elif lines and dice.random() < 0.4:
            lines[dice.randrange(len(lines))] = line
            return b"".join(lines)
        return b"".join([*lines, line]) if dice.random() < 0.7 else line + before

    @rule(seed=st.integers(0, 2**32))
    def record(self, seed: int) -> None:
        type(self).steps += 1
        node = self.nodes[seed % 3]
        self.sent.update(dict.fromkeys(node.record()))

    @rule(seed=st.integers(0, 2**32))
    def deliver(self, seed: int) -> None:
        type(self).steps += 1
        dice = random.Random(seed)
        lines = list(self.sent)[-40:]
        some = [line for line in lines if dice.random() < 0.6]
        some += [line for line in some if dice.random() < 0.2]
        dice.shuffle(some)
        node = dice.choice(self.nodes)
        node.take(some)
        if dice.random() < 0.5:
            node.arrange()

    @rule(seed=st.integers(0, 2**32))
    def arrange(self, seed: int) -> None:
        type(self).steps += 1
        self.nodes[seed % 3].arrange()

    @rule(seed=st.integers(0, 2**32))
    def die(self, seed: int) -> None:
        type(self).steps += 1
        dice = random.Random(seed)
        node, disk = dice.choice(self.nodes), Disk(dice.randint(1, 24))
        with suppress(Died), disk.failing():
            node.record()
            node.take(list(self.sent)[-20:])
            node.arrange()
        node.open.close()
        if dice.random() < 0.2:
            shutil.rmtree(node.root / ".antsmem/cache")
        node.start()
        self.sent.update(dict.fromkeys(node.lines()))

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            for node in self.nodes:
                node.open.close()
            shutil.rmtree(self.place, ignore_errors=True)

    def finish(self) -> None:
        for turn in range(3):
            for node in self.nodes:
                node.arrange()
                self.sent.update(dict.fromkeys(node.record()))
            for place, node in enumerate(self.nodes):
                lines = list(self.sent)
                random.Random(turn * 3 + place).shuffle(lines)
                node.take(lines)
                node.arrange()
        trees = [node.files() for node in self.nodes]
        assert trees[0] == trees[1] == trees[2], "the workspaces differ"
        assert len({state_digest(node.open.index) for node in self.nodes}) == 1
        for node in self.nodes:
            open_still = node.open.index.dirty() + node.open.index.held()
            assert open_still == [], "a device still has something to settle"
        standing = set(WORD.findall(b"\n".join(trees[0].values())))
        lost = self.words - self.gone - standing
        assert not lost, f"lost: {sorted(lost)}"


def run(runs: int, more: int = 0) -> None:
    """So many runs of the machine; other ones for each `more`."""
    machine: Any = Machine
    profile = settings(
        max_examples=runs,
        stateful_step_count=LENGTH,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],  # shrinking a run of files takes minutes; the blob repeats it
        print_blob=True,
    )
    run_state_machine_as_test(seed(SEED + more)(machine), settings=profile)


def test_three_devices_on_a_bad_network_end_identical_and_lose_nothing() -> None:
    Machine.steps, more = 0, 0
    try:
        while Machine.steps < STEPS:
            run(RUNS, more)
            more += 1
    finally:
        tally(TALLY)["steps"] += Machine.steps


def without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(_merge: Any, path: str, heads: Any, stays: Any) -> Any:
        return outcome.Outcome(path, (outcome._as_it_is(path, stays, heads.all),))

    monkeypatch.setattr(outcome, "_beside", alone)


def newest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def newest(_merge: Any, path: str, heads: Any) -> Any:
        return outcome.Outcome(path, (outcome._as_it_is(path, heads.distinct[0], heads.all),))

    monkeypatch.setattr(outcome, "_merged", newest)


def last_to_arrive_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, turn = Index.add_revision, itertools.count()

    def add(index: Index, past: Past) -> None:
        entered(index, replace(past, clock=f"{next(turn):018d}"))

    monkeypatch.setattr(Index, "add_revision", add)


def twice_is_applied_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    considered, turn = intake._Intake.consider, itertools.count()

    def consider(self: Any, event: Event, spot: Any) -> None:
        known = event.sequence <= self.heads.get(event.device, NOTHING).sequence
        considered(self, event, spot)
        past, _ = self.read(event)
        if known and past is not None:
            self.index.add_revision(replace(past, id=f"{next(turn):026d}"))

    monkeypatch.setattr(intake._Intake, "consider", consider)


@pytest.mark.parametrize("broken", [without_copies, newest_wins, last_to_arrive_wins, twice_is_applied_twice])
def test_control_a_wrong_merge_is_caught(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    Machine.steps = 0
    with pytest.raises((AssertionError, NotFoundError)):  # whichever promise it breaks first in these runs
        run(4 * RUNS)
    tally(TALLY)[f"steps until {broken.__name__} was caught"] += Machine.steps
