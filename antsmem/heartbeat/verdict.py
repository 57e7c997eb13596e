"""What a run came to, where an exit code is not enough to tell; and the nonce that ties a word to its run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from antsmem.core.record import record
from antsmem.heartbeat.states import Ended

NONCE: Final = "ANTSMEM_NONCE"
"""The variable by which `antsmem report` knows the run that it belongs to."""


@record
class Verdict:
    """What a run came to: DONE, BLOCKED or UNKNOWN; nothing where the exit code decides. `why` it is not DONE
    (`no-report`, `blocked`), `how` it is known (`report`, `nonce`), the agent's own `note`, what the turn cost:
    millionths of a USD and tokens, 0 where the program does not tell."""

    state: str = ""
    why: str = ""
    how: str = ""
    note: str = ""
    cost_microusd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


Judge: TypeAlias = Callable[[Path, Ended | None], Verdict]
"""Given the folder of a run with what it printed and reported, and how it ended (None: its runner died): what it
came to."""


def new_nonce() -> str:
    """A nonce: 128 random bits in hex."""
    return os.urandom(16).hex()


def nonce_hash(nonce: str) -> str:
    """What the journal keeps of a nonce: SHA-256, hex."""
    import hashlib

    return hashlib.sha256(nonce.encode()).hexdigest()
