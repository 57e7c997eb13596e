"""How often somebody may ask: token buckets in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST = 8192


class Throttle:
    """A bucket for each name: `burst` requests at once, then `per_second`. The names seen last are remembered."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate = per_second
        self._burst = float(burst)
        self._turn = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, name: str, now_seconds: float) -> bool:
        """Whether `name` may ask now; if so, it has asked."""
        with self._turn:
            left, before = self._buckets.pop(name, (self._burst, now_seconds))
            left = min(self._burst, left + max(0.0, now_seconds - before) * self._rate)
            allowed = left >= 1
            self._buckets[name] = (left - 1 if allowed else left, now_seconds)
            if len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
            return allowed
