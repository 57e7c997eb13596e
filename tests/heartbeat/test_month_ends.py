"""Goal: what was over before a month ended stays so, although the new month's file does not name it any more.

Method: an action is a function of the test: while it runs, other wakes come by and the month ends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wake_worlds import DAY, MINUTE, WakeWorld

from antsmem.heartbeat import once
from antsmem.heartbeat.action import Action, Output
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import Ended

MONTH_END = 1_796_083_080  # 2026-11-30T23:58:00Z
TWO = "- run: slow {id=slow every=1h}\n- run: post {id=post every=1h}\n- run: third {id=third every=1000h}\n"
ONCE = "- run: post {id=post once}\n"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WakeWorld:
    made = WakeWorld(tmp_path)
    made.now = MONTH_END
    acts(made, monkeypatch)
    return made


def acts(world: WakeWorld, put: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Actions are lines in the world; while the first of `slow` runs, `meanwhile` happens."""
    waiting = [meanwhile]

    def act(what: Action, *_: Any) -> tuple[Ended, Output]:
        if what.argv == ("slow",) and waiting:
            waiting.pop()()
        with (world.root / "world").open("a") as lines:
            lines.write(what.environment["ANTSMEM_KEY"] + "\n")
        return Ended(0), Output(0, 0, False)

    put.setattr(once, "run_action", act)


def woken(world: WakeWorld, after: int = 0, **changes: Any) -> Any:
    """A wake that tells the daily log."""
    return world.wake(after, layout=world.layout, **changes)


def month(world: WakeWorld) -> str:
    return max(path.name for path in world.places.months.iterdir())


def test_what_another_wake_did_is_not_done_again_by_one_that_began_before(
    world: WakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(TWO)

    def meanwhile() -> None:
        assert [done.task for done in woken(world, MINUTE).done] == ["post", "third"]
        woken(world, 5 * MINUTE, now="third")
        assert month(world) == "2026-12.jsonl" and world.journal.last("post@2026-11-30T23:58:00Z") is None

    acts(world, monkeypatch, meanwhile)
    result = woken(world)
    assert world.did.count("post@2026-11-30T23:58:00Z") == 1
    assert [(done.task, done.state) for done in result.done] == [
        ("slow", "DONE"),
        ("post", "BUSY"),
        ("third", "BUSY"),
    ]
    assert result.code == 0


def test_what_a_person_dropped_is_not_started_by_a_wake_that_began_before(
    world: WakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(TWO)

    def meanwhile() -> None:
        resolve_effect(world.journal, "post@2026-11-30T23:58:00Z", "drop", world.now * 10**9)
        woken(world, 5 * MINUTE, now="third")

    acts(world, monkeypatch, meanwhile)
    woken(world)
    assert "post@2026-11-30T23:58:00Z" not in world.did


def test_what_happens_once_is_not_ordered_again_in_a_later_month(world: WakeWorld) -> None:
    world.write(ONCE)
    woken(world)
    assert world.did == ["post@#once"]
    assert [(done.state, done.ran) for done in woken(world, now="post").done] == [("DONE", False)]
    world.write(ONCE + "- run: news {id=news every=1h}\n")
    woken(world, 40 * DAY)
    assert [(done.state, done.ran) for done in woken(world, now="post").done] == [("DONE", False)]
    assert world.did.count("post@#once") == 1
