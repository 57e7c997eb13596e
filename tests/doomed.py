"""A driver whose real server is killed within a call, surely while what was asked for is being done.

Three moments of a call can be chosen, and each is the same in every run:

* `unread`: the server is stopped before it is asked, and killed while the request waits for it;
* `half`: it did half of what was to be appended, and dies with the rest unread;
* `unheard`: it did all, and dies before its answer is heard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from engines import Server

from antsmem.core.errors import BackendError

Moment = Literal["unread", "half", "unheard"]
WAIT_SECONDS = 0.2
"""How long a request lies before a stopped server: long enough to be sent."""


class Doomed:
    """`inner`, whose `server` dies at a `moment` of the `turn`th call of `method`; 0: it lives. `acknowledged` are
    the ids of the events that it took, `killed` how many these were when it died; -1: it did not yet."""

    def __init__(
        self, inner: Any, server: Server, method: str = "", turn: int = 0, moment: Moment = "unread"
    ) -> None:
        self._inner, self._server = inner, server
        self._method, self._left, self._moment = method, turn, moment
        self.acknowledged: set[str] = set()
        self.killed = -1

    def __getattr__(self, name: str) -> Any:
        return partial(self._called, name, getattr(self._inner, name))

    def _called(self, name: str, action: Callable[..., Any], *given: Any) -> Any:
        if name == self._method and self._left == 1:
            self._left, self.killed = 0, len(self.acknowledged)
            try:
                self._die(action, given)
            finally:
                self._server.kill()
        done = action(*given)
        self._left -= name == self._method  # a call that fails, as on a busy machine, does not count
        if name in {"append", "commit"}:
            self.acknowledged |= {item.id for item in given[-1]}
        return done

    def _die(self, action: Callable[..., Any], given: tuple[Any, ...]) -> None:
        """Always an error, which a driver raises that is not answered."""
        if self._moment == "unheard":
            action(*given)
            raise BackendError("the answer was lost")
        if self._moment == "half":
            (records,) = given
            action(records[: len(records) // 2])
            given = (records[len(records) // 2 :],)
        self._server.suspend()
        killer = threading.Timer(WAIT_SECONDS, self._server.kill)
        killer.start()
        try:
            action(*given)
        finally:
            killer.join()
        raise AssertionError("a server answered that was stopped")
