"""Fixtures of servers that run while tests want them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import engines
import pytest


def running(
    make: Callable[[], engines.Startable], scope: Literal["session", "module", "function"] = "session"
) -> Any:
    """A fixture: what `make` gives, started, and closed at the end of `scope`."""

    @pytest.fixture(scope=scope)
    def server() -> Iterator[engines.Startable]:
        server = engines.started(make())
        yield server
        server.close()

    return server
