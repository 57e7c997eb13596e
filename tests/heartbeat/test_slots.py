"""Goal: a slot is where the calendar says, also when clocks change.

Method: an oracle that knows nothing of offsets and stretches walks over minutes, asks what the wall clock shows,
and compares with the expression; its slots around every change of the clock from 2024 to 2032 are compared with
ours. CI takes a sample of changes and expressions in each of 20 zones, ANTSMEM_SOAK=1 all, and 200 expressions.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import UsageError
from antsmem.heartbeat.schedule import DAY, HOUR, MINUTE, Cron, Days, Every, Once, Schedule, Tick, cron_of
from antsmem.heartbeat.slots import latest_slot, next_slot, once_slot, parse_slot, slot_text, slots_between

SOAK = os.environ.get("ANTSMEM_SOAK") == "1"
ZONES = (
    "Europe/Lisbon", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Santiago",
    "America/St_Johns", "America/Havana", "America/Nuuk", "Africa/Cairo", "Africa/Casablanca", "Africa/El_Aaiun",
    "Asia/Beirut", "Asia/Jerusalem", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Australia/Adelaide",
    "Pacific/Chatham", "Antarctica/Troll", "Pacific/Apia",
)  # fmt: skip
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC)
AROUND = 26 * HOUR
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class Wall(NamedTuple):
    """What a wall clock shows at a minute, and whether it showed that before."""

    instant: int
    values: tuple[int, int, int, int, int]
    again: bool
    naive: datetime


@cache
def changes(zone: str) -> tuple[int, ...]:
    """The first minute after every change of the clock."""
    info = ZoneInfo(zone)
    found = []
    place = FIRST
    while place < LAST:
        ahead = place + timedelta(hours=6)
        if place.astimezone(info).utcoffset() != ahead.astimezone(info).utcoffset():
            minute = place
            while minute.astimezone(info).utcoffset() == place.astimezone(info).utcoffset():
                minute += timedelta(minutes=1)
            found.append(int(minute.timestamp()))
        place = ahead
    return tuple(found)


def values(naive: datetime) -> tuple[int, int, int, int, int]:
    return naive.minute, naive.hour, naive.day, naive.month, naive.isoweekday() % 7


def walk(zone: str, start: int, end: int) -> list[Wall]:
    """Every minute in (start, end]."""
    info = ZoneInfo(zone)
    walls = []
    for instant in range(start + MINUTE, end + 1, MINUTE):
        local = datetime.fromtimestamp(instant, info)
        walls.append(Wall(instant, values(local), local.fold == 1, local.replace(tzinfo=None, fold=0)))
    return walls


def matcher(expression: str) -> Callable[[tuple[int, int, int, int, int]], bool]:
    """Whether a wall clock that shows these values matches, as the manual of Debian's cron says."""
    fields = expression.split()
    minute, hour, day, month, weekday = (
        allowed(field, *bounds) for field, bounds in zip(fields, FIELDS, strict=True)
    )
    weekday = {value % 7 for value in weekday}
    both = fields[2].startswith("*") or fields[4].startswith("*")

    def matches(shown: tuple[int, int, int, int, int]) -> bool:
        if shown[0] not in minute or shown[1] not in hour or shown[3] not in month:
            return False
        if both:
            return shown[2] in day and shown[4] in weekday
        return shown[2] in day or shown[4] in weekday

    return matches


