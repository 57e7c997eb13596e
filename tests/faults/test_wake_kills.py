"""Goal: a wake that is killed at any system call leaves two tasks that each happen once, and are told of once.

Method: as for `once` (test_once_kills.py): SIGKILL by strace at the entry of a system call of the wake's process,
under four policies, where nothing was done before and where a run was cut off. Then wakes come by, an hour apart,
until nothing is open; where a key is held, a person looks at the world and says what is true. Control: a wake that
blindly starts again what may have happened is seen to do it twice.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from engines import UnavailableError
from memory import quick_directory
from sampling import SAMPLES, Sampler
from syscalls import Call, Tracer, strace
from test_once_kills import FRIDAY, POLICIES, Situation

from antsmem.cli import wakes
from antsmem.heartbeat import choice, daily, once, wake
from antsmem.heartbeat.journal import Journal, Places

LOADED = (wakes, wake, daily)
HOUR = 3_600_000_000_000
SITUATIONS = ("first", "died")
ACT = """[ "$1" = idempotent ] && grep -qxF "$ANTSMEM_KEY" WORLD || echo "$ANTSMEM_KEY" >> WORLD; echo done\n"""
KEYS = ("k@#once", "other@#once")


@dataclass
class WakeSituation(Situation):
    """A workspace in `world/agent` with two tasks that happen once, `k` by the policy, `other` with a question."""

    @property
    def agent(self) -> Path:
        return self.world / "agent"

    @property
    def months(self) -> Path:
        return self.agent / ".antsmem/heartbeat/journal"

    def words(self, key: str = "", ending: str = "") -> list[str]:
        return ["-C", str(self.agent), "heartbeat"]

    def run_line(self, policy: str) -> str:
        """A task's command."""
        return f"- run: sh {self.world}/act {policy}"

    def reset(self) -> None:
        super().reset()
        self.now_ns = FRIDAY + HOUR

    def settle(self) -> list[int]:
        """Wakes come by until nothing is open, and a person answers; their exit codes."""
        codes: list[int] = []
        until = time.monotonic() + 120
        while len(codes) < 12 and time.monotonic() < until:
            self.now_ns += HOUR
            ran = self.run(self.words())
            assert "Traceback" not in ran.err, ran.err
            codes.append(ran.code)
            journal = self.journal()
            if not journal.open and all(journal.last(key) is not None for key in KEYS):
                return codes
            for key, state in journal.open.items():
                if state == "HELD":
                    word = "done" if self.count(key) else "redo"
                    done = self.run(["-C", str(self.agent), "heartbeat", "resolve", key, word])
                    assert done.code in {0, 75}, done
            if "STARTED" in journal.open.values():  # its processes may still be at work: no wake that counts
                codes.pop()
                time.sleep(0.02)
        return codes

    def journal(self) -> Journal:
        return Journal(Places(self.months.parent, self.world / "no-index"))

    def wrong(self) -> list[str]:
        """Settle it, and say what is wrong."""
        codes = self.settle()
        found = []
        for key, policy in zip(KEYS, (self.policy, "hold"), strict=True):
            count, last = self.count(key), self.journal().last(key)
            if last is None or last.state != "DONE":
                found.append(f"{key} is {last.state if last else None}: {codes}")
            if count == 0 or (count > 1 and policy != "pure"):
                found.append(f"{key} happened {count} times: {codes}")
            told = sum(path.read_text().count(f"<!-- hb:{key} -->") for path in self.agent.glob("memory/*.md"))
            if told != 1:
                found.append(f"{key} is told {told} times in the daily log")
        return found

    def _prepare(self) -> None:
        (self.agent / ".antsmem").mkdir(parents=True)
        (self.agent / ".antsmem/agent.yaml").write_text('name: "kevin"\ntime_zone: "UTC"\n')
        (self.world / ".config/antsmem").mkdir(parents=True)
        (self.world / ".config/antsmem/config.yaml").write_text('heartbeat:\n  allow:\n    - "*"\n')
        effect = f"effect={self.policy}"
        if self.policy == "verify":
            effect = f'verify="grep -qxF k@#once {self.world}/world"'
        lines = f"{self.run_line(self.policy)} {{id=k once {effect}}}\n{self.run_line('hold')} {{id=other once}}\n"
        (self.agent / "HEARTBEAT.md").write_text(lines)
        (self.world / "act").write_text(ACT.replace("WORLD", f"{self.world}/world"))
        self.now_ns = FRIDAY
        if self.name == "died":
            self._died()
        self.now_ns = FRIDAY + HOUR

    def _died(self) -> None:
        """Both were started; then the machine went away: `other` had happened."""
        assert self.run(self.words()).code == 0
        (month,) = self.months.iterdir()
        kept = [line for line in month.read_bytes().splitlines(keepends=True) if b'"DONE"' not in line]
        month.write_bytes(b"".join(line for line in kept if b'"told"' not in line))
        shutil.rmtree(self.agent / "memory")
        (self.world / "world").write_text(f"{KEYS[1]}\n" + (f"{KEYS[0]}\n" if self.policy != "pure" else ""))


