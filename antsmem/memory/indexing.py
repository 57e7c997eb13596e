"""What indexes do with rows before they keep them: the newest of each, and none that cannot be kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from antsmem.core.errors import UsageError
from antsmem.memory.roles import TextRow, Vector

MAX_TEXT_BYTES: Final = 1 << 18


class Versioned(Protocol):
    """A row of an index."""

    @property
    def stream(self) -> str:
        """Whose it is."""
        ...

    @property
    def id(self) -> str:
        """Its name in the stream."""
        ...

    @property
    def version(self) -> int:
        """Which one it is."""
        ...


R = TypeVar("R", bound=Versioned)


def newest(rows: Iterable[R]) -> dict[tuple[str, str], R]:
    """Of each stream and id the row with the highest version, of equal ones the last."""
    found: dict[tuple[str, str], R] = {}
    for row in rows:
        before = found.get((row.stream, row.id))
        if before is None or before.version <= row.version:
            found[row.stream, row.id] = row
    return found


def check_vector(vector: Vector, dimensions: int) -> None:
    """`UsageError` for a vector of another number of dimensions, and for one that has no cosine with any other:
    all zeros, or with a value that is not finite."""
    if len(vector) != dimensions:
        raise UsageError(f"a vector of {len(vector)} dimensions does not fit into an index of {dimensions}")
    if not 0.0 < math.hypot(*vector) < math.inf:
        raise UsageError("a vector without a direction cannot be put into an index or searched with")


def check_text(row: TextRow) -> None:
    """`UsageError` for a text that is too long to be one thing to find."""
    if len(row.text.encode(errors="replace")) > MAX_TEXT_BYTES:
        raise UsageError(f"a text of more than {MAX_TEXT_BYTES >> 10} KiB cannot be put into an index: cut it")
