"""Verb: from a handle or an SCID to the verified identity log, whichever relay has it now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from antsmem.core.errors import AntsmemError, BackendError, IntegrityError, NotFoundError, RollbackError
from antsmem.core.record import record
from antsmem.identity.endpoint import Relay
from antsmem.identity.handle import Handle, check_named_back, is_loopback, relays_of
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.seen import Seen

_MAX_RELAYS: Final = 5
_MAX_HOPS: Final = 3


@record
class Pointer:
    """What answers for a domain: the SCID that it names, and the relay that has its log."""

    scid: str
    relay: str


class Directory(Protocol):
    """Looks up domains."""

    def lookup(self, authority: str) -> Pointer:
        """Where the domain points to; `NotFoundError` if nowhere."""
        ...


@record
class Resolved:
    """A verified log, and the relay that served it."""

    log: IdentityLog
    relay: str


@record
class Resolver:
    """How logs are found: `relay` opens the relay at a URL, `seen` is what this host saw before."""

    relay: Callable[[str], Relay]
    directory: Directory
    seen: Seen
    now_ns: int

    def handle(self, handle: Handle) -> Resolved:
        """The identity that `handle` names and that names `handle` back.

        Raises `NotFoundError`, `IntegrityError` (forged, or named in one direction only), `RollbackError`,
        `BackendError`.
        """
        if handle.name:
            pointer = Pointer(self.relay(handle.url).handle(handle.name), handle.url)
        else:
            pointer = self.directory.lookup(handle.authority)
            self._refuse_inward(handle.url, pointer.relay)
        found = self.scid(pointer.scid, [pointer.relay])
        check_named_back(handle, found.log)
        return found

    def scid(self, scid: str, relays: Sequence[str]) -> Resolved:
        """The newest log of `scid` that the first of `relays` to know it leads to. One that moved is followed."""
        if not relays:
            raise NotFoundError(f"no relay is known for identity `{scid}`", hint="name one with --relay URL")
        failure: AntsmemError | None = None
        for url in relays[:_MAX_RELAYS]:
            try:
                return self._followed(self._fetch(scid, url))
            except (BackendError, NotFoundError) as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def at(self, scid: str, url: str) -> IdentityLog:
        """The log of `scid` as the relay at `url` has it; nothing that the log names is asked."""
        return self._fetch(scid, url).log

    def _followed(self, found: Resolved) -> Resolved:
        for _ in range(_MAX_HOPS):
            listed = relays_of(found.log.document)
            if not listed or found.relay in listed:
                return found
            newer = self._first(found, outward(found.relay, listed))
            if newer is None:
                return found
            found = newer
        return found

    def _first(self, found: Resolved, urls: Sequence[str]) -> Resolved | None:
        """The same log, as long or longer, at the first of `urls` that has it."""
        for url in urls[:_MAX_RELAYS]:
            try:
                there = self._fetch(found.log.scid, url)
            except (BackendError, NotFoundError):
                continue
            there.log.refuse_rollback(found.log.head)
            return there
        return None

    def _fetch(self, scid: str, url: str) -> Resolved:
        fetched = self.relay(url).log(scid)
        try:
            log = parse_log(fetched.text)
        except IntegrityError as error:
            raise IntegrityError(f"relay `{url}` served a log that is not genuine: {error}", hint=_HINT) from None
        if log.scid != scid:
            raise IntegrityError(f"relay `{url}` served the log of another identity", hint=_HINT)
        self.seen.look(log, fetched.statement, url, self.now_ns)
        return Resolved(log, url)

    def _refuse_inward(self, asked: str, told: str) -> None:
        if is_loopback(told) and not is_loopback(asked):
            raise IntegrityError(f"`{asked}` points to a relay on this machine itself: not followed")


def outward(relay: str, urls: Iterable[str]) -> list[str]:
    """Those of `urls`, named by a log that `relay` served, which may be asked: a stranger's log sends nobody to a
    service of his own machine, unless the relay is on it."""
    return [url for url in urls if is_loopback(relay) or not is_loopback(url)]


def newest_of(mine: IdentityLog, theirs: IdentityLog) -> IdentityLog:
    """The longer of two logs of one identity; `RollbackError` if neither is the beginning of the other."""
    longer, shorter = (theirs, mine) if theirs.version > mine.version else (mine, theirs)
    try:
        longer.refuse_rollback(shorter.head)
    except RollbackError as error:
        raise RollbackError(str(error), hint="stop: find out who holds a control key") from None
    return longer


_HINT: Final = "do not use this relay; another one may have the genuine log"
