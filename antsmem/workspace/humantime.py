"""The agent's day and clock: the one place that turns an instant into a calendar day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from antsmem.core.errors import ConfigError
from antsmem.core.record import record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@record
class HumanTime:
    """An instant as people in one time zone read it: `2026-11-20`, `14:03:22`, `+01:00`."""

    day: str
    clock: str
    offset: str


def human_time(now_ns: int, time_zone: str) -> HumanTime:
    """The instant `now_ns` in `time_zone` (an IANA name; `UTC` needs no database).

    Raises `ConfigError` for a zone this host does not know.
    """
    instant = local_time(zone_of(time_zone), now_ns // 1_000_000_000)
    offset = instant.strftime("%z")
    return HumanTime(
        day=f"{instant.year:04d}-{instant.month:02d}-{instant.day:02d}",
        clock=f"{instant.hour:02d}:{instant.minute:02d}:{instant.second:02d}",
        offset=f"{offset[:3]}:{offset[3:5]}",
    )


def local_time(zone: tzinfo, instant: int) -> datetime:
    """The instant, whole seconds since 1970 UTC, as the wall clock in `zone` shows it."""
    # Counted from the epoch, because `fromtimestamp` goes through floating point and the C library.
    return (_EPOCH + timedelta(seconds=instant)).astimezone(zone)


def utc_offset(zone: tzinfo, instant: int) -> int:
    """By how many seconds the wall clock in `zone` is ahead of UTC at `instant`, seconds since 1970 UTC."""
    offset = local_time(zone, instant).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def zone_of(name: str) -> tzinfo:
    """The time zone of that IANA name. Raises `ConfigError` for one that this host does not know."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"time zone `{ascii(name[:64])[1:-1]}` is not known on this host",
            hint="give an IANA name such as `Europe/Lisbon`; without a system database, `pip install tzdata`",
        ) from None
