"""Run a program that was given secrets: nothing of them in what it prints, its signals and exit code passed on."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from antsmem.core.disk import write_all
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.mask import Mask, Stream
from antsmem.core.record import record
from antsmem.identity.privatedir import Guard

_IDLE_SECONDS: Final = 0.05
_AFTER_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 2.0
_PART_BYTES: Final = 1 << 16
_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGQUIT)
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)


@record
class Program:
    """What to run. With a terminal it stays in our process group, so that Ctrl-C, Ctrl-Z and the shell's job
    control work as without us; else it has one of its own, which gets every signal that we get."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    has_terminal: bool


def launch(program: Program, mask: Mask, guard: Guard, targets: tuple[int, int] = (1, 2)) -> int:
    """Run `program` to its end; its exit code, or 128 and the signal that ended it.

    Its standard input is ours; its standard output and error go to the descriptors `targets`, masked. Once it has
    ended nobody waits for programs that it left behind. `NotFoundError` and `UsageError` if it cannot be started.
    """
    with _forwarding(program.has_terminal) as (tell, woken):
        process = _started(program)
        whom = process.pid if program.has_terminal else -process.pid
        guard.watch(whom)
        tell(lambda number: _send(whom, number))
        try:
            _pump(process, targets, mask, woken)
            process.wait()
        finally:
            _end(process, whom)
            guard.forget(whom)
    code = process.returncode
    return code if code >= 0 else 128 - code


def _started(program: Program) -> subprocess.Popen[bytes]:
    shown = program.arguments[0]
    try:
        return subprocess.Popen(
            program.arguments,
            env=program.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=None if program.has_terminal else 0,
            bufsize=0,
        )
    except FileNotFoundError:
        raise NotFoundError(f"no program is named `{shown}`", hint="antsmem exec … -- PROGRAM ARGUMENT…") from None
    except ValueError:
        raise UsageError("an argument or a value holds a zero byte, which no program can be given") from None
    except OSError as error:
        raise UsageError(f"`{shown}` could not be started: {(error.strerror or '').lower()}") from None


@contextmanager
def _forwarding(has_terminal: bool) -> Iterator[tuple[Callable[[Callable[[int], None]], None], int]]:
    """Signals to us go to whom `tell` names, also those that came before; `woken` can be read when one came."""
    early: list[int] = []
    forward: list[Callable[[int], None]] = [early.append]

    def handle(number: int, _frame: FrameType | None) -> None:
        if not (has_terminal and number in _FROM_TERMINAL):  # the terminal tells the whole group itself
            forward[0](number)

    def tell(whom: Callable[[int], None]) -> None:
        forward[0] = whom
        for number in early:
            whom(number)

    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    before = {number: signal.signal(number, handle) for number in _FORWARDED}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    old = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    try:
        yield tell, woken
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(waking)


def _pump(process: subprocess.Popen[bytes], targets: tuple[int, int], mask: Mask, woken: int) -> None:
    """Pass on what comes, masked, until all is closed, or the program has ended and nothing more comes."""
    assert process.stdout is not None and process.stderr is not None
    routes = {
        process.stdout.fileno(): _Route(mask.stream(), targets[0]),
        process.stderr.fileno(): _Route(mask.stream(), targets[1]),
    }
    with selectors.DefaultSelector() as selector:
        for source in (woken, *routes):
            selector.register(source, selectors.EVENT_READ)
        give_up = None
        while len(selector.get_map()) > 1 and (give_up is None or time.monotonic() < give_up):
            ended = process.poll() is not None
            if ended and give_up is None:
                give_up = time.monotonic() + _PATIENCE_SECONDS
            holding = any(route.stream.holds for route in routes.values())
            ready = selector.select(_AFTER_SECONDS if ended else _IDLE_SECONDS if holding else None)
            if ended and not ready:
                break
            for key, _ in ready:
                part = os.read(key.fd, _PART_BYTES)
                if key.fd in routes:
                    routes[key.fd].take(part)
                    if not part:
                        selector.unregister(key.fd)
            for route in routes.values():
                route.settle()
    for route in routes.values():
        write_all(route.target, route.stream.end())


class _Route:
    """From a pipe of the program to a descriptor of ours."""

    def __init__(self, stream: Stream, target: int) -> None:
        self.stream = stream
        self.target = target
        self._last = time.monotonic()

    def take(self, part: bytes) -> None:
        """Pass on what can be of what came."""
        self._last = time.monotonic()
        write_all(self.target, self.stream.feed(part))

    def settle(self) -> None:
        """Pass on more where nothing came for a while."""
        if self.stream.holds and time.monotonic() - self._last >= _IDLE_SECONDS:
            write_all(self.target, self.stream.idle())


def _end(process: subprocess.Popen[bytes], whom: int) -> None:
    """See that it is over: it has ended, or nobody reads its output any more and it must."""
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            _send(whom, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_SECONDS)


def _send(whom: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it is gone, or another user's by now
        os.kill(whom, number)


def arguments_of(words: Sequence[str]) -> tuple[str, ...]:
    """The program and its arguments, of which there must be one at least."""
    if not words or not words[0]:
        raise UsageError("no program was given", hint="antsmem exec --env NAME=secret://NAME -- PROGRAM ARGUMENT…")
    return tuple(words)
