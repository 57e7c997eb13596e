"""Goal: the time zone that a person wrote into USER.md is found, and nothing else is taken for one.

Method: lines as people write them, in six languages; lines that only look like one.
"""

from __future__ import annotations

import pytest

from antsmem.heartbeat.zones import zone_of_user


@pytest.mark.parametrize(
    "line",
    [
        "- Time zone: Europe/Lisbon",
        "* **Timezone:** Europe/Lisbon (UTC+1 in summer)",
        "TZ = `Europe/Lisbon`",
        "  - Zona horaria: Europe/Lisbon",
        "- **Fuso horário**: Europe/Lisbon",
        "Zeitzone: Europe/Lisbon",
        "- 时区：Europe/Lisbon",
        "- タイムゾーン: Europe/Lisbon",
        "| Time zone | Europe/Lisbon |",
    ],
)
def test_a_line_that_names_the_zone_is_found(line: str) -> None:
    assert zone_of_user(f"# User\n\n- Name: Ana\n{line}\n- Time zone: Asia/Tokyo\n") == "Europe/Lisbon"


@pytest.mark.parametrize(
    "line",
    [
        "- Time zone:",
        "- Time zone: {{time_zone}}",
        "- Time zone: CET",
        "Her time zone is Europe/Lisbon",
        "- Time zone: a/",
    ],
)
def test_what_names_none_is_passed_over(line: str) -> None:
    assert zone_of_user(f"{line}\n") is None


def test_utc_is_a_zone_where_somebody_says_so() -> None:
    assert zone_of_user("- Time zone: UTC\n") == "UTC" and zone_of_user("") is None
