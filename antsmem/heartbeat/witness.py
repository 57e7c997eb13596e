"""A witness that both hosts can reach, so that two of them do not work: a relay, a repository, a git remote.

It keeps the newest statement of who works (see `epoch.py`), and replaces it only by compare and swap. Before each
start the host asks it. What it says is enough to stop, never to start: that takes what this host knows too.

While the witness does not answer, only `pure` work goes on, and after the lease nothing. So who took over at the
witness knows that the old host, if it still runs, starts nothing that counts, and after the lease nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from antsmem.core.clock import parse_file_stamp
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
    RetiredError,
    RollbackError,
    UsageError,
)
from antsmem.core.record import record
from antsmem.heartbeat.epoch import Claim, Post, Witness, epoch_of, read_duty
from antsmem.heartbeat.states import Kind

if TYPE_CHECKING:
    from antsmem.heartbeat.journal import Journal
    from antsmem.identity.endpoint import Slot

LEASE_SECONDS: Final = 3600
"""How long a host that the witness does not answer goes on with what is harmless. No action should take longer."""

ASK_SECONDS: Final = 5.0
"""How long the witness has to answer."""

_NS: Final = 1_000_000_000
_SLOT: Final = "epoch"
_LIMIT: Final = 16 << 10


class Slots(Protocol):
    """What is asked of a relay: see `identity.endpoint.Relay`."""

    def slot(self, name: str) -> Slot | None:
        """A document and its etag."""
        ...

    def put_slot(self, name: str, data: bytes, expected: str | None) -> Slot:
        """Compare and set."""
        ...


class Objects(Protocol):
    """What is asked of a store: see `backup.store.Store`."""

    @property
    def capabilities(self) -> Any:
        """What it can promise: `conditional`."""
        ...

    def read(self, name: str) -> tuple[bytes, str] | None:
        """An object and its version token."""
        ...

    def swap(self, name: str, data: bytes, expected: str | None) -> None:
        """Compare and swap."""
        ...


@record
class RelayWitness:
    """The agent's slot `epoch` at a relay."""

    relay: Slots

    def read(self) -> tuple[bytes, str] | None:
        """See `epoch.Witness`."""
        found = self.relay.slot(_SLOT)
        return None if found is None else (found.data, found.etag)

    def swap(self, document: bytes, expected: str | None) -> None:
        """See `epoch.Witness`."""
        self.relay.put_slot(_SLOT, document, expected)


@record
class StoreWitness:
    """The object `anchors/epoch-AGENT.json` in a store that decides by itself who was first; `open_store` opens it
    when it is first asked. `UsageError` for a store that cannot."""

    open_store: Callable[[], Objects]
    agent: str

    def read(self) -> tuple[bytes, str] | None:
        """See `epoch.Witness`."""
        return self._opened().read(self._name)

    def swap(self, document: bytes, expected: str | None) -> None:
        """See `epoch.Witness`."""
        self._opened().swap(self._name, document, expected)

    @property
    def _name(self) -> str:
        return f"anchors/epoch-{self.agent}.json"

    def _opened(self) -> Objects:
        store = self.open_store()
        if not store.capabilities.conditional:
            raise UsageError(
                "this kind of store cannot compare and swap: it can be no witness",
                hint="a relay, a git remote, a directory or S3 can",
            )
        return store


@record
class Gate:
    """What must agree before anything is started: what this host knows (`post`), and the witness if there is one.
    `now_ns` tells the time."""

    post: Post
    witness: Witness | None
    now_ns: Callable[[], int]

    def may_start(self, journal: Journal) -> tuple[int, bool]:
        """The epoch in which work may start now, and whether that is all kinds of work, or only what is `pure`.

        `RetiredError`: this host may start nothing; `BackendError`: the witness does not answer, and the lease is
        over; `RollbackError`: the witness knows less than it did; `UsageError`: it knows of no host.
        """
        epoch = self.post.require_active(journal)
        if self.witness is None:
            return epoch, True
        try:
            found = self.witness.read()
        except (BackendError, RefusedError, DriverMissingError) as error:
            if self._within_lease(journal.name):
                return epoch, False
            raise _silent("its lease is over") from error
        self._require_same(found[0] if found else b"", epoch)
        self._answered(journal.name)
        return epoch, True

    def require_all(self, journal: Journal) -> None:
        """Return if work of every kind may start now. Raises as `may_start` does, and `BackendError` where only
        `pure` work may."""
        self.enter(journal, "hold")

    def enter(self, journal: Journal, kind: Kind) -> int:
        """The epoch in which work of `kind` may start now. Raises as `may_start` does."""
        epoch, everything = self.may_start(journal)
        if not everything and kind != "pure":
            raise _silent("only `pure` work goes on without it")
        return epoch

    def _require_same(self, document: bytes, epoch: int) -> None:
        if document and document == self.post.stated():
            return
        known = epoch_of(document) if document else 0
        if not document and not epoch:
            raise UsageError(
                "the witness knows of no host that works: nothing started",
                hint="antsmem heartbeat take-over enters this one",
            )
        if known < epoch:
            raise RollbackError(
                f"the witness knows of epoch {known}, this host works in {epoch}: nothing started",
                hint="antsmem heartbeat take-over, if no other host works",
            )
        raise RetiredError(
            "another host has taken over the work of this agent, as the witness says: nothing started",
            hint="antsmem heartbeat take-over --old-host-off",
        )

    def _memory(self, journal: str) -> Path:
        return self.post.folder / f"{journal or self.post.agent}.witnessed"

    def _answered(self, journal: str) -> None:
        with suppress(AntsmemError):
            make_private_dir(self.post.folder)
            write_file(self._memory(journal), [str(self.now_ns()).encode()], durable=False)

    def _within_lease(self, journal: str) -> bool:
        with suppress(NotFoundError, ValueError):
            since = self.now_ns() - int(read_file(self._memory(journal), 32))
            return 0 <= since <= LEASE_SECONDS * _NS
        return False


def _silent(why: str) -> BackendError:
    return BackendError(
        f"the witness does not answer, and {why}: not started", hint="antsmem heartbeat status says more"
    )


def claim_and_wait(post: Post, journal: Journal, signed: Claim, now_ns: int) -> int:
    """Claim the work at the witness, if this host has not; when the lease of the hosts before ends, nanoseconds
    since 1970 UTC. What it claimed stands in a file of this host: the key and the name of a host may be copied.

    Raises as `Post.claim` does.
    """
    witness, place = signed.witness, post.folder / f"{post.agent}.claim"
    assert witness is not None
    found = witness.read()
    mine = b""
    with suppress(NotFoundError):
        mine = read_file(place, _LIMIT)
    if found is None or found[0] != mine:
        _, mine = post.claim(journal, signed, now_ns)
        make_private_dir(post.folder)
        write_file(place, [mine])
    claimed = read_duty(mine, [signed.key.public]).time
    return parse_file_stamp(claimed.replace("-", "").replace(":", "")) + LEASE_SECONDS * _NS
