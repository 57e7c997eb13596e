"""Objects go in, sealed packs reach the store: a few threads seal and write, memory stays bounded.

There is one draft a kind of content, because like compresses with like. Drafts are reused: the reader waits
for a free one, so a slow store slows the reading instead of filling memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from antsmem.backup.pack import OBJECT_BYTES, Draft, seal_pack
from antsmem.core.crew import share_heap
from antsmem.core.disk import Buffer
from antsmem.core.errors import AntsmemError, UsageError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.backup.store import Store
    from antsmem.core.age import Recipient

_THREADS: Final = 3
_DRAFTS: Final = 5
_INLINE: Final = 2 << 20


class Kind(IntEnum):
    """What an object holds; decides its neighbours and how hard zstd works."""

    TEXT = 0
    DATA = 1
    META = 2


_LEVELS: Final = {Kind.TEXT: 2, Kind.DATA: 2, Kind.META: 6}


@record
class Written:
    """A pack that is durable in the store."""

    name: str
    size_bytes: int
    digests: list[bytes]


class Packer:
    """Fill drafts, seal them, put them. Use as a context manager: leaving it ends the threads."""

    def __init__(self, store: Store, recipients: Sequence[Recipient]) -> None:
        self._store = store
        self._recipients = recipients
        self._drafts: list[Draft | None] = [None] * len(Kind)
        self._made = 0
        self._free: queue.SimpleQueue[Draft] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[tuple[Draft, int] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._failed: list[BaseException] = []
        self.written: list[Written] = []

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *_: object) -> None:
        for _each in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._drafts, self._free = [None] * len(Kind), queue.SimpleQueue()  # the memory of all drafts

    def abandon(self) -> None:
        """Give the run up: end the threads and take back the packs that it wrote (best effort: what stays is
        an orphan that `prune` sweeps)."""
        self._failed.append(UsageError("abandoned"))
        self.__exit__()
        with suppress(AntsmemError):
            for pack in self.written:
                self._store.delete(f"packs/{pack.name}.age")

    def draft(self, kind: Kind) -> Draft:
        """The draft that objects of `kind` go into now. Call `added` after each."""
        return self._drafts[kind] or self._take(kind)

    def added(self, kind: Kind) -> None:
        """An object was added to the draft of `kind`: seal it if it is full."""
        draft = self._drafts[kind]
        if draft is not None and draft.full:
            self._drafts[kind] = None
            self._submit(draft, _LEVELS[kind])

    def put(self, kind: Kind, digest: bytes, data: Buffer) -> None:
        """Add one object that is in memory already."""
        draft = self.draft(kind)
        if len(data) > OBJECT_BYTES and draft.end:  # a huge manifest's list: a draft may lack the room
            self._drafts[kind] = None
            self._submit(draft, _LEVELS[kind])
        self.draft(kind).take(digest, data)
        self.added(kind)

    def finish(self) -> list[Written]:
        """Seal what is left, wait, and give all packs of this run; raises what went wrong in a thread."""
        left = [(draft, kind) for kind, draft in enumerate(self._drafts) if draft is not None and draft.end]
        self._drafts = [None] * len(Kind)
        if sum(draft.end for draft, _ in left) <= _INLINE and left:
            first, level = left[0][0], _LEVELS[Kind.META]
            for draft, _ in left[1:]:
                first.absorb(draft)
            left = [(first, Kind.META)]
            self._submit(first, level)
        else:
            for draft, kind in left:
                self._submit(draft, _LEVELS[Kind(kind)])
        self.__exit__()
        self._raise()
        return self.written

    def _take(self, kind: Kind) -> Draft:
        if self._made < _DRAFTS:
            self._made += 1
            draft = Draft()
        else:
            draft = self._free.get()
            self._raise()
        self._drafts[kind] = draft
        return draft

    def _submit(self, draft: Draft, level: int) -> None:
        if draft.end <= _INLINE and not self._threads:
            self._seal(draft, level)
            self._free.put(draft)
            return
        if not self._threads:
            share_heap()
            self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(_THREADS)]
            for thread in self._threads:
                thread.start()
        self._work.put((draft, level))

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            try:
                if not self._failed:
                    self._seal(*job)
            except BaseException as error:  # noqa: BLE001 - carried over to the thread that asked
                self._failed.append(error)
            job[0].clear()
            self._free.put(job[0])

    def _seal(self, draft: Draft, level: int) -> None:
        pack = seal_pack(draft, level, self._recipients)
        self._store.put(f"packs/{pack.name}.age", pack.parts)
        self.written.append(Written(pack.name, pack.size_bytes, pack.digests))
        draft.clear()

    def _raise(self) -> None:
        if self._failed:
            raise self._failed[0]
