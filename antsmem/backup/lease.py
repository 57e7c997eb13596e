"""One writer a repository, wherever the writers are: a small object that expires.

Readers never look at it. A lease of a process that is gone from this host is taken over at once; one of
another host when it has expired, so a crash needs no repair by hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from antsmem.core import canonical, clock
from antsmem.core.errors import AntsmemError, ConflictError, IntegrityError, LockedError, WouldOverwriteError
from antsmem.core.record import mutable_record

if TYPE_CHECKING:
    from antsmem.backup.store import Store

LEASE: Final = "anchors/lease.json"
LEASE_SECONDS: Final = 600


@mutable_record
class Lease:
    """The right to write; `renew` in long runs."""

    store: Store
    host: str
    token: str = ""
    expires_ns: int = 0

    def renew(self) -> None:
        """Extend the lease when half of it has passed. Raises `LockedError` if somebody took it over."""
        if self.expires_ns - clock.now_ns() > LEASE_SECONDS * 500_000_000:
            return
        found = self.store.read(LEASE)
        if found is None or _content(found[0]).get("token") != self.token:
            raise LockedError("this run was so slow that another writer took over the repository")
        self._write(found[1])

    def end(self) -> None:
        """Give the lease back, unless somebody took it over."""
        found = self.store.read(LEASE)
        if found is not None and _content(found[0]).get("token") == self.token:
            self.store.delete(LEASE)

    def _write(self, expected: str | None) -> None:
        self.token = os.urandom(8).hex()
        self.expires_ns = clock.now_ns() + LEASE_SECONDS * 1_000_000_000
        content = {
            "schema": "antsmem.lease/1",
            "host": self.host,
            "pid": os.getpid(),
            "boot": _boot_id(),
            "expires_ns": str(self.expires_ns),
            "token": self.token,
        }
        if expected is not None:
            self.store.swap(LEASE, canonical.dumps(content), expected)
            return
        try:
            self.store.put(LEASE, [canonical.dumps(content)], new=True, durable=False)
        except WouldOverwriteError:
            raise ConflictError(f"`{LEASE}` was written by somebody else") from None

    def _take(self) -> None:
        found = self.store.read(LEASE)
        if found is not None:
            holder = _content(found[0])
            if _alive(holder, self.host):
                raise LockedError(
                    f"the repository at `{self.store.url}` is being written by process {holder.get('pid')} on "
                    f"`{str(holder.get('host'))[:60]}`",
                )
        try:
            self._write(found[1] if found else None)
        except ConflictError:
            raise LockedError(f"another writer just took the repository at `{self.store.url}`") from None


@contextmanager
def leased(store: Store, host: str) -> Iterator[Lease]:
    """Hold the repository's lease; `LockedError` names who has it."""
    lease = Lease(store, host)
    lease._take()
    try:
        yield lease
    finally:
        with suppress(AntsmemError):  # it expires by itself; what the run did must not fail for this
            lease.end()


def _content(data: bytes) -> dict[str, Any]:
    try:
        content = canonical.loads(data, 4096)
    except IntegrityError:
        return {}  # a torn lease protects nobody
    return content if isinstance(content, dict) else {}


def _alive(holder: dict[str, Any], host: str) -> bool:
    try:
        left_ns = int(holder["expires_ns"]) - clock.now_ns()
        pid = int(holder["pid"])
    except (KeyError, TypeError, ValueError):
        return False
    if not 0 < left_ns <= LEASE_SECONDS * 2_000_000_000 or not 0 < pid < 1 << 31:
        return False
    if holder.get("host") != host:
        return True
    if holder.get("boot") != _boot_id() or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot_id() -> str:
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""