def allowed(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        if body == "*":
            start, end = low, high
        elif "-" in body:
            start, end = (int(value) for value in body.split("-"))
        else:
            start, end = int(body), high if step else int(body)
        found |= set(range(start, end + 1, int(step or 1)))
    return found


def oracle(expression: str, walls: list[Wall], *, passing: bool) -> list[int]:
    """The slots of an expression in a walk; `passing`: it counts minutes that pass, whatever the clock does."""
    matches = matcher(expression)
    found = []
    for before, wall in zip([None, *walls], walls, strict=False):
        due = matches(wall.values) and (passing or not wall.again)
        if not due and not passing and before is not None:
            skipped = before.naive + timedelta(minutes=1)
            while not due and skipped < wall.naive:
                due = matches(values(skipped))
                skipped += timedelta(minutes=1)
        if due:
            found.append(wall.instant)
    return found


def expressions(count: int) -> Iterator[str]:
    """Expressions as people write them, then random ones."""
    yield from (
        "* * * * *", "*/5 * * * *", "0 * * * *", "*/30 1-3 * * *", "30 2 * * *", "0 2 * * *", "0 3 * * *",
        "30 1 * * *", "15,45 1,2,3 * * *", "0 0 * * *", "59 23 * * *", "30 0 * * *", "0 9 * * 1-5", "0 0 * * 0",
        "*/15 2 * * *", "*/15 0 * * *", "30 * * * *", "45 */2 * * *", "5 4 1 * *", "0 2 * 3,10 7", "0 2 29 2 *",
        "0 0 1,15 * 1", "10 */6 * * *", "*/7 */3 * * 6,0", "0 1-4 * * *", "0-59/20 2 * * *", "30 2 */2 * *",
    )  # fmt: skip
    dice = random.Random(2032)
    for _ in range(count):
        yield " ".join(field(dice, *bounds) for bounds in FIELDS)


def field(dice: random.Random, low: int, high: int) -> str:
    narrow = min(high, low + 4)
    return dice.choice([
        "*", "*", f"*/{dice.randint(2, 13)}", str(dice.randint(low, high)), str(dice.randint(low, narrow)),
        f"{low}-{narrow}", f"{dice.randint(low, narrow)},{dice.randint(narrow, high)}",
        f"{low}-{high}/{dice.randint(1, 5)}",
    ])  # fmt: skip


def ours(schedule: Schedule, zone: str, start: int, end: int) -> list[int]:
    return list(slots_between(schedule, zone, start, end))


def passing(expression: str) -> bool:
    return any(part.startswith("*") for part in expression.split()[:2])


@pytest.mark.parametrize("zone", ZONES)
def test_the_slots_around_a_change_are_those_of_a_walk_over_minutes(zone: str) -> None:
    dice = random.Random(zone)
    every = [*dict.fromkeys(expressions(200))][:200]
    chosen = changes(zone) if SOAK else dice.sample(changes(zone), min(2, len(changes(zone))))
    compared = 0
    for change in chosen or (int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp()),):
        walls = walk(zone, change - AROUND, change + AROUND)
        for expression in every if SOAK else dice.sample(every[:27], 9) + dice.sample(every[27:], 6):
            cron = cron_of(expression) or Cron(expression)
            expected = oracle(expression, walls[1:], passing=passing(expression))
            assert ours(cron, zone, walls[0].instant, walls[-1].instant) == expected, (expression, change)
            compared += 1
    assert compared >= 15


def test_an_oracle_that_ignores_changes_would_be_caught() -> None:
    """The control: in Lisbon on the last Sunday of March 01:30 is skipped; where nothing changes it is not."""
    (change,) = [each for each in changes("Europe/Lisbon") if datetime.fromtimestamp(each, UTC).month == 3][:1]
    walls = walk("Europe/Lisbon", change - AROUND, change + AROUND)
    blind = [wall._replace(again=False) for wall in walls]
    assert oracle("30 1 * * *", walls, passing=False) != oracle("30 1 * * *", blind, passing=True)


def test_what_is_skipped_together_happens_once_and_what_is_repeated_once() -> None:
    spring, autumn = (slot_text(each) for each in changes("Europe/Berlin")[:2])
    assert (spring, autumn) == ("2024-03-31T01:00:00Z", "2024-10-27T01:00:00Z")
    times = Days(minutes=(125, 150))
    day = parse_slot("2024-03-30T23:00:00Z")
    assert [slot_text(at) for at in ours(times, "Europe/Berlin", day, day + 23 * HOUR)] == [spring]
    day = parse_slot("2024-10-26T22:00:00Z")
    assert [slot_text(at) for at in ours(times, "Europe/Berlin", day, day + 25 * HOUR)] == [
        "2024-10-27T00:05:00Z",
        "2024-10-27T00:30:00Z",
    ]


