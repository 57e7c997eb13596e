"""Work that is killed at one of its system calls: by itself, in a fork, with SIGKILL, before or after the call.

A case is one effect, done by `once` or by a wake, with an action that is a process of its own (`sh`) or, where
thousands are wanted, a write by the process that is killed. Afterwards it is brought to its end as a user would.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effect_worlds import World

from antsmem.core import clock
from antsmem.core.errors import BusyError
from antsmem.core.wakeconfig import WakeConfig
from antsmem.heartbeat import once as work
from antsmem.heartbeat.action import Action, Output
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.once import Host
from antsmem.heartbeat.plan import Zone
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import Ended, Kind
from antsmem.heartbeat.turn import Means
from antsmem.heartbeat.wake import WakeRequest, wake

CALLS = ("open", "write", "fsync", "close", "rename", "link", "unlink", "mkdir", "ftruncate", "pipe", "read")
_PATIENCE_SECONDS = 120.0


def strike_at(number: int) -> Callable[[], int]:
    """Kill this process at the `number`-th moment from now: each call has one before it and one after it. Gives
    what counts them; 0 kills never."""
    passed = 0

    def moment() -> None:
        nonlocal passed
        passed += 1
        if passed == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*words: Any, **more: Any) -> Any:
            moment()
            found = call(*words, **more)
            moment()
            return found

        return made

    for name in CALLS:
        setattr(os, name, watched(getattr(os, name)))
    subprocess._fork_exec = watched(subprocess._fork_exec)  # type: ignore[attr-defined]
    return lambda: passed


@dataclass
class Case:
    """The effect `key` in `world`, under a policy, done by `once` or by a `wake`."""

    world: World
    key: str
    kind: Kind
    by_wake: bool

    def run(self) -> str:
        """Do it, here; its state then."""
        if not self.by_wake:
            return self.world.once(self.world.effect(self.key, self.kind)).state
        name = self.key.partition("@")[0]
        ask = f' verify="{self.world.root}/ask"' if self.kind == "verify" else f" effect={self.kind}"
        data = f"- Do it {{id={name} once{ask}}}\n  run: {self.world.root}/act-{self.kind}\n".encode()
        means = Means(self.world.root, WakeConfig(allow=(("*",),)), self.world.environment)
        journal = Journal(self.world.places)
        host = Host(clock.now_ns, lambda: 0.0)
        wake(WakeRequest(journal, data, read_plan(data, Zone("UTC", "host")), host, means))
        journal.refresh()
        last = journal.last(self.key)
        return last.state if last else ""

    def struck(self, number: int) -> tuple[bool, int]:
        """Do it in a fork that kills itself at that moment: whether it did, and how many moments it had."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setpgid(0, 0)
                counted = strike_at(number)
                with suppress(BusyError):
                    self.run()
                os.write(writer, str(counted()).encode())
                os._exit(0)
            except BaseException:  # noqa: BLE001 - as the interpreter would
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            moments = int(told.read() or 0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in {0, -signal.SIGKILL}, f"{self}: ended with {code}"
        return code != 0, moments

    def settle(self) -> list[str]:
        """Bring it to its end as a user would: again, and truthfully where a person is asked."""
        seen: list[str] = []
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                state = self.run()
            except BusyError:
                state = "BUSY"
            if state in SETTLED:
                return [*seen, state]
            if not seen or seen[-1] != state:
                seen.append(state)
            if state in {"HELD", "UNKNOWN"}:
                self.answer()
            elif state not in {"FAILED", "PLANNED"}:
                time.sleep(0.002)
        raise AssertionError(f"{self} is not settled: {seen}")

    def answer(self) -> None:
        """A person says what is true. Whoever is still at it is waited for."""
        try:
            journal = Journal(self.world.places)
            last = journal.last(self.key)
            if last is not None and last.state == "HELD" and not work.survivors(last.text("run")):
                word: Any = "done" if self.world.count(self.key) else "redo"
                resolve_effect(journal, self.key, word, clock.now_ns())
        except BusyError:
            time.sleep(0.002)

    def wrong(self) -> list[str]:
        """Settle it, and say what is wrong then."""
        seen = self.settle()
        found = self.world.wrong(self.world.effect(self.key, self.kind))
        return [f"{self.key} ({self.kind}, {'wake' if self.by_wake else 'once'}) {what}: {seen}" for what in found]


def new_world(root: Path, slow_seconds: float) -> World:
    """A world with programs that act and ask, for wakes."""
    world = World(root, slow_seconds)
    quick = {"verify": "", "hold": "", "pure": "", "idempotent": 'grep -qxF "$ANTSMEM_KEY" "$WORLD" || '}
    for kind, asked in quick.items():
        waits = 'sleep "$SLOW"; ' if slow_seconds else ""
        script(root / f"act-{kind}", f'{waits}{asked}echo "$ANTSMEM_KEY" >> "$WORLD"')
    script(root / "ask", 'grep -qxF "$ANTSMEM_KEY" "$WORLD"')
    return world


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def act_within(what: Action, *_: Any) -> tuple[Ended, Output]:
    """The place of `run_action`: the effect is a write of this very process."""
    key, world = what.environment["ANTSMEM_KEY"].encode(), what.environment["WORLD"]
    fd = os.open(world, os.O_RDWR | os.O_APPEND)
    lines = os.read(fd, 1 << 20).split(b"\n")
    asks = what.argv[-1].endswith("/ask") or what.argv[-1].startswith("grep")
    looks_first = "grep" in what.argv[-1] or what.argv[-1].endswith("/act-idempotent")
    if not asks and not (key in lines and looks_first):
        os.write(fd, key + b"\n")
    os.close(fd)
    return Ended(0 if not asks or key in lines else 1), Output(0, 0, False)


def cases(root: Path, rng: random.Random, kinds: tuple[Kind, ...], slow_seconds: float) -> list[Case]:
    """Twenty cases in one world, whose actions wait so long before they act."""
    world = new_world(root, slow_seconds)
    made = []
    for number in range(20):
        by_wake = rng.random() < 0.5
        key = f"t{number}@#once" if by_wake else f"k{number}"
        made.append(Case(world, key, rng.choice(kinds), by_wake))
    return made
