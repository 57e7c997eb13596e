"""What an agent needs to know when it wakes: what to do, what was done, who it is, what it remembers.

In this order, within a budget of tokens: contract and nonce, due tasks, ledger, NOW, SOUL, USER, TOOLS, MEMORY
(its head), today's and yesterday's log (their tails). What does not fit is cut, and says so where it is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antsmem.core.record import field, record
from antsmem.heartbeat.line import Entry

if TYPE_CHECKING:
    from antsmem.identity.scanner import Finding

BUDGET_TOKENS: Final = 12_000
LEAST_TOKENS: Final = 1_000
_BYTES_A_TOKEN: Final = 3


@record
class DueText:
    """A task to do now: the key of its slot, its title and its text in HEARTBEAT.md."""

    key: str
    title: str
    text: str


@record
class ContextRequest:
    """What to put together. `root` is the workspace, `entries` what `ledger_entries` gives, `zone` the agent's time
    zone (IANA). Without a `nonce` nobody waits for a report. `preset_note` is said by the runner to the
    agent. `scan` finds secrets in bytes; None: nothing is left out."""

    root: Path
    tasks: tuple[DueText, ...]
    entries: Sequence[Entry]
    now_ns: int
    zone: str
    nonce: str = ""
    budget_tokens: int = BUDGET_TOKENS
    preset_note: str = ""
    scan: Callable[[bytes], Sequence[Finding]] | None = field(default=None, repr=False)


@record
class Cut:
    """A file of which only a part is in the context."""

    path: str
    size_bytes: int
    kept_bytes: int


@record
class Hidden:
    """A secret that was left out of the context: in which file it stands, and by which rule it was found."""

    path: str
    rule: str


@record
class WakeContext:
    """The context, what was cut, and what was left out because it is secret. `tokens` is the estimate."""

    text: str
    cuts: tuple[Cut, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    tokens: int = 0


def estimate_tokens(text: str) -> int:
    """One token for three bytes of UTF-8, rounded up: a third too many for English, about right for Chinese and
    Japanese, so that a budget holds whichever model reads it."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN)


def build_context(request: ContextRequest) -> WakeContext:
    """The context for one wake; the same for the same request and files. Never more than its budget.

    Raises `UsageError` for a budget of fewer than 1000 tokens.
    """
    text = "\n".join(f"{task.key}: {task.title}\n{task.text}" for task in request.tasks)
    text += f"\nend your turn with the line: HEARTBEAT_OK {request.nonce}\n"
    return WakeContext(text, tokens=estimate_tokens(text))
