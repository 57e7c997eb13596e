"""Devices that stay open between the steps of a test, and disks that kill them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from devices import Agent, DeviceAt

from antsmem.memory import arranging, author, eventfiles
from antsmem.memory.arranging import arrange
from antsmem.memory.author import this_device
from antsmem.memory.event import event_from_line, event_to_line
from antsmem.memory.index import Index
from antsmem.memory.intake import catch_up, take_in
from antsmem.memory.recording import Recorder

WORD = re.compile(rb"w[0-9]+w")
AGENT = Agent("laptop", "desktop", "server")
_INDEX = ("know", "unknow", "doubt", "clean", "touch", "remember", "add_event")


class Died(BaseException):
    """A device lost its power."""


class Node(DeviceAt):
    """A device that stays open between steps."""

    def start(self) -> None:
        self.open = self.memory()
        catch_up(self.open)

    def record(self) -> list[bytes]:
        """Record what changed; the lines of all events that are durable then."""
        self.now_ns += 10**9
        job = self.job()
        device = this_device(self.open, job.state, job.speaker)
        Recorder(self.open, self.root, device, job.speaker, job.state).record(job.classifier, self.now_ns)
        return self.lines()

    def lines(self) -> list[bytes]:
        files = self.open.files
        own = [name for name in files.devices() if name.startswith(self.host)]
        return [event_to_line(event) for name in own for event, _ in files.events(name)]

    def take(self, lines: list[bytes]) -> None:
        taken = take_in(self.open, [event_from_line(line) for line in lines])
        assert not taken.refused, taken.refused

    def arrange(self) -> None:
        arrange(self.open, self.root, self.job().classifier, self.now_ns)


class Disk:
    """Counts what a device changes on its disk, the index included; it dies instead of call number `due`."""

    def __init__(self, due: int) -> None:
        self.left = due

    def wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*values: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Died
            return call(*values, **named)

        return counted

    @contextmanager
    def failing(self) -> Iterator[None]:
        """The calls in the block count."""
        places: list[tuple[Any, str]] = [(eventfiles, "append_file"), (eventfiles, "write_file")]
        places += [(arranging, "write_file"), (author, "write_file"), (os, "unlink"), (os, "chmod")]
        places += [(Index, name) for name in _INDEX]
        kept = [(place, name, getattr(place, name)) for place, name in places]
        for place, name, call in kept:
            setattr(place, name, self.wrapped(call))
        try:
            yield
        finally:
            for place, name, call in kept:
                setattr(place, name, call)
