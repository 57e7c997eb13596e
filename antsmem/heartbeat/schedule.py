"""When a task happens, as a value: what was written, without a clock and without a time zone."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from antsmem.core.record import record

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400
WEEK: Final = 7 * DAY

EVERY_DAY: Final = (0, 1, 2, 3, 4, 5, 6)
WORKDAYS: Final = (0, 1, 2, 3, 4)
WEEKEND: Final = (5, 6)
DAY_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

ONCE: Final = "@#once"
"""How the only key of a task ends that happens once."""

SHORTEST_SECONDS: Final = MINUTE
LONGEST_SECONDS: Final = 366 * DAY

_PART: Final = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_DURATION: Final = re.compile(r"(?:\d{1,6}[smhdw]){1,3}")
_UNITS: Final = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_CRON: Final = re.compile(r"(?:[\d*/,#lw-]{1,64} ){2}[\d*/,lw-]{1,64} [\da-z*/,-]{1,64} [\da-z*/,#-]{1,64}")


@record
class Tick:
    """With every tick of the file's base."""


@record
class Every:
    """Every so many seconds, counted from the instant at which the task was first seen."""

    seconds: int


@record
class Days:
    """On these weekdays (0 is Monday) at these minutes of the local day.

    Without minutes the task belongs to the whole `span`, "day", "week" or "month": it is due from its start to its
    end. A week starts on Monday, a month on the first; `weekdays` then says nothing.
    """

    weekdays: tuple[int, ...] = EVERY_DAY
    minutes: tuple[int, ...] = ()
    span: str = "day"

    @property
    def span_seconds(self) -> int:
        """How long a task without minutes may wait: the shortest month for a month."""
        return {"day": DAY, "week": WEEK, "month": 28 * DAY}[self.span]


@record
class Cron:
    """Five fields, as Debian's cron reads them."""

    expression: str


@record
class Once:
    """A single time: at `at`, a local `YYYY-MM-DD HH:MM`, or as soon as it is seen."""

    at: str | None = None


Schedule: TypeAlias = Tick | Every | Days | Cron | Once


def schedule_text(schedule: Schedule) -> str:
    """How `schedule` is shown and recorded: one form for all ways of writing the same thing. What this gives for
    anything but `Once` and `Tick`, a tag's `every=` takes."""
    match schedule:
        case Tick():
            return "every tick"
        case Every(seconds):
            return f"every {duration_text(seconds)}"
        case Days():
            return _days_text(schedule)
        case Cron(expression):
            return expression
        case Once(at):
            return f"once at {at}" if at else "once"


def _days_text(schedule: Days) -> str:
    if schedule.span != "day":
        days = f"{schedule.span}ly"
    else:
        names = {EVERY_DAY: "daily", WORKDAYS: "weekdays", WEEKEND: "weekends"}
        days = names.get(schedule.weekdays, ", ".join(DAY_NAMES[day] for day in schedule.weekdays))
    times = ", ".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in schedule.minutes)
    return f"{days} {times}".rstrip()


def duration_text(seconds: int) -> str:
    """`90m`, `4h`, `2d`: the largest unit that gives a whole number."""
    unit = next(unit for unit in reversed(_UNITS) if seconds % _UNITS[unit] == 0) if seconds else "s"
    return f"{seconds // _UNITS[unit]}{unit}"


def parse_duration(text: str) -> int:
    """The seconds that `90s`, `15m`, `4h`, `1h30m`, `2d` or `1w` means. `ValueError` for all else, and for 0."""
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    parts = _PART.findall(text)
    seconds = sum(int(count) * _UNITS[unit] for count, unit in parts)
    if not seconds or len({unit for _, unit in parts}) < len(parts):
        raise ValueError(text)
    return seconds


def cron_of(text: str) -> Cron | None:
    """`text` as five fields of cron, or None. At least one field must hold a `*`, because five numbers may be
    anything, and it must happen within ten years."""
    fields = " ".join(text.lower().split())
    if "*" not in fields or not _CRON.fullmatch(fields):
        return None
    from datetime import datetime, timedelta

    from cronsim import CronSim, CronSimError  # only where there is cron: it costs a third of an idle wake

    start = datetime(2026, 1, 1)
    try:
        first = next(CronSim(fields, start))
    except (CronSimError, StopIteration):
        return None
    return Cron(fields) if first - start < timedelta(days=3660) else None
