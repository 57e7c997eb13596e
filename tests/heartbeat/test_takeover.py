"""Goal: after a take-over nothing starts by itself that the host before may have done, and nothing more is asked.

Method: a workspace is copied, the host goes on with it and is lost; the copy takes over, with HEARTBEAT.md as it
came to be in between.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from wake_worlds import DAY, HOUR, WakeWorld

from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.plan import Zone
from antsmem.heartbeat.progress import stand
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.takeover import doubts

ONCE = "- {}Post {{id=post once}}\n"
DAILY = "- {}Look {{id=look every=15:30}}\n"


@pytest.fixture
def world(tmp_path: Path) -> WakeWorld:
    return WakeWorld(tmp_path)


def lost(world: WakeWorld, copy: Path) -> None:
    """The workspace is as it was when `copy` was made, but for HEARTBEAT.md."""
    text = world.file.read_text()
    shutil.rmtree(world.layout.root)
    copy.rename(world.layout.root)
    world.write(text)
    world.places.index.unlink(missing_ok=True)


def take_over(world: WakeWorld) -> list[str]:
    """Of which keys that raises a doubt."""
    now_ns, data = world.now * 10**9, world.file.read_bytes()
    journal = Journal(world.places)
    plan = stand(journal, read_plan(data, Zone("UTC", "file")), data, now_ns).plan
    unsure = list(doubts(plan, journal, now_ns))
    with journal.deciding(now_ns):
        journal.append(now_ns, {"kind": "take-over", "epoch": 1, "host": "b", "doubt": True}, *unsure)
    return [each["key"] for each in unsure if each["kind"] == "state"]


def copied(world: WakeWorld) -> Path:
    copy = world.root / "copy"
    shutil.copytree(world.layout.root, copy)
    return copy


@pytest.mark.parametrize("mark", ["[paused] ", "[x] "])
def test_what_is_held_back_during_a_take_over_is_asked_about_when_it_may_run_again(
    world: WakeWorld, mark: str
) -> None:
    world.write("- Other {id=other every=1h}\n")
    world.wake()
    copy = copied(world)
    world.write(ONCE.format(""))
    world.wake()
    assert world.did.count("post@#once") == 1
    world.write(ONCE.format(mark))
    lost(world, copy)
    assert take_over(world) == ["post@#once"]
    assert world.wake().questions == () and world.wake(HOUR).questions == ()
    world.write(ONCE.format(""))
    assert [(each.key, each.why) for each in world.wake().questions] == [("post@#once", "take-over")]
    assert world.did.count("post@#once") == 1


def test_a_slot_of_before_a_take_over_does_not_come_when_its_task_goes_on(world: WakeWorld) -> None:
    world.write(DAILY.format(""))
    world.wake(-HOUR)
    copy = copied(world)
    world.wake(HOUR)
    assert world.did == ["look@2026-11-20T15:30:00Z"]
    world.write(DAILY.format("[paused] "))
    lost(world, copy)
    world.now += HOUR
    take_over(world)
    world.write(DAILY.format(""))
    world.wake(HOUR)
    assert world.did.count("look@2026-11-20T15:30:00Z") == 1


def test_nothing_is_asked_about_what_was_done_in_an_earlier_month(world: WakeWorld) -> None:
    world.write(ONCE.format(""))
    world.wake(layout=world.layout)
    world.write(ONCE.format("") + DAILY.format(""))
    world.wake(40 * DAY, layout=world.layout)
    assert take_over(world) == []
