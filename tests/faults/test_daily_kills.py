"""Goal: the daily log has one line about a piece of work, wherever the wake that did it is killed.

Method: SIGKILL at the entry of a system call, sent by strace; then the wake comes again until the work is done,
and the lines are counted. Controls: a teller that does not look for its line writes it twice, one that keeps its
books first loses it; the same sweep must notice both.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from daily_launcher import KEY, turn
from engines import required
from launcher import IDLE
from memory import quick_directory
from sampling import Sampler
from syscalls import Call, Tracer, strace

import antsmem
from antsmem.heartbeat.journal import Journal, Places

FRIDAY = 1_795_188_211_000_000_000
LAUNCHER = [sys.executable, "-X", "frozen_modules", str(Path(__file__).with_name("daily_launcher.py"))]
MARK = re.compile(r"<!-- (\S+) -->$", re.MULTILINE)
SHARE = 3


class Wake:
    """A workspace in which one piece of work is due."""

    def __init__(self, root: Path) -> None:
        self.root = root / "agent"
        code = str(Path(antsmem.__file__).parents[1])
        environment = {"HOME": str(root), "PATH": os.environ["PATH"], "PYTHONPATH": code, "PYTHONHASHSEED": "0"}
        self.tracer = Tracer(environment)

    def argv(self, broken: str = "") -> list[str]:
        return [*LAUNCHER, str(FRIDAY), *(["--break", broken] if broken else []), str(self.root)]

    def reset(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "memory").mkdir(parents=True)
        (self.root / "world").touch()
        (self.root / "memory/2026-11-20.md").write_text("# 2026-11-20\n\nmorning\n")

    def calls(self, broken: str = "") -> list[Call]:
        self.reset()
        self.tracer.calls(self.argv(broken), every=True)  # bytecode is written now
        self.reset()
        ran, calls = self.tracer.calls(self.argv(broken), every=True)
        assert ran.code == 0, ran
        return [call for call in calls if call.thread == 0 and (not call.others or call.name in IDLE)]

    def struck(self, call: Call, broken: str = "") -> int:
        self.reset()
        return self.tracer.struck(self.argv(broken), call, "signal=KILL").code

    def wrong(self, broken: str = "") -> list[str]:
        """Wake until the work is done, and say what is wrong then."""
        for _ in range(4):
            if turn(self.root, FRIDAY, broken) == "DONE":
                break
        text = (self.root / "memory/2026-11-20.md").read_text()
        done = MARK.findall(text).count(f"hb:{KEY}")
        found = [] if done == 1 else [f"{done} lines of {KEY}"]
        lines = [line for line in text.splitlines() if line.startswith("- ")]
        found += [f"a line that is cut: {line}" for line in lines if not MARK.search(line)]
        found += [f"line {line!r} twice" for line in {line for line in lines if lines.count(line) > 1}]
        home = self.root / ".antsmem/heartbeat"
        found += ["still owed"] if Journal(Places(home, home / "index")).untold() else []
        happened = (self.root / "world").read_text().count(KEY)
        return found if happened == 1 else [*found, f"the work was done {happened} times"]


@pytest.fixture(scope="module")
def wake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wake]:
    with required():
        strace()
    with quick_directory(tmp_path_factory) as root:
        yield Wake(root)


def swept(wake: Wake, calls: Sequence[Call], broken: str = "") -> list[str]:
    """Kill at each of `calls`; the first thing that went wrong."""
    for call in calls:
        code = wake.struck(call, broken)
        assert code == -9 or not call.changes, f"not killed at {call}"
        if found := wake.wrong(broken):
            return [f"killed at {call}: {what}" for what in found]
    return []


def test_a_kill_at_any_call_leaves_one_line(wake: Wake, sampler: Sampler) -> None:
    calls = wake.calls()
    changing, others = [call for call in calls if call.changes], [call for call in calls if not call.changes]
    assert any("memory/2026-11-20.md" in call.text for call in changing) and len(changing) > 20
    chosen = [*sampler.some(changing, SHARE), *sampler.some(others, 1)]
    sampler.count("kills around the daily log", len(chosen))
    assert swept(wake, chosen) == []


@pytest.mark.parametrize(("broken", "where", "how"), [
    ("not-looked-for", "journal/", "2 lines"), ("told-first", "memory/", "0 lines"),
])  # fmt: skip
def test_control_the_sweep_notices_a_teller_without_care(wake: Wake, broken: str, where: str, how: str) -> None:
    calls = [call for call in wake.calls(broken) if call.name == "write" and where in call.text]
    found = swept(wake, calls[-1:], broken)
    assert found and how in found[0]
