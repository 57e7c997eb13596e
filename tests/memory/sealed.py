"""Search what a backend holds for what it must not show."""

from __future__ import annotations

import base64
from collections.abc import Iterable


def seen_in_the_clear(held: Iterable[bytes], canaries: Iterable[bytes]) -> set[bytes]:
    """The canaries that stand in what a backend holds, as they are, in hex or in base64."""
    forms = {canary: [canary, canary.hex().encode(), canary.hex().upper().encode()] for canary in canaries}
    for canary, each in forms.items():
        each += [base64.b64encode(bytes(shift) + canary)[4:-4] for shift in range(3)]
    found: set[bytes] = set()
    for piece in held:  # one by one: a server that has lived long keeps more than there is memory
        found |= {canary for canary, each in forms.items() if any(form in piece for form in each)}
    return found
