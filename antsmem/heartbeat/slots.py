"""Turn schedules into slots: the instants, in UTC, at which a task is meant to happen.

Wall clock times are made first, then placed in UTC stretch by stretch between two changes of the zone's offset:

* a time that a change skips happens at the first instant after it; two that are skipped together, once;
* a time that a change repeats happens at its first occurrence only;
* an expression of cron whose minute or hour starts with `*` counts minutes that pass instead, as Debian's cron
  does: what is skipped does not happen, what is repeated happens again.

Everything is a pure function of whole seconds since 1970 UTC; no clock is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from antsmem.core.clock import parse_file_stamp, utc_text
from antsmem.core.errors import UsageError
from antsmem.heartbeat.schedule import DAY, HOUR, Cron, Days, Every, Once, Schedule, Tick

if TYPE_CHECKING:
    from datetime import tzinfo

NANO: Final = 1_000_000_000
HORIZON_SECONDS: Final = 10 * 366 * DAY
"""What does not happen within ten years counts as never."""

_WINDOWS: Final = (2 * HOUR, 26 * HOUR, 40 * DAY, 400 * DAY, HORIZON_SECONDS)
_END: Final = 250_000_000_000  # in the year 9892: what lies behind is a broken clock's
_MONDAY: Final = 3  # 1 January 1970 was a Thursday


def zone_of(name: str) -> tzinfo:
    """The time zone of that name, as `humantime` has it, which is imported where something has a time of day."""
    from antsmem.workspace.humantime import zone_of as found

    return found(name)


def utc_offset(zone: tzinfo, instant: int) -> int:
    """By how many seconds the wall clock in `zone` is ahead of UTC at `instant`."""
    from antsmem.workspace.humantime import utc_offset as found

    return found(zone, instant)


def slots_between(schedule: Schedule, zone: str, after: int, until: int) -> Iterator[int]:
    """The slots of `Days` or `Cron` with `after` < slot <= `until`, rising, each once."""
    if isinstance(schedule, Days | Cron):
        newest = after
        for slot in _placed(schedule, zone_of(zone), after + 1, until + 1):
            if slot > newest:
                newest = slot
                yield slot


def next_slot(schedule: Schedule, zone: str, after: int, anchor: int, base: int) -> int | None:
    """The first slot later than `after`; None for never. `anchor` is when the task was first seen, which `Every`
    counts from; `base` the length of a tick. `Once` has one slot, its time or else `anchor`."""
    if after >= _END:
        return None
    if isinstance(schedule, Tick):
        return (after // base + 1) * base
    if isinstance(schedule, Every):
        return anchor + max((after - anchor) // schedule.seconds + 1, 0) * schedule.seconds
    if isinstance(schedule, Once):
        slot = once_slot(schedule, zone, anchor)
        return slot if slot > after else None
    reached = after
    for window in _WINDOWS:
        for slot in slots_between(schedule, zone, reached, after + window):
            return slot
        reached = after + window
    return None


def latest_slot(schedule: Schedule, zone: str, after: int, until: int, anchor: int, base: int) -> int | None:
    """The last slot with `after` < slot <= `until`; None if there is none. Looks back ten years at most."""
    if isinstance(schedule, Tick):
        slot = until // base * base
        return slot if slot > after else None
    if isinstance(schedule, Every):
        slot = anchor + (until - anchor) // schedule.seconds * schedule.seconds
        return slot if slot > after and slot >= anchor else None
    if isinstance(schedule, Once):
        slot = once_slot(schedule, zone, anchor)
        return slot if after < slot <= until else None
    reached = until
    for window in _WINDOWS if after < until else ():
        start = max(after, until - window)
        last = None
        for last in slots_between(schedule, zone, start, reached):  # noqa: B007
            pass
        if last is not None or start == after:
            return last
        reached = start
    return None


def once_slot(schedule: Once, zone: str, anchor: int) -> int:
    """The slot of a task that happens once."""
    return anchor if schedule.at is None else instant_of(zone_of(zone), wall_seconds(schedule.at))


def instant_of(zone: tzinfo, wall: int) -> int:
    """When the wall clock in `zone` shows `wall`, seconds since 1970 on that clock: the first time it does, or the
    first instant after it was skipped."""
    offsets = (utc_offset(zone, wall - DAY), utc_offset(zone, wall + DAY))
    for slot in sorted(wall - offset for offset in offsets):
        if slot + utc_offset(zone, slot) == wall:
            return slot
    return next(start for start, _, _ in _stretches(zone, wall - DAY, wall + DAY) if start > wall - DAY)


def wall_seconds(text: str) -> int:
    """`YYYY-MM-DD HH:MM` as seconds since 1970 on that wall clock. `UsageError` for anything else."""
    from datetime import UTC, datetime

    try:
        if len(text) != 16 or not text.isascii():
            raise ValueError(text)
        moment = datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"`{ascii(text[:40])[1:-1]}` is no time", hint="write 2026-12-01 09:00") from None
    return int(moment.timestamp())


def slot_text(seconds: int) -> str:
    """`2026-11-20T09:00:00Z`: a slot as part of a key; sorts by time."""
    return f"{utc_text(seconds * NANO)[:-5]}Z"


def parse_slot(text: str) -> int:
    """The slot that `slot_text` wrote; `ValueError` for anything else."""
    seconds = parse_file_stamp(f"{text.replace('-', '').replace(':', '')[:-1]}.000Z") // NANO
    if slot_text(seconds) != text:
        raise ValueError(text)
    return seconds


def _placed(schedule: Days | Cron, zone: tzinfo, start: int, end: int) -> Iterator[int]:
    """The slots in [start, end), rising, some of them twice."""
    passing = isinstance(schedule, Cron) and any(part.startswith("*") for part in schedule.expression.split()[:2])
    for first, last, offset in _stretches(zone, start, end):
        before = utc_offset(zone, first - 1)
        if before < offset and not passing:
            for _ in _walls(schedule, first + before, first + offset):
                yield first
                break
        for wall in _walls(schedule, first + offset, last + offset):
            if passing or not _repeated(zone, wall - offset):
                yield wall - offset


def _stretches(zone: tzinfo, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """[start, end) cut where the zone's offset from UTC changes: (first, last + 1, offset), all in seconds."""
    first, offset = start, utc_offset(zone, start)
    place = start
    while place < end:
        ahead = min(place + DAY, end)
        if utc_offset(zone, ahead) != offset:
            low, high = place, ahead  # the change is in (low, high]
            while high - low > 1:
                middle = (low + high) // 2
                if utc_offset(zone, middle) == offset:
                    low = middle
                else:
                    high = middle
            if high >= end:
                break
            yield first, high, offset
            first, offset, ahead = high, utc_offset(zone, high), high
        place = ahead
    yield first, end, offset


