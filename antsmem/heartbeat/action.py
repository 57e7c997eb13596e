"""Run one command to its end, or to the end of its time, and leave nothing of it behind.

The command gets a session of its own, the run lock, and in its environment `ANTSMEM_RUN`, by which everything that
it started is found again, also what left its process group, and what was started by an `once` within.

Its output passes through here into files, up to a bound; what is more is read and dropped, so that it neither
fills the disk nor blocks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import IO, TYPE_CHECKING, Final, Protocol

from antsmem.core.disk import write_all
from antsmem.core.record import field, record
from antsmem.heartbeat.states import Ended

if TYPE_CHECKING:
    import subprocess

STDOUT_BYTES: Final = 8 << 20
STDERR_BYTES: Final = 1 << 20
RUN: Final = "ANTSMEM_RUN"
"""The variable that names the run of a process, behind those of the runs around it."""

GRACE_SECONDS: Final = 10.0
"""Between SIGTERM and SIGKILL."""

_RUN: Final = f"{RUN}=".encode()
_DRAIN_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
_PART_BYTES: Final = 64 << 10


class Mask(Protocol):
    """Takes the secrets out of an output, part by part."""

    def feed(self, part: bytes) -> bytes:
        """What of all that was fed can be written by now."""
        ...

    def end(self) -> bytes:
        """The rest."""
        ...


@record
class Action:
    """What to run. `environment` is all that it gets, besides `ANTSMEM_RUN`; `lock` the descriptor of the run lock
    (None: none); `stdin` a descriptor or None for nothing; `mask` makes a mask for each output."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    run: str
    timeout_seconds: float
    lock: int | None = None
    stdin: int | None = None
    folder: Path | None = None
    mask: Callable[[], Mask] | None = None


@record
class Output:
    """What an action printed: stored bytes, and whether more was dropped (or could not be written)."""

    stdout_bytes: int
    stderr_bytes: int
    cut: bool


def run_action(action: Action, stdout: IO[bytes], stderr: IO[bytes]) -> tuple[Ended, Output]:
    """Run `action` with its outputs going to two files. Ends within its time and 11 s, whatever it does.

    An interrupt of any kind ends the action too, before it is raised on.
    """
    import subprocess

    pump = _Pump()
    # Made before it is started: an interrupt in between must find what it has to end.
    process: subprocess.Popen[bytes] = subprocess.Popen.__new__(subprocess.Popen)
    ended = _Process(process, action)
    try:
        try:
            process.__init__(  # type: ignore[misc]
                action.argv,
                stdin=subprocess.DEVNULL if action.stdin is None else action.stdin,
                stdout=pump.writer(stdout, STDOUT_BYTES, action.mask),
                stderr=pump.writer(stderr, STDERR_BYTES, action.mask),
                env={**action.environment, RUN: ":".join(filter(None, (action.environment.get(RUN), action.run)))},
                pass_fds=() if action.lock is None else (action.lock,),
                start_new_session=True,
                cwd=action.folder,
            )
        except (OSError, ValueError) as error:
            return _not_started(action, error, stderr)
        late = not pump.until(time.monotonic() + action.timeout_seconds, ended)
        if late:
            ended.stop(pump)
        pump.until(time.monotonic() + _DRAIN_SECONDS, pump.drained)
    except BaseException:
        ended.stop(pump)
        raise
    finally:
        pump.close()
    code = process.returncode
    ran = Ended(code if code is not None and code >= 0 else None, max(-(code or 0), 0), late, True, ended.left())
    return ran, Output(pump.stored[0], pump.stored[1], pump.cut)


def _not_started(action: Action, error: OSError | ValueError, stderr: IO[bytes]) -> tuple[Ended, Output]:
    """As a shell would tell it: 126 for what may not be run, 127 for what is not there."""
    said = f"{action.argv[0]}: {getattr(error, 'strerror', None) or error}\n"
    with suppress(OSError):
        write_all(stderr.fileno(), said.encode(errors="backslashreplace"))
    return Ended(126 if isinstance(error, PermissionError) else 127, started=False), Output(0, 0, False)


def survivors(run: str, lock: int | None = None) -> tuple[int, ...]:
    """The processes that the run `run` left behind, as far as this system tells (Linux does).

    They have its name in their environment, or the run lock, which this process has open as `lock`.
    """
    found, own = [], os.getpid()
    try:
        names = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != own]
    except OSError:
        return ()
    for name in names:
        try:
            if not _is_dead(name) and (_has(name, run.encode()) or (lock is not None and _holds(name, lock))):
                found.append(int(name))
        except OSError:  # gone, or somebody else's
            continue
    return tuple(sorted(found))


def _has(name: str, run: bytes) -> bool:
    with open(f"/proc/{name}/environ", "rb") as lines:
        environment = lines.read(4 << 20).split(b"\0")
    return any(run in each[len(_RUN) :].split(b":") for each in environment if each.startswith(_RUN))


