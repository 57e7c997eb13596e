"""Every repository is an anchor of the ledger: the newest publication lies beside its list of snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from antsmem.core.record import record
from antsmem.identity.anchor import refuse_older

if TYPE_CHECKING:
    from antsmem.backup.store import Store

LEDGER: Final = "anchors/ledger.json"


@record
class RepositoryAnchor:
    """The repository `name` as an anchor (see `identity.anchor.Anchor`); `open_store` opens its store when it is
    first asked."""

    name: str
    open_store: Callable[[], Store]

    def fetch(self) -> bytes | None:
        """What the repository holds; raises what its store raises."""
        found = self.open_store().read(LEDGER)
        return found[0] if found else None

    def publish(self, data: bytes) -> None:
        """Keep `data`, unless a newer or another ledger is there (`RollbackError`). Decided by the store where it
        can (`ConflictError`)."""
        store = self.open_store()
        found = store.read(LEDGER)
        if refuse_older(self.name, found[0] if found else None, data):
            store.swap(LEDGER, data, found[1] if found else None)
