"""Verb: write what changed in the workspace into the device log, as events of this device; needs no network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.errors import AntsmemError, IntegrityError, UsageError
from antsmem.core.record import field, mutable_record, replace
from antsmem.memory.author import Author, Device, Speaker, write_device
from antsmem.memory.changes import Changed, Scan, changes, known_of
from antsmem.memory.event import Event
from antsmem.memory.history import heads_of
from antsmem.memory.index import Known, Past
from antsmem.memory.intake import take_in
from antsmem.memory.local import LocalMemory
from antsmem.memory.outcome import outcome
from antsmem.memory.payload import Revision
from antsmem.workspace.classes import Classifier

_BATCH_EVENTS: Final = 500
_BATCH_BYTES: Final = 16 << 20
_MANY: Final = 10


@mutable_record
class Recorded:
    """What was written: paths changed and deleted, and what cannot be synchronised, with the reason."""

    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class Recorder:
    """Writes events for what changed below `root`. `state` is where the device is remembered."""

    def __init__(
        self,
        memory: LocalMemory,
        root: Path,
        device: Device,
        speaker: Callable[[], Speaker],
        state: Path,
    ) -> None:
        self.memory = memory
        self.root = root
        self.device = device
        self.speaker = speaker
        self.state = state
        self._events: list[Event] = []
        self._known: list[Known] = []
        self._unknown: list[str] = []
        self._bytes = 0
        self._author: Author | None = None
        self._wanted: dict[str, Known] | None = None
        self._now_ns = 0
        self._mark = f"recording/{device.name}"
        self._recording = False
        self._redo()

    def record(self, classifier: Classifier, now_ns: int) -> Recorded:
        """Look at the workspace and write events for all that changed; durable when it returns.

        `UsageError` if there is no file at all any more: an empty disk is no deletion of everything.
        """
        self._now_ns = now_ns
        self._recording = True
        known = self.memory.index.known()
        scan, recorded = Scan(), Recorded()
        edited: list[tuple[Changed, Known]] = []
        for found in changes(self.root, classifier, known, scan):
            if not isinstance(found, Changed):
                before = known[found.path]
                again = known_of(found.path, before.sha256, found.status, before.heads, now_ns)
                self._known.append(replace(again, origin=before.origin))
            elif (stands := known.get(found.path)) is not None and stands.origin:
                edited.append((found, stands))
            elif self._changed(found, stands):
                recorded.changed.append(found.path)
            self._flush(full_only=True)
        if len(known) >= _MANY and not scan.files:
            raise UsageError(
                f"`{self.root}` has no file at all, where there were {len(known)}: nothing recorded",
                hint="is the disk mounted? `antsmem restore` brings files back",
            )
        self._flush()
        absent = {gone.path for gone in scan.gone}
        for copy, stood in edited:
            if self._changed(copy, None):
                recorded.changed.append(copy.path)
                self._dismiss(stood, absent)
            self._flush()
        for gone in scan.gone:
            self._unknown.append(gone.path)
            if not gone.heads:
                continue  # removed by a run that died before it said so
            if gone.origin:
                self._dismiss(gone, absent)
                self._flush()
                continue
            self._events.append(self._own().revision(Revision(gone.path, gone.heads), b""))
            recorded.deleted.append(gone.path)
            self._flush(full_only=True)
        self._flush()
        self._recording = False
        if self.memory.index.meta(self._mark):
            self.memory.index.remember(self._mark, "")
        recorded.skipped = scan.skipped
        return recorded

    def say(self, revision: Revision, content: bytes) -> Event:
        """Write one event for `revision`; durable when it returns."""
        event = self._own().revision(revision, content)
        self._events.append(event)
        self._flush()
        return event

    def tell(self, event: Event) -> None:
        """Write one event that `author` made."""
        self._events.append(event)
        self._flush()

    def author(self, now_ns: int) -> Author:
        """Who makes the next events."""
        self._now_ns = now_ns
        return self._own()

    def _redo(self) -> None:
        """After a run that died while it recorded: its events may have outlived it, but what they said of files is
        not known. An edit made since was made from them."""
        index = self.memory.index
        if not (mark := index.meta(self._mark)):
            return
        with index.changing():
            for past in index.revisions_after(self.device.name, int(mark)):
                known = index.known_at(past.path)
                if past.shredded or (known.heads if known else ()) != past.bases:
                    continue  # more is known already
                index.unknow([past.path])
                if past.sha256:
                    index.know([Known(past.path, past.sha256, -1, -1, -1, past.executable, (past.id,))])
            index.remember(self._mark, "")

    def _own(self) -> Author:
        if self._author is None:
            self._author = Author(self.memory, self.device, self.speaker().signer, self._now_ns)
        return self._author

    def _changed(self, found: Changed, before: Known | None) -> bool:
        """Write that a file has another content; whether that is news."""
        expected = self._expected().get(found.path)
        if expected is not None and expected.sha256 == found.sha256:
            # written by a run that died before it said so
            again = known_of(found.path, found.sha256, found.status, expected.heads, self._now_ns)
            self._known.append(replace(again, origin=expected.origin))
            return False
        base: tuple[str, ...] = before.heads if before is not None else ()
        if before is None:
            history = self.memory.index.history(found.path)
            heads = heads_of(history)
            copy = _copy_of(found, history, heads.all)
            if copy:
                self._known.append(known_of(found.path, found.sha256, found.status, copy, self._now_ns))
                self.memory.index.touch(found.path)
                return False
            base = self._own_base(history, heads.all, expected)
        revision = Revision(found.path, base, found.sha256, len(found.content), found.executable)
        event = self._own().revision(revision, found.content)
        self._events.append(event)
        self._bytes += len(event.data)
        self._known.append(known_of(found.path, found.sha256, found.status, (event.id,), self._now_ns))
        return True

    def _own_base(
        self, history: dict[str, Past], heads: tuple[str, ...], expected: Known | None
    ) -> tuple[str, ...]:
        """What an unknown file surely came from: this device's newest revision, unless that stands elsewhere."""
        own = [past for past in history.values() if past.device == self.device.name]
        newest = max(own, key=lambda past: past.clock, default=None)
        if newest is None:
            return ()
        stands_here = expected is not None and newest.id in expected.heads
        return (newest.id,) if stands_here or newest.id not in heads or not newest.sha256 else ()

    def _expected(self) -> dict[str, Known]:
        """The files that the last run may have written without saying so, by path."""
        if self._wanted is None:
            self._wanted = {}
            for path in self.memory.index.dirty():
                with suppress(AntsmemError):
                    found = outcome(self.memory, path)
                    for item in found.files if found else ():
                        origin = "" if item.path == path else path
                        self._wanted[item.path] = Known(
                            item.path, item.sha256, 0, 0, 0, item.executable, item.heads, origin
                        )
        return self._wanted

    def _dismiss(self, copy: Known, absent: set[str]) -> None:
        """Write that the version `copy`, which stood beside a file, is not wanted: the file as it stands is what
        both come to. What stood beside was deleted, or made a file of its own."""
        main = self.memory.index.known_at(copy.origin)
        history = self.memory.index.history(copy.origin)
        heads = [history[each] for each in main.heads if each in history] if main else []
        source = next((past for past in heads if main and past.sha256 == main.sha256), None)
        if main is None or source is None or main.path in absent:
            self._events.append(self._own().revision(Revision(copy.origin, copy.heads), b""))
            return
        base = (*main.heads, *copy.heads)
        revision = Revision(main.path, base, source.sha256, source.size_bytes, source.executable)
        self._events.append(self._own().revision(revision, self.memory.content(source)))
        self._known.append(replace(main, heads=(self._events[-1].id,)))

    def _flush(self, *, full_only: bool = False) -> None:
        if full_only and len(self._events) < _BATCH_EVENTS and self._bytes < _BATCH_BYTES:
            return
        index = self.memory.index
        if self._events and self._recording and not index.meta(self._mark):
            index.remember(self._mark, str(self._events[0].sequence - 1))
        with index.changing():
            if self._events:
                taken = take_in(self.memory, self._events)
                if taken.refused:
                    raise IntegrityError(f"an event of this device is not as it should be: {taken.refused[0].why}")
                head = self._own().head
                self.device = replace(self.device, sequence=head.sequence, hash=head.hash)
            index.unknow(self._unknown)
            index.know(self._known)
        if self._events:
            write_device(self.state, self.device)
        self._events, self._known, self._unknown, self._bytes = [], [], [], 0


def _copy_of(found: Changed, history: dict[str, Past], heads: tuple[str, ...]) -> tuple[str, ...]:
    """The revisions that an unknown file is a copy of: the newest if they hold the same, else any that does."""
    same = [
        past for past in history.values() if past.sha256 == found.sha256 and past.executable == found.executable
    ]
    newest = [past.id for past in same if past.id in heads]
    if newest and len(newest) == len(heads):
        return heads
    return (max(same, key=lambda past: past.clock).id,) if same else ()
