"""Search what a backend holds for what it must not show."""

from __future__ import annotations

import base64
from collections.abc import Iterable


def seen_in_the_clear(held: Iterable[bytes], canaries: Iterable[bytes]) -> set[bytes]:
    """The canaries that stand in what a backend holds, as they are, in hex or in base64."""
    everything = b"\0".join(held)
    found = set()
    for canary in canaries:
        forms = [canary, canary.hex().encode(), canary.hex().upper().encode()]
        forms += [base64.b64encode(bytes(shift) + canary)[4:-4] for shift in range(3)]
        if any(form in everything for form in forms):
            found.add(canary)
    return found
