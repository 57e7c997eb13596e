"""What a scene is: a call in the world of the canaries, and what it may show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from made_homes import Home

from antsmem.core import clock

OUT = "stdout or stderr"
Places = dict[str, tuple[str, ...]]


def _as_it_is(_: Home) -> None:
    """Nothing to prepare."""


def later(days: int) -> None:
    """Let this process believe that so many days have passed."""
    real = clock.now_ns
    clock.now_ns = lambda: real() + days * 86_400_000_000_000


@dataclass(frozen=True)
class Scene:
    """A call in the world, `code` its exit code. `shows`: what may be seen because it was asked for, and where;
    `during`: what may be seen while it runs, and must be gone when it has ended, however it ends.
    `until_it_speaks`: it is interrupted once it has printed something; `days`: it runs so much later; `afresh`: it
    is prepared for each run, because somebody outside of the world remembers it.

    Of the words, `REPOSITORY` stands for the agent's first repository, `OLDEST` for its first snapshot, `WEBDAV`
    for a server that refuses everything, `SCID` for the agent, `EPOCH` for an epoch, `RELAY` for a relay, `CODE`
    for that of the file `offer`, and as standard input `GUARDIANS` for the recipients of two guardians."""

    words: tuple[str, ...]
    code: int = 0
    shows: Places = field(default_factory=dict)
    stdin: str = ""
    prepare: Callable[[Home], None] = _as_it_is
    during: Places = field(default_factory=dict)
    until_it_speaks: bool = False
    days: int = 0
    afresh: bool = False
