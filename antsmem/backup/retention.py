"""Which snapshots a tier keeps: the newest of each hour, day, week or month, as far back as was agreed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import gmtime, strftime
from typing import Final

from antsmem.backup.snapshot import time_of

NEWEST: Final = "newest"
_PERIODS: Final = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G%V", "monthly": "%Y%m"}

DEFAULT: Final[Mapping[str, Mapping[str, int]]] = {
    "hot": {"hourly": 48, "daily": 14},
    "cold": {"weekly": 8, "monthly": 12},
}
"""Tier → period → how many periods that hold a snapshot are kept."""


def kept(ids: Sequence[str], policy: Mapping[str, int]) -> set[str]:
    """The ids to keep of `ids` (oldest first): for each period of `policy` the newest snapshot in each of the
    newest so-many periods (UTC) that have one, of `newest` the last so many whatever their time, and always the
    newest of all."""
    keep = set(ids[-max(policy.get(NEWEST, 1), 1) :])
    for period, count in policy.items():
        if period == NEWEST:
            continue
        newest: dict[str, str] = {}
        for snapshot_id in reversed(ids):
            stamp = strftime(_PERIODS[period], gmtime(time_of(snapshot_id) // 1_000_000_000))
            if stamp not in newest and len(newest) >= count:
                break
            newest.setdefault(stamp, snapshot_id)
        keep.update(newest.values())
    return keep