def _holds(name: str, lock: int) -> bool:
    """Whether a process was given our open file `lock`, which would be under the same number. One that opened the
    lock by itself, to ask for it, will not hand it on."""
    try:
        with open(f"/proc/{name}/fdinfo/{lock}", "rb") as lines:
            flags = next((line.split()[1] for line in lines if line.startswith(b"flags:")), b"0")
        if int(flags, 8) & os.O_CLOEXEC:
            return False
        return os.path.samestat(os.stat(f"/proc/{name}/fd/{lock}"), os.fstat(lock))
    except FileNotFoundError:
        return False


def _is_dead(name: str) -> bool:
    with open(f"/proc/{name}/stat", "rb") as line:
        return line.read(4096).rpartition(b") ")[2][:1] in b"ZX"


class _Process:
    """Called: whether the action's own process has ended."""

    def __init__(self, process: subprocess.Popen[bytes], action: Action) -> None:
        self._process, self._action = process, action

    def __call__(self) -> bool:
        return self.pid is None or self._process.poll() is not None

    @property
    def pid(self) -> int | None:
        """Its number, which is that of its group too; None before it is started."""
        return getattr(self._process, "pid", None)

    def left(self) -> tuple[int, ...]:
        """What else it started and did not end."""
        return survivors(self._action.run, self._action.lock)

    def all_gone(self) -> bool:
        """Whether nothing of it is left."""
        if not self():
            return False
        if self.pid is None or os.path.exists(
            "/proc/self/environ"
        ):  # a group may consist of the dead whom nobody has buried
            return not self.left()
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def signal(self, number: int) -> None:
        """Send a signal to the group, and to what has left the group."""
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
        for pid in self.left():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def stop(self, pump: _Pump) -> None:
        """End it and all that it started: SIGTERM, 10 s, SIGKILL."""
        self.signal(SIGTERM)
        try:
            pump.until(time.monotonic() + GRACE_SECONDS, self.all_gone)
        finally:
            self.signal(SIGKILL)
            pump.until(time.monotonic() + _DRAIN_SECONDS, self.all_gone)


class _Pump:
    """Carries what comes out of pipes into files. One that cannot be written stops nothing: its output is cut."""

    def __init__(self) -> None:
        import selectors

        self.stored = [0, 0]
        self.cut = False
        self._selector = selectors.DefaultSelector()
        self._ends: list[int] = []
        self._sinks: list[_Sink] = []

    def writer(self, file: IO[bytes], limit: int, mask: Callable[[], Mask] | None) -> int:
        """The writing end of a new pipe into `file`, which takes `limit` bytes."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self._ends.append(writer)
        sink = _Sink(reader, file.fileno(), limit, mask() if mask else None)
        self._sinks.append(sink)
        self._selector.register(reader, 1, sink)
        return writer

    def until(self, end: float, done: Callable[[], bool]) -> bool:
        """Carry on until `done` (True) or the instant `end` (False)."""
        for writer in self._ends:
            os.close(writer)
        self._ends.clear()
        pause = 0.001
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            if self.drained():
                time.sleep(min(left, pause))
                pause = min(2 * pause, _POLL_SECONDS)
            for key, _ in self._selector.select(min(left, _POLL_SECONDS)) if not self.drained() else ():
                if not key.data.carry():
                    self._selector.unregister(key.fd)
        return True

    def drained(self) -> bool:
        """Whether every pipe has come to its end."""
        return not self._selector.get_map()

    def close(self) -> None:
        """Let go of the pipes, and put down what the masks still hold."""
        for writer in self._ends:
            os.close(writer)
        self._ends.clear()
        for place, sink in enumerate(self._sinks):
            sink.end()
            self.stored[place] = sink.stored
            self.cut = self.cut or sink.cut
        self._sinks.clear()
        self._selector.close()


class _Sink:
    """One pipe's reading end and the file it goes to."""

    def __init__(self, reader: int, file: int, limit: int, mask: Mask | None) -> None:
        self.reader, self.file, self.limit, self.mask = reader, file, limit, mask
        self.stored = 0
        self.cut = False

    def carry(self) -> bool:
        """Move one part; False at the end of the pipe."""
        try:
            part = os.read(self.reader, _PART_BYTES)
        except BlockingIOError:
            return True
        self._put(self.mask.feed(part) if self.mask and part else part)
        return bool(part)

    def end(self) -> None:
        """Nothing more comes."""
        if self.mask:
            self._put(self.mask.end())
        os.close(self.reader)

    def _put(self, part: bytes) -> None:
        kept = part[: self.limit - self.stored]
        self.cut = self.cut or len(kept) < len(part)
        try:
            write_all(self.file, kept)
            self.stored += len(kept)
        except OSError:  # the effect counts, not what it prints
            self.cut, self.limit = True, self.stored
