"""A world in which effects can be counted, and callers of `once` that are killed.

The world is a file; an effect is a line in it. `settle` is what must be possible after any accident: call again
until it is done, wait while it is busy, and where antsmem asks, answer truthfully.
"""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from pathlib import Path

from antsmem.core import clock
from antsmem.core.errors import BusyError
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal, Places
from antsmem.heartbeat.once import Effect, Host, OnceResult, once
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import Kind

POLICIES: tuple[Kind, ...] = ("verify", "hold", "idempotent", "pure")
_PATIENCE_SECONDS = 120.0


class World:
    """Everything below `root`. `slow_seconds` is how long an action waits before and after its effect."""

    def __init__(self, root: Path, slow_seconds: float = 0.01) -> None:
        self.root = root
        self.file = root / "world"
        self.places = Places(root / "own", root / "own" / "index")
        self.environment = {"PATH": os.environ["PATH"], "WORLD": str(self.file), "SLOW": str(slow_seconds)}
        self.rng = random.Random(7)
        root.mkdir(parents=True, exist_ok=True)
        self.file.touch()

    def count(self, key: str) -> int:
        """How often the effect of `key` happened."""
        return self.file.read_text().splitlines().count(key)

    def script(self, kind: Kind, ending: str = "") -> str:
        """What an action does, in shell. A receiver that dedupes is a world that is asked first."""
        asked = 'grep -qxF "$ANTSMEM_KEY" "$WORLD" || ' if kind == "idempotent" else ""
        return f'sleep "$SLOW"; {asked}echo "$ANTSMEM_KEY" >> "$WORLD"; {ending or "sleep $SLOW; echo done"}'

    def effect(self, key: str, kind: Kind, ending: str = "", timeout_seconds: float = 30.0) -> Effect:
        """The effect `key`, under one of the policies."""
        verify = ("sh", "-c", 'grep -qxF "$ANTSMEM_KEY" "$WORLD"') if kind == "verify" else ()
        argv = ("sh", "-c", self.script(kind, ending))
        return Effect(key, argv, kind, verify, timeout_seconds, environment=self.environment)

    def once(self, effect: Effect) -> OnceResult:
        """Call it in this process."""
        return once(Journal(self.places), effect, Host(clock.now_ns, self.rng.random))

    def forked(self, effect: Effect) -> int:
        """Call it in a process of its own, which may be killed."""
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.setpgid(0, 0)
            code = 0 if self.once(effect).state in SETTLED else 3
        except BusyError:
            code = 75
        except BaseException:  # noqa: BLE001 - as the interpreter would
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def settle(self, effect: Effect) -> list[str]:
        """Bring the effect to its end as a user would; the states on the way."""
        seen: list[str] = []
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                state = self.once(effect).state
            except BusyError:
                time.sleep(0.005)
                continue
            seen.append(state)
            if state in SETTLED:
                return seen
            if state == "HELD":
                word = "done" if self.count(effect.key) else "redo"
                resolve_effect(Journal(self.places), effect.key, word, clock.now_ns())
        raise AssertionError(f"not settled: {seen}")

    def wrong(self, effect: Effect) -> list[str]:
        """What is wrong after it was settled: it happened not once."""
        count, last = self.count(effect.key), Journal(self.places).last(effect.key)
        found = []
        if count == 0:
            found.append("lost")
        if count > 1 and effect.kind != "pure":
            found.append(f"happened {count} times")
        if last is None or last.state != "DONE":
            found.append(f"is {last.state if last else None}")
        return found
