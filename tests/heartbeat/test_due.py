"""Goal: every slot is passed on at most once, none is lost without a word, whatever the clock and the host do.

Method: policies one by one; then lives: wakes at arbitrary instants, the clock jumping both ways, what was decided
recorded as a runner would. No slot may come twice; due and skipped together must be all slots that there were.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from antsmem.heartbeat.due import MOST_CAUGHT_UP, Decision, Progress, decide, next_of, next_slots
from antsmem.heartbeat.plan import Plan, Zone, grace_seconds
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.schedule import DAY, HOUR, MINUTE, Once, Tick
from antsmem.heartbeat.slots import NANO, next_slot, parse_slot

NOON = parse_slot("2026-11-20T12:00:00Z")  # a Friday


def plan_of(text: str, zone: str = "UTC") -> Plan:
    return read_plan(text.encode(), Zone(zone, "host"))


def at(plan: Plan, now: int, **progress: Progress) -> Decision:
    return decide(plan, {key.replace("_", "-"): value for key, value in progress.items()}, now * NANO)


def due(decision: Decision) -> list[str]:
    return [slot.key for slot in decision.due]


def record(decision: Decision, progress: dict[str, Progress]) -> None:
    """What a runner writes down of a decision: anchors, then high-water marks."""
    for task, anchor in decision.anchors.items():
        progress[task] = Progress(anchor)
    for task_id, slot in [
        *((skip.task.id, skip.last) for skip in decision.skipped),
        *((slot.task.id, slot.at) for slot in decision.due),
    ]:
        before = progress[task_id]
        progress[task_id] = Progress(before.anchor, max(slot, before.high if before.high is not None else slot))


def test_prose_is_due_once_a_tick() -> None:
    plan = plan_of("- look\n")
    first = at(plan, NOON + 61)
    assert due(first) == ["heartbeat@2026-11-20T12:00:00Z"]
    assert due(at(plan, NOON + 29 * MINUTE, heartbeat=Progress(NOON, NOON))) == []
    assert due(at(plan, NOON + 30 * MINUTE, heartbeat=Progress(NOON, NOON))) == ["heartbeat@2026-11-20T12:30:00Z"]


def test_an_empty_file_and_what_does_not_run_are_never_due() -> None:
    for text in ("", "# T\n", "- [x] a {id=a every=1h}\n", "- [paused] a {id=a every=1h}\n", "- a {evry=1h}\n"):
        assert at(plan_of(text), NOON) == Decision()


def test_an_interval_counts_from_the_first_sight_and_does_not_drift() -> None:
    plan = plan_of("- a {id=a every=4h}\n")
    first = at(plan, NOON + 75)
    assert first.anchors == {"a": NOON + MINUTE} and due(first) == ["a@2026-11-20T12:01:00Z"]
    late = at(plan, NOON + 4 * HOUR + 50 * MINUTE, a=Progress(NOON + MINUTE, NOON + MINUTE))
    assert due(late) == ["a@2026-11-20T16:01:00Z"]
    later = at(plan, NOON + 8 * HOUR + 2 * MINUTE, a=Progress(NOON + MINUTE, late.due[0].at))
    assert due(later) == ["a@2026-11-20T20:01:00Z"]


def test_a_new_task_does_not_make_up_for_times_before_it_was_seen() -> None:
    plan = plan_of("- a {id=a every=09:00}\n- b {id=b every=daily}\n- c {id=c every=weekly}\n")
    assert due(at(plan, NOON)) == ["c@2026-11-16T00:00:00Z", "b@2026-11-20T00:00:00Z"]


def test_the_wake_that_first_sees_a_task_may_be_the_one_for_it() -> None:
    plan = plan_of("- a {id=a every=12:00}\n")
    assert due(at(plan, NOON + 5)) == ["a@2026-11-20T12:00:00Z"]
    assert due(at(plan, NOON + 5 * MINUTE)) == []


def test_the_newest_missed_slot_runs_once_and_the_others_are_named() -> None:
    plan = plan_of("- a {id=a every=11:00}\n")
    decision = at(plan, NOON, a=Progress(NOON - 9 * DAY, NOON - 5 * DAY - HOUR))
    assert due(decision) == ["a@2026-11-20T11:00:00Z"]
    (skip,) = decision.skipped
    assert (skip.why, skip.count, skip.last) == ("missed", 4, NOON - DAY - HOUR)


def test_what_is_too_late_is_skipped_and_said() -> None:
    plan = plan_of("- a {id=a every=06:00}\n- b {id=b every=06:00 grace=7h}\n")
    progress = Progress(NOON - 9 * DAY, NOON - DAY - 6 * HOUR)
    decision = at(plan, NOON, a=progress, b=progress)
    assert due(decision) == ["b@2026-11-20T06:00:00Z"]
    assert [(skip.task.id, skip.why, skip.last) for skip in decision.skipped] == [("a", "grace", NOON - 6 * HOUR)]


def test_all_makes_up_for_ten_and_none_for_nothing() -> None:
    plan = plan_of("- a {id=a every=1h catchup=all}\n- n {id=n every=1h catchup=none}\n")
    progress = Progress(NOON - DAY, NOON - 20 * HOUR)
    decision = at(plan, NOON + 20 * MINUTE, a=progress, n=progress)
    assert [slot.at for slot in decision.due if slot.task.id == "a"] == [
        NOON - hours * HOUR for hours in range(MOST_CAUGHT_UP - 1, -1, -1)
    ]
    assert [slot.at for slot in decision.due if slot.task.id == "n"] == [NOON]
    late = at(plan, NOON + 45 * MINUTE, a=progress, n=progress)
    assert "n" not in {slot.task.id for slot in late.due}
    assert {(skip.task.id, skip.why) for skip in late.skipped} == {("a", "missed"), ("n", "missed")}


def test_once_is_once_however_late() -> None:
    plan = plan_of('- a {id=a once at="2026-01-01 09:00"}\n- b {id=b once}\n')
    assert due(at(plan, NOON)) == ["a@#once", "b@#once"]
    done = Progress(NOON, NOON)
    assert due(at(plan, NOON + 99 * DAY, a=done, b=done)) == []
    moved = plan_of('- a {id=a once at="2026-12-24 09:00"}\n')
    assert due(at(moved, NOON + 99 * DAY, a=done)) == []


def test_quiet_hours_hold_what_is_not_urgent_until_they_end() -> None:
    text = "---\nheartbeat: 1\nquiet: 11:00-13:30\n---\n- a {id=a every=11:30}\n- u {id=u every=11:30 urgent}\n"
    plan = plan_of(text)
    progress = Progress(NOON - DAY, NOON - 10 * HOUR)
    held = at(plan, NOON, a=progress, u=progress)
    assert due(held) == ["u@2026-11-20T11:30:00Z"]
    assert [(hold.slot.key, hold.until) for hold in held.held] == [("a@2026-11-20T11:30:00Z", NOON + 90 * MINUTE)]
    assert due(at(plan, NOON + 90 * MINUTE, a=progress, u=Progress(NOON, NOON))) == ["a@2026-11-20T11:30:00Z"]
    assert due(at(plan, NOON + 5 * HOUR, a=progress, u=Progress(NOON, NOON))) == ["a@2026-11-20T11:30:00Z"]
    assert due(at(plan, NOON + 6 * HOUR, a=progress, u=Progress(NOON, NOON))) == []


def test_quiet_hours_may_pass_midnight() -> None:
    plan = plan_of("---\nheartbeat: 1\nquiet: 22:00-07:00\n---\n- look\n")
    for hour, runs in ((21, True), (22, False), (23, False), (24, False), (30, False), (31, True)):
        decision = at(plan, NOON - 12 * HOUR + hour * HOUR)
        assert bool(decision.due) == runs and bool(decision.held) == (not runs)


def test_quiet_hours_hold_although_something_else_is_wrong_with_the_file() -> None:
    plan = plan_of("---\nheartbeat: 1\ncolour: red\nquiet: 11:00-13:30\n---\n- look\n")
    assert plan.errors and not at(plan, NOON).due and at(plan, NOON).held


def test_the_oldest_comes_first() -> None:
    plan = plan_of("- look\n- a {id=a every=11:00}\n- b {id=b every=10:00}\n")
    progress = Progress(NOON - DAY, NOON - 10 * HOUR)
    decision = at(plan, NOON, a=progress, b=progress)
    assert [slot.task.id for slot in decision.due] == ["b", "a", "heartbeat"]


def test_a_clock_that_was_ahead_is_named() -> None:
    plan = plan_of("- a {id=a every=1h}\n- b {id=b every=09:00}\n")
    for years in (2, 5000, 1 << 40):
        ahead = Progress(NOON, NOON + years * 365 * DAY)
        decision = at(plan, NOON, a=ahead, b=ahead)
        assert not decision.due and [task.id for task in decision.ahead] == ["a", "b"]
        assert len(next_slots(plan, {"a": ahead, "b": ahead}, NOON * NANO, 3)) <= 3


def test_grace_is_never_shorter_than_two_ticks() -> None:
    plan = plan_of("- a {id=a every=30m}\n- b {id=b every=4h}\n- c {id=c every=3d}\n- d {id=d every=monthly}\n")
    graces = [grace_seconds(task, 30 * MINUTE) for task in plan.tasks]
    assert graces == [HOUR, 2 * HOUR, 12 * HOUR, 28 * DAY]


def test_what_comes_next_is_listed_in_order() -> None:
    plan = plan_of("- look\n- a {id=a every=13:00}\n- b {id=b every=45m}\n")
    slots = next_slots(plan, {"b": Progress(NOON, NOON), "heartbeat": Progress(NOON, NOON)}, NOON * NANO, 4)
    assert [(slot.task.id, slot.at - NOON) for slot in slots] == [
        ("heartbeat", 30 * MINUTE),
        ("b", 45 * MINUTE),
        ("heartbeat", HOUR),
        ("a", HOUR),
    ]
    assert next_of(plan, plan.tasks[1], {}, NOON * NANO) == NOON + HOUR


LIFE = """---
heartbeat: 1
base: 15m
---
- look
- a {id=a every=50m}
- b {id=b every=02:30,01:15 catchup=all}
- c {id=c every="*/20 1-3 * * *" catchup=none}
- d {id=d every=weekdays grace=3h}
- e {id=e once at="2026-10-25 01:30"}
- f {id=f every=monthly}
"""
STEPS = st.lists(st.integers(-3 * DAY, 6 * DAY) | st.integers(0, 40 * MINUTE), min_size=1, max_size=40)
START = parse_slot("2026-10-24T20:00:00Z")


@given(STEPS, st.sampled_from(["UTC", "Europe/Lisbon", "Australia/Lord_Howe", "America/Santiago"]))
def test_no_slot_comes_twice_whatever_the_clock_does(steps: list[int], zone: str) -> None:
    plan = plan_of(LIFE, zone)
    progress: dict[str, Progress] = {}
    came: Counter[str] = Counter()
    now = START
    for step in steps:
        now += step
        decision = decide(plan, progress, now * NANO)
        came.update(slot.key for slot in decision.due)
        assert all(slot.at <= now for slot in decision.due)
        record(decision, progress)
        assert decide(plan, progress, now * NANO).due == ()
    assert not came or max(came.values()) == 1


@given(st.lists(st.integers(1, 3 * DAY), min_size=1, max_size=30), st.sampled_from(["UTC", "Europe/Lisbon"]))
def test_every_slot_since_the_first_sight_is_due_or_skipped(steps: list[int], zone: str) -> None:
    plan = plan_of(LIFE, zone)
    progress: dict[str, Progress] = {}
    seen: Counter[str] = Counter()
    for now in [START, *(START + sum(steps[: index + 1]) for index in range(len(steps)))]:
        decision = decide(plan, progress, now * NANO)
        seen.update(slot.task.id for slot in decision.due)
        for skip in decision.skipped:
            seen[skip.task.id] += skip.count
        record(decision, progress)
    for task in plan.tasks:
        if isinstance(task.schedule, Tick | Once):
            continue
        slots = task.id == "f"  # its month had begun when it was first seen
        place = START - 1
        high = progress[task.id].high
        while (
            high is not None and (place := next_slot(task.schedule, zone, place, START, 900) or high + 1) <= high
        ):
            slots += 1
        assert seen[task.id] == slots, task.id


def test_without_high_water_marks_a_slot_would_come_twice() -> None:
    """The control."""
    plan = plan_of(LIFE)
    first, second = (decide(plan, {}, (START + step) * NANO) for step in (0, MINUTE - 1))
    assert {slot.key for slot in first.due} & {slot.key for slot in second.due}
