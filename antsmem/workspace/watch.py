"""Watch a workspace: soon after something changed, record it, judge it, and tell.

Nothing depends on a notification that arrives: each pass looks at the whole tree's times, and one comes every now
and then in any case. So killing it at any moment loses nothing that the next pass does not see.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antsmem.core import clock
from antsmem.core.disk import locked
from antsmem.core.errors import AntsmemError, DriverMissingError
from antsmem.core.record import record
from antsmem.workspace.alarms import Guarded, guard_workspace
from antsmem.workspace.history import Tree
from antsmem.workspace.layout import HOME, Layout

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

DEBOUNCE_SECONDS: Final = 0.25
SETTLE_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 5.0
_SHARE: Final = 3.0  # a pass is followed by so many times its own length of rest
_MOST_REST_SECONDS: Final = 0.3
_GROWING: Final = frozenset({"created", "moved"})
_TELLING: Final = frozenset({"created", "modified", "deleted", "moved", "closed"})


@record
class Pace:
    """How soon: `debounce_seconds` after a change a pass begins; a file of memory is judged when it has been still
    for `settle_seconds`; without notifications the times are looked at every `poll_seconds`."""

    debounce_seconds: float = DEBOUNCE_SECONDS
    settle_seconds: float = SETTLE_SECONDS
    poll_seconds: float = POLL_SECONDS


@record
class Voice:
    """Whom a watch tells: `found` hears every pass that found something, `trouble` each new failure (what failed
    is tried again), `remark` how it goes on, and `idle`, which must not wait, is called after each pass."""

    found: Callable[[Guarded], None]
    trouble: Callable[[AntsmemError], None]
    remark: Callable[[str], None]
    idle: Callable[[], None]


def watch(tree: Tree, directory: Path, voice: Voice, pace: Pace, *, once: bool = False) -> None:
    """Watch until interrupted; `once`: one pass, whose failure is raised. `directory`: the agent's local state.

    Raises `LockedError` where another watch of the agent runs on this host, `DriverMissingError` without git.
    """
    with locked(directory / "watch.lock", f"another watch of `{tree.root}` is running"):
        if once:
            voice.found(_pass(tree, directory, 0.0))
            voice.idle()
            return
        _Watch(tree, directory, voice, pace).run()


def _pass(tree: Tree, directory: Path, settle_seconds: float) -> Guarded:
    return guard_workspace(tree, directory, "watch", clock.now_ns(), settle_ns=int(settle_seconds * 1e9))


class _Watch:
    def __init__(self, tree: Tree, directory: Path, voice: Voice, pace: Pace) -> None:
        self.tree = tree
        self.directory = directory
        self.voice = voice
        self.pace = pace
        self.changed = threading.Event()
        self.grown = False
        self.told = ""
        self.deaf: Callable[[], str] = lambda: ""

    def run(self) -> None:
        with ExitStack() as stack:
            notified = stack.enter_context(self.notified())
            wait = IDLE_SECONDS if notified else self.pace.poll_seconds
            while True:
                self.changed.clear()  # before the look: what changes during it is looked at again
                pause = self.step()
                self.voice.idle()
                rest = min(pause or wait, wait)
                if not notified:
                    time.sleep(rest)
                elif why := self.listen(rest):
                    notified, wait = False, self.pace.poll_seconds
                    self.voice.remark(f"{why}: looking twice a second")

    def listen(self, seconds: float) -> str:
        """Wait until something has changed, at most so long; why nobody would tell of the next change, if so."""
        until = time.monotonic() + seconds
        while not (why := self.deaf()) and (left := until - time.monotonic()) > 0:
            if self.changed.wait(min(left, self.pace.poll_seconds)):
                time.sleep(self.pace.debounce_seconds)
                break
        return why

    def step(self) -> float:
        """One pass; how long to wait at most before the next, 0 = as long as nothing changes."""
        if os.path.lexists(Layout(self.tree.root).restoring):
            return _RETRY_SECONDS  # half a restore is no version
        started = time.monotonic()
        try:
            found = _pass(self.tree, self.directory, self.pace.settle_seconds)
        except DriverMissingError:
            raise
        except AntsmemError as error:
            if str(error) != self.told:
                self.voice.trouble(error)
            self.told = str(error)
            return _RETRY_SECONDS
        self.told = ""
        if found.recorded.revision or found.raised or found.settled:
            self.voice.found(found)
        time.sleep(min((time.monotonic() - started) * _SHARE, _MOST_REST_SECONDS))
        return self.pace.settle_seconds if found.young or found.recorded.unsettled else 0.0

    @contextmanager
    def notified(self) -> Iterator[bool]:
        """Have `changed` set by the operating system; False where it cannot, and that is said."""
        try:
            from watchdog.events import FileSystemEventHandler
            from watchdog.observers import Observer
        except ImportError:
            self.voice.remark("the library `watchdog` is not installed: looking twice a second")
            yield False
            return
        import logging

        logging.getLogger("watchdog").addHandler(logging.NullHandler())  # what overflows is seen by the next pass
        top, watch = os.fspath(self.tree.root), self
        own, place = os.path.join(top, HOME) + os.sep, _place(top)

        class Bell(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type in _TELLING and not os.fsdecode(event.src_path).startswith(own):
                    watch.grown |= event.is_directory and event.event_type in _GROWING
                    watch.changed.set()

        @contextmanager
        def ringing(recursive: bool) -> Iterator[BaseObserver]:
            observer = Observer()
            try:
                observer.schedule(Bell(), top, recursive=recursive)
                observer.start()
                yield observer
            finally:
                with suppress(RuntimeError, OSError):
                    observer.stop()

        with ExitStack() as stack:
            try:
                observer = stack.enter_context(ringing(recursive=True))
            except OSError as error:
                self.voice.remark(f"{_no(error)}: looking twice a second")
                yield False
                return

            def deaf() -> str:
                if _place(top) != place or not all(each.is_alive() for each in (observer, *observer.emitters)):
                    return "notifications ended"
                if self.grown:  # where no watch is to be had, watchdog leaves a new directory out, without a word
                    self.grown = False
                    try:
                        with ringing(recursive=False):
                            pass
                    except OSError as error:
                        return _no(error)
                return ""

            self.deaf = deaf
            yield True


def _no(error: OSError) -> str:
    return f"no notifications ({(error.strerror or str(error)).lower()})"


def _place(top: str) -> tuple[int, int]:
    """Which directory is at `top`: a watch stays with the one that was there, wherever it goes."""
    try:
        status = os.stat(top)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
