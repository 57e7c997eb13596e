"""Goal: a wake keeps to every limit: what is allowed and approved, quiet hours, budgets, breaker, who works.

Method: as in test_wake.py: wakes by real processes in a workspace with a clock that is set.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from wake_worlds import DAY, HOUR, MINUTE, WakeWorld

from antsmem.core.errors import BackendError, NotFoundError, RetiredError
from antsmem.core.record import replace
from antsmem.core.wakeconfig import Budget, WakeConfig
from antsmem.heartbeat.hand import pause_task, resume_task

WORK = "- Post {id=post every=1h}\n"
RUN = '- run: sh -c "echo $ANTSMEM_KEY >> $WORLD" {id=post every=1h}\n'


@pytest.fixture
def world(tmp_path: Path) -> WakeWorld:
    return WakeWorld(tmp_path)


def test_a_run_line_runs_only_where_the_operator_allows_it(world: WakeWorld) -> None:
    world.write(RUN)
    world.config = WakeConfig(allow=(("sh", "-c", "true"),))
    result = world.wake()
    assert result.code == 2 and world.did == [] and "not allowed" in result.notices[0]
    world.config = WakeConfig(allow=(("sh", "*"),))
    assert world.wake().code == 0 and world.did == ["post@2026-11-20T15:30:00Z"]


def test_without_an_agent_what_wants_one_waits_and_is_told(world: WakeWorld) -> None:
    world.write(WORK)
    agent, world.agent = world.agent, None
    result = world.wake()
    assert result.code == 2 and "none is configured" in result.notices[0]
    world.agent = agent
    assert world.wake().done[0].state == "DONE"


def test_a_file_that_was_not_approved_starts_nothing_where_trust_is_pin(world: WakeWorld) -> None:
    world.write(WORK)
    world.config = WakeConfig(trust="pin")
    result = world.wake()
    assert result.code == 3 and world.did == [] and "approve" in result.notices[0]
    assert world.wake().notices == ()
    assert world.wake(approved=result.sha256).done[0].state == "DONE"
    world.write(WORK + "- And this {id=new every=1h}\n")
    assert world.wake(HOUR, approved=result.sha256).done == () and len(world.did) == 1


def test_what_was_told_is_not_told_again_because_the_file_was_not_approved(world: WakeWorld) -> None:
    world.write(WORK)
    world.moods("forgets")
    sha256 = world.wake().sha256
    world.config = replace(world.config, trust="pin")
    assert len(world.wake().notices) == 1
    assert world.wake(approved=sha256).notices == ()


def test_three_tasks_a_wake_oldest_first(world: WakeWorld) -> None:
    world.write("".join(f"- Task {n} {{id=t{n} every=1h}}\n" for n in range(5)))
    assert [done.task for done in world.wake().done] == ["t0", "t1", "t2"]
    assert [done.task for done in world.wake().done] == ["t3", "t4"]


def test_a_newer_slot_takes_the_place_of_one_that_waits(world: WakeWorld) -> None:
    world.write("- Look {id=look every=1h effect=pure}\n")
    world.moods("fails", "fails", "fails")
    for _ in range(3):
        world.wake(5 * MINUTE)
    result = world.wake(HOUR)
    assert "superseded" in {skip.why for skip in result.skipped}
    assert [done.state for done in result.done] == ["DONE"]


def test_missed_slots_are_recorded_and_never_come_back(world: WakeWorld) -> None:
    world.write(WORK)
    world.wake()
    result = world.wake(5 * HOUR)
    assert [(skip.why, skip.count) for skip in result.skipped] == [("missed", 4)]
    assert len(world.did) == 2
    world.now -= 3 * HOUR
    assert world.wake().done == () and world.wake(3 * HOUR).done == ()


def test_quiet_hours_hold_what_is_not_urgent_and_its_retries(world: WakeWorld) -> None:
    matter = "---\nheartbeat: 1\ntz: UTC\nquiet: 15:00-17:00\n---\n"
    world.write(matter + "- a {id=a every=1h effect=pure}\n- b {id=b every=1h urgent}\n")
    result = world.wake()
    assert [done.task for done in result.done] == ["b"] and result.quiet == ("a@2026-11-20T15:30:00Z",)
    world.moods("good", "fails")
    assert {done.task for done in world.wake(90 * MINUTE).done} == {"a", "b"}


def test_after_five_failures_a_task_is_tried_every_six_hours_and_after_ten_it_is_off(world: WakeWorld) -> None:
    world.write("- Look {id=look every=10m effect=pure}\n")
    world.moods(*["fails"] * 40)
    said: list[str] = []
    tried: list[int] = []
    for _ in range(6 * 60):
        result = world.wake(10 * MINUTE)
        said += result.notices
        tried += [world.now] * sum(done.ran for done in result.done)
    assert world.journal.mark("look").failures == 10
    later = [after - before for before, after in pairwise(tried[5:])]
    assert later and min(later) >= 6 * HOUR
    off = [line for line in said if "it is off" in line]
    assert len(off) == 1 and "heartbeat resume look" in off[0]
    assert "breaker" in {entry.text("why") for entry in world.journal.entries()}
    world.moods()
    resume_task(world.journal, "look", world.now * 10**9)
    assert [done.state for done in world.wake(10 * MINUTE).done] == ["DONE"]


def test_a_budget_that_is_used_up_skips_until_the_next_day(world: WakeWorld) -> None:
    world.write("- a {id=a every=1h}\n- b {id=b every=1h}\n")
    world.config = WakeConfig(task=Budget(turns=2), day=Budget(turns=3))
    why: list[str] = []
    for _ in range(4):
        why += [skip.why for skip in world.wake(HOUR).skipped]
    assert len(world.did) == 3 and set(why) == {"budget"}
    world.wake(DAY)
    assert len(world.did) == 5


def test_a_paused_task_waits_until_it_is_resumed(world: WakeWorld) -> None:
    world.write(WORK)
    pause_task(world.journal, "post", world.now * 10**9)
    assert world.wake().done == () and world.wake(HOUR).done == ()
    resume_task(world.journal, "post", world.now * 10**9)
    assert [done.state for done in world.wake().done] == ["DONE"]


def test_a_person_can_order_a_task_now(world: WakeWorld) -> None:
    world.write("- a {id=a every=6h}\n- b {id=b every=1h}\n")
    assert [done.task for done in world.wake(now="b").done] == ["b"]
    assert [done.key for done in world.wake(MINUTE, now="b").done] == ["b@run-2026-11-20T15:31:00Z"]
    assert [done.task for done in world.wake(only="b").done] == []
    assert [done.task for done in world.wake().done] == ["a"]
    with pytest.raises(NotFoundError):
        world.wake(now="nobody")


def test_the_exit_code_of_an_ordered_task_is_about_that_task(world: WakeWorld) -> None:
    world.write("- a {id=a every=6h}\n- b {id=b every=6h}\n")
    world.moods("forgets")
    assert world.wake(now="a").code == 3
    assert world.wake(now="b").code == 0 and world.wake().code == 3


def test_a_retired_host_starts_nothing(world: WakeWorld) -> None:
    world.write(WORK)

    def retired() -> int:
        raise RetiredError("retired")

    with pytest.raises(RetiredError):
        world.wake(require=retired)
    assert world.did == [] and world.journal.number == 0


def test_where_no_witness_answers_only_pure_work_goes_on(world: WakeWorld) -> None:
    world.write("- a {id=a every=1h}\n- b {id=b every=1h effect=pure}\n")

    def silent() -> None:
        raise BackendError("the witness does not answer")

    result = world.wake(witness=silent)
    assert [done.task for done in result.done] == ["b"] and result.code == 5
    assert [done.task for done in world.wake().done] == ["a"]