def _repeated(zone: tzinfo, instant: int) -> bool:
    """Whether the wall clock showed this time before."""
    from antsmem.workspace.humantime import local_time

    return local_time(zone, instant).fold == 1


def _walls(schedule: Days | Cron, start: int, end: int) -> Iterator[int]:
    """The wall clock times of the schedule in [start, end), in seconds, rising."""
    if isinstance(schedule, Cron):
        yield from _cron_walls(schedule.expression, start, end)
        return
    minutes = schedule.minutes or (0,)
    for day in range(start // DAY, (end - 1) // DAY + 1):
        if _on(schedule, day):
            for minute in minutes:
                if start <= (wall := day * DAY + minute * 60) < end:
                    yield wall


def _on(schedule: Days, day: int) -> bool:
    weekday = (day + _MONDAY) % 7
    if schedule.span == "week":
        return weekday == 0
    if schedule.span == "month":
        from datetime import date

        return date.fromordinal(date(1970, 1, 1).toordinal() + day).day == 1
    return weekday in schedule.weekdays


def _cron_walls(expression: str, start: int, end: int) -> Iterator[int]:
    from datetime import datetime, timedelta

    from cronsim import CronSim

    epoch = datetime(1970, 1, 1)
    for wall in CronSim(expression, epoch + timedelta(seconds=start - 1)):
        seconds = int((wall - epoch).total_seconds())
        if seconds >= end:
            return
        yield seconds
