"""Which faults a run tries: some, drawn, or all.

ANTSMEM_FAULT_SAMPLES says how many a scenario and kind of fault (`all`: every one, which is what ANTSMEM_SOAK=1
takes), ANTSMEM_TEST_SEED which ones; without it each run tries others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

from seeds import SEED
from tallies import tally

T = TypeVar("T")

SAMPLES = os.environ.get("ANTSMEM_FAULT_SAMPLES") or ("all" if os.environ.get("ANTSMEM_SOAK") == "1" else "2")


class Sampler:
    """Draws the faults of one test, and counts what was done."""

    def __init__(self, name: str) -> None:
        self.rng = random.Random(f"{SEED} {name}")

    def some(self, items: Sequence[T], share: float = 1.0) -> list[T]:
        """As many of `items` as a run tries, times `share`, at least one; in their order."""
        if SAMPLES == "all":
            return list(items)
        count = min(len(items), max(1, round(int(SAMPLES) * share)))
        return [items[at] for at in sorted(self.rng.sample(range(len(items)), count))]

    def count(self, what: str, number: int = 1) -> None:
        """Remember for the summary."""
        tally(f"faults ({SAMPLES} a scenario)")[what] += number