@pytest.fixture(scope="session")
def wakes_made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], WakeSituation]]:
    made: dict[tuple[str, str], WakeSituation] = {}
    with quick_directory(tmp_path_factory) as root:

        def give(name: str, policy: str) -> WakeSituation:
            if (name, policy) not in made:
                made[name, policy] = WakeSituation(name, policy, root / f"{name}-{policy}")
            return made[name, policy]

        yield give


@pytest.fixture(params=[f"{name} {policy}" for name in SITUATIONS for policy in POLICIES])
def situation(request: pytest.FixtureRequest, wakes_made: Callable[[str, str], WakeSituation]) -> WakeSituation:
    try:
        strace()
    except UnavailableError as error:
        if os.environ.get("ANTSMEM_REQUIRE_SERVERS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    found = wakes_made(*request.param.split())
    if not found.calls:
        if (
            len(list(found.root.parent.iterdir())) == 1
        ):  # bytecode is written now, and not by a run that is counted
            found.record()
        found.calls = found.record()
    return found


def test_a_kill_at_a_call_that_changes_the_disk_leaves_tasks_that_happen_once(
    situation: WakeSituation, sampler: Sampler
) -> None:
    _killed(situation, sampler, [call for call in situation.calls if call.changes])


def test_a_kill_at_any_other_call_leaves_tasks_that_happen_once(
    situation: WakeSituation, sampler: Sampler
) -> None:
    _killed(situation, sampler, [call for call in situation.calls if not call.changes])


def _killed(situation: WakeSituation, sampler: Sampler, calls: list[Call]) -> None:
    problems = []
    for call in sampler.some(calls, 0.5):
        situation.reset()
        ran = Tracer(situation.environment).struck(situation.argv(situation.words()), call, "signal=KILL")
        sampler.count("kills of wakes", ran.code == -9)
        assert ran.code == -9 or not call.changes, f"{situation.name}: not killed at {call}: {ran}"
        problems += [f"{situation.name} {situation.policy} killed at {call}: {what}" for what in situation.wrong()]
    assert problems == []


def test_a_disk_that_fails_in_a_wake_never_makes_anything_happen_twice(
    situation: WakeSituation, sampler: Sampler
) -> None:
    if SAMPLES != "all" and sampler.rng.random() > 0.5:
        return
    names = {"write", "fsync", "mkdir", "link", "rename", "openat"}
    changing = [call for call in situation.calls if call.changes and call.name in names]
    problems = []
    for call in sampler.some(changing, 0.5):
        situation.reset()
        ran = Tracer(situation.environment).struck(situation.argv(situation.words()), call, "error=ENOSPC")
        if "Traceback" in ran.err:
            problems.append(f"{situation.name} {situation.policy} ENOSPC at {call}: {ran.err[-300:]}")
        problems += [f"{situation.name} {situation.policy} ENOSPC {call}: {what}" for what in situation.wrong()]
        sampler.count("failing calls of wakes")
    assert problems == []


@pytest.mark.parametrize("policy", ["hold", "verify"])
def test_the_control_a_blind_retry_is_caught(
    policy: str, wakes_made: Callable[[str, str], WakeSituation], monkeypatch: pytest.MonkeyPatch
) -> None:
    situation = wakes_made("died", policy)
    situation.reset()
    assert situation.wrong() == []
    situation.reset()
    real = once.next_step

    def blind(last: object, *given: object, **how: object) -> str:
        step = real(last, *given, **how)  # type: ignore[arg-type]
        return "start" if step in {"ask", "hold"} else step

    monkeypatch.setattr(once, "next_step", blind)
    monkeypatch.setattr(choice, "next_step", blind)
    assert [what for what in situation.wrong() if "happened 2 times" in what] != []