@given(
    st.sampled_from(ZONES),
    st.integers(int(FIRST.timestamp()), int(LAST.timestamp())),
    st.sets(st.integers(0, 6), min_size=1),
    st.lists(st.integers(0, 1439), min_size=1, max_size=3, unique=True),
)
def test_days_and_times_are_the_cron_that_says_the_same(
    zone: str, start: int, weekdays: set[int], minutes: list[int]
) -> None:
    days = Days(tuple(sorted(weekdays)), tuple(sorted(minutes)))
    names = ",".join(str((day + 1) % 7) for day in weekdays)
    same = {
        at
        for minute in minutes
        for at in ours(Cron(f"{minute % 60} {minute // 60} * * {names}"), zone, start, start + 9 * DAY)
    }
    assert set(ours(days, zone, start, start + 9 * DAY)) == same


SCHEDULES = st.one_of(
    st.just(Tick()),
    st.integers(60, 40 * DAY).map(Every),
    st.sampled_from(
        [Days(), Days(span="week"), Days(span="month"), Days((1, 4), (90, 1439)), Days(minutes=(150,))]
    ),
    st.sampled_from([Cron("30 2 * * *"), Cron("*/20 1 * * *"), Cron("0 0 1 * *"), Cron("0 12 29 2 *")]),
    st.sampled_from([Once(), Once("2026-03-29 01:30"), Once("2026-10-25 01:30")]),
)
INSTANTS = st.integers(int(FIRST.timestamp()), int(LAST.timestamp()))


@given(SCHEDULES, st.sampled_from(ZONES), INSTANTS, INSTANTS)
def test_next_and_latest_agree(schedule: Schedule, zone: str, after: int, anchor: int) -> None:
    following = next_slot(schedule, zone, after, anchor, 1800)
    if following is None:
        assert isinstance(schedule, Once)
        return
    assert following > after
    assert latest_slot(schedule, zone, after, following, anchor, 1800) == following
    assert latest_slot(schedule, zone, after, following - 1, anchor, 1800) is None
    assert parse_slot(slot_text(following)) == following


@given(SCHEDULES, st.sampled_from(ZONES), INSTANTS, st.integers(0, 3 * DAY))
def test_the_latest_of_a_long_gap_is_the_last_of_all(
    schedule: Schedule, zone: str, after: int, width: int
) -> None:
    anchor = after - DAY
    slots = []
    place: int | None = after
    while place is not None and len(slots) < 5000:
        place = next_slot(schedule, zone, place, anchor, 1800)
        if place is None or place > after + width:
            break
        slots.append(place)
    assert latest_slot(schedule, zone, after, after + width, anchor, 1800) == (slots[-1] if slots else None)


@given(SCHEDULES, st.sampled_from(ZONES), INSTANTS)
def test_slots_are_whole_minutes_where_the_schedule_is(schedule: Schedule, zone: str, after: int) -> None:
    following = next_slot(schedule, zone, after, after // 60 * 60, 1800)
    if isinstance(schedule, Days | Cron) and following is not None:
        assert following % 60 == 0


def test_slot_texts_sort_as_slots_do() -> None:
    slots = sorted(random.Random(1).sample(range(4_000_000_000), 500))
    assert [slot_text(at) for at in slots] == sorted(slot_text(at) for at in slots)
    for wrong in ("2026-11-20T09:00Z", "2026-11-20T09:00:00", "now", "", "2026-11-20T09:00:00.000Z"):
        with pytest.raises(ValueError):
            parse_slot(wrong)


@pytest.mark.parametrize(
    ("at", "slot"),
    [
        ("2026-12-01 09:00", "2026-12-01T09:00:00Z"),
        ("2026-03-29 01:30", "2026-03-29T01:00:00Z"),  # skipped: the first instant after
        ("2026-10-25 01:30", "2026-10-25T00:30:00Z"),  # repeated: the first time
    ],
)
def test_a_single_time_is_placed_by_the_same_rules(at: str, slot: str) -> None:
    assert slot_text(once_slot(Once(at), "Europe/Lisbon", 0)) == slot


@pytest.mark.parametrize("text", ["", "2026-12-01", "2026-12-01 24:00", "2026-02-30 09:00", "٢٠٢٦-12-01 09:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        once_slot(Once(text), "UTC", 0)
