"""What durable stores on servers share: which commits they take, and how long they wait between tries."""

from __future__ import annotations

import os
from collections.abc import Sequence

from antsmem.core.errors import UsageError
from antsmem.memory.roles import Change, LogRecord


def check_commit(stream: str, changes: Sequence[Change], outbox: Sequence[LogRecord]) -> None:
    """`UsageError` for what `DurableStore.commit` does not take."""
    if not outbox:
        raise UsageError("a commit needs at least one record: its sequence is the version of what it writes")
    if any(each.stream != stream for each in outbox):
        raise UsageError(f"a commit to `{stream}` takes records of that stream only")
    if len({change.key for change in changes}) != len(changes):
        raise UsageError("a commit changes a row once")


def pause_seconds(tries: int, first: float, longest: float) -> float:
    """A random wait before the next try: up to `first` seconds, twice that each time, at most `longest`."""
    return min(longest, first * 2.0 ** min(tries, 16)) * int.from_bytes(os.urandom(4)) / 2**32
