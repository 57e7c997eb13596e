"""What a driver can tell of how a backend is set up, for `backend test`."""

from __future__ import annotations

from collections.abc import Mapping

from antsmem.core.record import record


@record
class Inspection:
    """`facts` by name, as the system tells them; `warnings` say what could lose something that was acknowledged.
    A driver that has something to tell has `inspect() -> Inspection`."""

    facts: Mapping[str, str]
    warnings: tuple[str, ...] = ()
