"""What the suites counted, of all processes that share the tests, for the last lines of the run."""

from __future__ import annotations

from collections import Counter
from typing import Any

TALLIES: dict[str, Counter[str]] = {}
"""By suite: how often what was done."""


def tally(suite: str) -> Counter[str]:
    """The counter of `suite`."""
    return TALLIES.setdefault(suite, Counter())


def sent() -> dict[str, dict[str, int]]:
    """All of it, to be given to the process that shows it."""
    return {suite: dict(counted) for suite, counted in TALLIES.items()}


def received(counted: dict[str, Any]) -> None:
    """Add what another process sent."""
    for suite, numbers in counted.items():
        tally(suite).update(numbers)


def lines() -> list[str]:
    """A line for each suite."""
    return [
        f"{suite}: {', '.join(f'{number} {what}' for what, number in sorted(counted.items()))}"
        for suite, counted in sorted(TALLIES.items())
    ]
