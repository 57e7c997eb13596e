"""The memory as it is on this host: the device log, its index, and the keys, opened when they are first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.identity.log import IdentityLog
from antsmem.memory.event import Event
from antsmem.memory.eventfiles import EventFiles
from antsmem.memory.index import Index, Past
from antsmem.memory.payload import Opened, parse_redaction, parse_revision
from antsmem.memory.sealing import MemoryKeys, unseal


class LocalMemory:
    """What a verb works on. `stream` is `tenant/agent`; `log` the verified identity log."""

    def __init__(
        self, files: EventFiles, index: Index, log: IdentityLog, stream: str, keys: Callable[[], MemoryKeys]
    ) -> None:
        self.files = files
        self.index = index
        self.log = log
        self.stream = stream
        self._keys = keys

    @cached_property
    def keys(self) -> MemoryKeys:
        """What opens events."""
        return self._keys()

    def key_of(self, event: Event) -> bytes:
        """The key of one event, unwrapped."""
        return self.keys.unwrap(event.key, event.epoch, event.context)

    def opened(self, event: Event, parse: Callable[[bytes], Opened] = parse_revision) -> Opened:
        """What `event` says. `CannotUnlockError`: of an epoch unknown here; `IntegrityError`: not as sealed."""
        return parse(unseal(self.key_of(event), event.data, event.context))

    def opened_redaction(self, event: Event) -> Opened:
        """What an event of that type says; raises as `opened`."""
        return self.opened(event, parse_redaction)

    def content(self, past: Past, fetch: Callable[[str], bytes] | None = None) -> bytes:
        """The content of a revision that has one. `fetch` gets a sealed blob that is not on this host; it is kept.

        `NotFoundError`: it is nowhere; `IntegrityError`: it is not what the revision says.
        """
        found = self.index.spot(past.id)
        if found is None or past.shredded:
            raise NotFoundError(f"the content of revision `{past.id}` is destroyed")
        event = self.files.read(found[0], found[2])
        inside = self.opened(event).inside
        if event.blob:
            inside = self._blob(event, fetch)[: past.size_bytes]
        if hashlib.sha256(inside).hexdigest() != past.sha256:
            raise IntegrityError(f"revision `{past.id}` of `{past.path}` does not hold what it says")
        return inside

    def _blob(self, event: Event, fetch: Callable[[str], bytes] | None) -> bytes:
        try:
            data = self.files.blob(event.blob)
        except (NotFoundError, IntegrityError):
            if fetch is None:
                raise
            data = fetch(event.blob)
            self.files.keep_blob(event.blob, data)
        return unseal(self.key_of(event), data, event.context + b" blob")

    def close(self) -> None:
        """Close the index."""
        self.index.close()
