"""Goal: a wake does what is due, once; finishes what was cut off; tells a person what needs one, and nothing else.

Method: wakes in a workspace with a clock that is set, by real processes: shell commands of `run:` lines, and an
agent that reads its context on standard input and does well, forgets, lies, hangs or dies.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from wake_worlds import DAY, HOUR, MINUTE, WakeWorld

from antsmem.core.errors import BusyError
from antsmem.heartbeat.locks import run_lock
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.sweep import sweep_runs
from antsmem.heartbeat.wake import schedule_lock

WORK = "- Post {id=post every=1h}\n"
RUN = '- run: sh -c "echo $ANTSMEM_KEY >> $WORLD" {id=post every=1h}\n'


@pytest.fixture
def world(tmp_path: Path) -> WakeWorld:
    return WakeWorld(tmp_path)


def test_what_is_due_is_done_once_and_the_next_time_again(world: WakeWorld) -> None:
    world.write(WORK)
    first = world.wake()
    assert (first.code, first.notices) == (0, ())
    assert world.did == ["post@2026-11-20T15:30:00Z"]
    assert world.wake().done == () and world.wake(HOUR - 1).done == ()
    assert [done.state for done in world.wake(1).done] == ["DONE"]
    assert world.did == ["post@2026-11-20T15:30:00Z", "post@2026-11-20T16:30:00Z"]


def test_an_idle_wake_writes_nothing(world: WakeWorld) -> None:
    world.write(WORK)
    world.wake()
    before = world.journal.number
    for _ in range(5):
        result = world.wake(5 * MINUTE)
        assert (
            result.code == 0
            and not result.again
            and result.next_at == (world.now // HOUR * HOUR) + 5400 - HOUR * (world.now % HOUR < 1800)
        )
    assert world.journal.number == before


def test_no_file_and_an_empty_one_are_fine(world: WakeWorld) -> None:
    assert world.wake().code == 0
    world.write("# Heartbeat\n\n<!-- nothing -->\n")
    result = world.wake()
    assert (result.code, result.done, result.next_at) == (0, (), None)


def test_the_file_is_never_written_to(world: WakeWorld) -> None:
    world.write(WORK + "- [ ] Once {id=o once}\r\n- [x] done\n")
    before = world.file.read_bytes()
    world.wake()
    world.wake(HOUR)
    assert world.file.read_bytes() == before


def test_an_agent_that_forgets_to_report_is_not_believed_and_a_person_is_asked_once(world: WakeWorld) -> None:
    world.write(WORK)
    world.moods("forgets")
    result = world.wake()
    assert result.code == 3 and [done.why for done in result.done] == ["no-report"]
    assert "post@2026-11-20T15:30:00Z" in result.notices[0] and "resolve" in result.notices[0]
    again = world.wake(5 * MINUTE)
    assert again.code == 3 and again.notices == ()
    assert world.wake(DAY).notices != ()
    resolve_effect(world.journal, "post@2026-11-20T15:30:00Z", "done", world.now * 10**9)
    assert world.did.count("post@2026-11-20T15:30:00Z") == 1


@pytest.mark.parametrize(("mood", "state"), [("lies", "HELD"), ("dies", "HELD"), ("later", "FAILED")])
def test_a_turn_that_goes_wrong_is_never_done_and_never_repeated_blindly(
    world: WakeWorld, mood: str, state: str
) -> None:
    world.write(WORK)
    world.moods(mood)
    (done,) = world.wake().done
    assert done.state == state
    count = len(world.did)
    for _ in range(5):
        world.wake(5 * MINUTE)
    assert len(world.did) == count + (state == "FAILED")


def test_an_agent_that_hangs_is_ended_and_asked_about(world: WakeWorld) -> None:
    world.write("- Post {id=post every=1h timeout=1s}\n")
    world.moods("hangs")
    (done,) = world.wake().done
    assert (done.state, done.why) == ("HELD", "timeout")


def test_a_task_that_failed_and_was_taken_out_did_not_recover(world: WakeWorld) -> None:
    world.write("- Look {id=look every=1h effect=pure}\n")
    world.moods("fails")
    assert len(world.wake().notices) == 1
    world.write("- Other {id=other every=1h effect=pure}\n")
    assert world.wake(HOUR).notices == ()


def test_a_failure_is_tried_again_later_and_told_once_and_so_is_its_end(world: WakeWorld) -> None:
    world.write("- Look {id=look every=6h effect=pure}\n")
    world.moods("fails", "fails")
    first = world.wake()
    assert first.code == 5 and len(first.notices) == 1
    assert world.wake().done == (), "back-off"
    second = world.wake(HOUR)
    assert [done.state for done in second.done] == ["FAILED"] and second.notices == ()
    third = world.wake(HOUR)
    assert [done.state for done in third.done] == ["DONE"]
    assert third.code == 0 and third.notices == ("`look`: recovered",)
    assert world.wake(MINUTE).notices == ()


def test_what_was_cut_off_before_it_started_is_finished_first(world: WakeWorld) -> None:
    world.write(WORK + "- Other {id=other every=1h}\n")
    world.wake()
    with world.journal.deciding(world.now * 10**9) as _:
        pass
    journal = world.journal
    with journal.deciding(world.now * 10**9):
        journal.append(
            world.now * 10**9,
            {
                "kind": "state",
                "key": "other@x",
                "state": "PLANNED",
                "task": "other",
                "slot": "2026-11-20T15:30:01Z",
            },
        )
    assert [done.key for done in world.wake(60).done] == ["other@x"]


@pytest.mark.parametrize(
    ("effect", "state"), [("hold", "HELD"), ("retry", "DONE"), ("idempotent", "DONE"), ("pure", "DONE")]
)
def test_what_died_in_the_middle_is_held_or_done_again_by_its_kind(
    world: WakeWorld, effect: str, state: str
) -> None:
    world.write(f"- Post {{id=post every=6h effect={effect}}}\n")
    started(world, "post@2026-11-20T15:30:00Z", "post", effect)
    (done,) = world.wake(60).done
    assert done.state == state and len(world.did) == (state == "DONE")


def test_what_died_in_the_middle_is_asked_about_where_somebody_can_be_asked(world: WakeWorld) -> None:
    for happened in (True, False):
        key = f"post@2026-11-20T15:3{int(happened)}:00Z"
        world.write('- Post {id=post every=6h verify="grep -qxF ' + key + f' {world.root}/world"' + "}\n")
        if happened:
            (world.root / "world").write_text(f"{key}\n")
        started(world, key, "post", "verify")
        world.wake(1)
        assert world.journal.last(key).state == "DONE"  # type: ignore[union-attr]
        assert world.did.count(key) == 1


def started(world: WakeWorld, key: str, task: str, effect: str) -> None:
    """A start whose process is gone."""
    journal, now = world.journal, world.now * 10**9
    slot = key.partition("@")[2]
    whose = {"kind": "state", "key": key, "task": task, "slot": slot}
    with journal.deciding(now):
        fact = {"anchor": slot, "path": [], "title": "Post", "when": "every 6h"}
        journal.append(
            now,
            {"kind": "fact", "fact": f"task:{task}", "value": fact},
            {**whose, "state": "PLANNED"},
            {**whose, "state": "STARTED", "attempt": 1, "effect": effect, "run": "0" * 24, "pid": 1},
        )


def test_a_task_that_is_gone_is_not_started_again(world: WakeWorld) -> None:
    world.write("- Look {id=look every=1h effect=pure}\n")
    world.moods("fails")
    world.wake()
    world.write("- Else {id=else every=1d}\n")
    result = world.wake(MINUTE)
    assert [(skip.task, skip.why) for skip in result.skipped] == [("look", "superseded")]
    assert world.journal.open == {}


def test_a_dry_run_changes_nothing(world: WakeWorld) -> None:
    world.write(WORK)
    assert [done.key for done in world.wake(dry_run=True).done] == ["post@2026-11-20T15:30:00Z"]
    assert world.journal.number == 0 and not world.places.locks.exists()


def test_a_second_wake_at_the_same_time_is_busy_and_one_beside_a_long_task_is_not(world: WakeWorld) -> None:
    world.write(WORK + "- Other {id=other every=1h}\n")
    with schedule_lock(world.journal), pytest.raises(BusyError):
        world.wake()
    with run_lock(world.places.locks, "post@2026-11-20T15:30:00Z"):
        result = world.wake()
    assert [(done.task, done.state) for done in result.done] == [("post", "BUSY"), ("other", "DONE")]
    started(world, "post@2026-11-20T16:00:00Z", "post", "hold")
    with run_lock(world.places.locks, "post@2026-11-20T16:00:00Z"):
        result = world.wake(2 * HOUR)
    assert result.busy == ("post@2026-11-20T16:00:00Z",)
    assert [done.task for done in result.done] == ["other"], "one slot of a task at a time"


def test_an_edited_task_goes_on_under_its_name(world: WakeWorld) -> None:
    world.write("- Read the forum and answer {every=6h}\n")
    (done,) = world.wake().done
    world.write("- Read the forum and answer! {every=6h}\n")
    assert world.wake(MINUTE).done == ()
    (after,) = world.wake(6 * HOUR).done
    assert after.task == done.task


def test_a_task_that_may_be_an_edited_one_and_happens_once_is_held(world: WakeWorld) -> None:
    world.write("- Tell the whole team about part 1 {once}\n- Tell the whole team about part 2 {once}\n")
    world.wake()
    assert len(world.did) == 2
    world.write("- Tell the whole team about part 3 {once}\n")
    result = world.wake(MINUTE)
    assert len(world.did) == 2 and result.code == 3
    assert [question.why for question in result.questions] == ["renamed"]
    resolve_effect(world.journal, result.questions[0].key, "redo", world.now * 10**9)
    assert [done.state for done in world.wake(MINUTE).done] == ["DONE"]


def test_once_happens_once_whatever_the_clock_does(world: WakeWorld) -> None:
    world.write('- Post {id=o once at="2026-11-20 15:40"}\n')
    assert world.wake().done == ()
    assert [done.key for done in world.wake(10 * MINUTE).done] == ["o@#once"]
    for jump in (-DAY, DAY, 40 * DAY, -60 * DAY):
        assert world.wake(jump).done == ()


def test_a_time_to_try_again_that_a_wrong_clock_wrote_is_not_waited_for(world: WakeWorld) -> None:
    world.write("- Post it {id=post once effect=retry}\n")
    world.moods("fails")
    assert world.wake(400 * DAY).code == 5
    assert [done.state for done in world.wake(-400 * DAY).done] == ["DONE"]
    assert world.did == ["post@#once"]


def test_the_daily_log_has_one_line_a_key(world: WakeWorld) -> None:
    world.write(WORK)
    for _ in range(3):
        world.wake(HOUR, layout=world.layout)
    text = "".join(path.read_text() for path in world.layout.memory.iterdir())
    assert text.count("<!-- hb:post@") == 3


def test_a_plan_with_an_error_is_told_and_the_rest_runs(world: WakeWorld) -> None:
    world.write("- a {evry=1h}\n- b {id=b every=1h}\n")
    result = world.wake()
    assert result.code == 2 and "did you mean `every`" in result.notices[0]
    assert [done.task for done in result.done] == ["b"]


def test_old_runs_are_swept_but_not_those_that_somebody_needs(world: WakeWorld) -> None:
    world.write(WORK)
    world.moods("forgets")
    world.wake()
    held = world.journal.last("post@2026-11-20T15:30:00Z")
    assert held is not None
    for number in range(60):
        (world.places.runs / f"{number:024x}").mkdir()
    for folder in world.places.runs.iterdir():
        os.utime(folder, (world.now, world.now))
    assert sweep_runs(world.journal, (world.now + 29 * DAY) * 10**9) == 0
    assert sweep_runs(world.journal, (world.now + 31 * DAY) * 10**9) == 60
    assert [folder.name for folder in world.places.runs.iterdir()] == [held.text("run")]


def test_a_damaged_journal_makes_no_slot_happen_again(world: WakeWorld) -> None:
    """Control included: without the record of the start, and without damage, it would run."""
    world.write(WORK)
    world.wake()
    (month,) = world.places.months.iterdir()
    lines = month.read_bytes().splitlines(keepends=True)
    month.write_bytes(b"".join(line[:-9] + b"XXXXXXXX\n" if b'"key":"post' in line else line for line in lines))
    (world.root / "index").unlink(missing_ok=True)
    result = world.wake(MINUTE)
    assert len(world.did) == 1 and [done.state for done in result.done] == ["HELD"]
    month.write_bytes(b"".join(line for line in lines[:2]))
    world.wake(MINUTE)
    assert len(world.did) == 2, "the control: what nobody recorded happens"
