"""Goal: an instant falls on the day that people in the agent's time zone would write on top of the page.

Method: instants around midnight and around clock changes, worked out by hand; a property against the standard
library over every zone this host knows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import ConfigError
from antsmem.workspace.humantime import human_time


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("at", "zone", "day", "clock", "offset"),
    [
        ("2026-11-20T23:30:00+00:00", "UTC", "2026-11-20", "23:30:00", "+00:00"),
        ("2026-11-20T23:30:00+00:00", "Europe/Berlin", "2026-11-21", "00:30:00", "+01:00"),
        ("2026-11-20T23:30:00+00:00", "America/New_York", "2026-11-20", "18:30:00", "-05:00"),
        ("2026-11-20T11:59:59+00:00", "Pacific/Kiritimati", "2026-11-21", "01:59:59", "+14:00"),
        ("2026-11-20T11:59:59+00:00", "Pacific/Pago_Pago", "2026-11-20", "00:59:59", "-11:00"),
        ("2026-11-20T18:20:00+00:00", "Asia/Kathmandu", "2026-11-21", "00:05:00", "+05:45"),
        # Clocks go back: the hour from two to three is there twice, on one day.
        ("2026-10-25T00:30:00+00:00", "Europe/Berlin", "2026-10-25", "02:30:00", "+02:00"),
        ("2026-10-25T01:30:00+00:00", "Europe/Berlin", "2026-10-25", "02:30:00", "+01:00"),
        # Midnight itself is skipped: the day starts at one.
        ("2026-03-29T00:00:00+02:00", "Asia/Beirut", "2026-03-29", "01:00:00", "+03:00"),
        ("1969-12-31T23:59:59+00:00", "UTC", "1969-12-31", "23:59:59", "+00:00"),
    ],
)
def test_the_day_and_the_clock_are_those_of_the_zone(
    at: str, zone: str, day: str, clock: str, offset: str
) -> None:
    found = human_time(instant(at), zone)
    assert (found.day, found.clock, found.offset) == (day, clock, offset)


@given(
    st.integers(-(2**33), 2**35),
    st.integers(0, 999_999_999),
    st.sampled_from(sorted(available_timezones() | {"UTC"})),
)
def test_any_instant_in_any_zone_agrees_with_the_standard_library(seconds: int, rest: int, zone: str) -> None:
    expected = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(ZoneInfo(zone))
    found = human_time(seconds * 1_000_000_000 + rest, zone)
    assert f"{found.day}T{found.clock}" == expected.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "", "Europe", "a\x1b[31m", "UTC\n"]
)
def test_a_zone_that_is_not_known_is_a_mistake_with_a_hint(zone: str) -> None:
    with pytest.raises(ConfigError, match="is not known on this host") as caught:
        human_time(0, zone)
    assert str(caught.value).isprintable()
    assert "tzdata" in caught.value.hint
