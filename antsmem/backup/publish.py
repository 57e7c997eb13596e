"""Publish a changed identity log and new key files to a repository, and see what another host published there."""

from __future__ import annotations

from contextlib import suppress

from antsmem.backup import repository as repo
from antsmem.backup.carry import carry, newest_anchor
from antsmem.backup.lease import leased
from antsmem.backup.repository import IDENTITY_LOG, Anchor, Pin, Repository
from antsmem.backup.store import Store
from antsmem.backup.tombstones import DESTROYED, is_superseded, names_in
from antsmem.core.errors import IntegrityError, NotFoundError, RefusedError, RollbackError
from antsmem.core.record import replace
from antsmem.identity.log import IdentityLog, parse_log


def publish_keys(repository: Repository, pin: Pin | None = None, seen: str | None = None) -> Pin:
    """Carry the keys lent for this run into the repository and sign its anchor anew, before anything is sealed to
    them; what this host has seen of it now. Raises `LockedError`, `RollbackError`, and what the store raises.

    `seen` is the anchor's version token before a key was revoked: an anchor written since must be of a key of
    today.
    """
    with leased(repository.store, repository.keys.host):
        if seen is not None and (found := repository.store.read(repo.ANCHOR)) is not None and found[1] != seen:
            pin = replace(pin or Pin(0, ""), identity_version=repository.keys.identity_version)
        state = repo.read_state(repository, pin)
        anchor = newest_anchor(repository, state, carry(repository, state))
        repo.write_anchor(repository, anchor, state.token)
        sweep_keys(repository, anchor)
    return Pin(anchor.sequence, anchor.head, repository.keys.identity_version)


def sweep_keys(repository: Repository, anchor: Anchor) -> None:
    """Delete what a killed run left in `keys/` of epochs and guardians that `anchor` no longer has."""
    store = repository.store
    if not store.capabilities.deletes:
        return
    names = {item.name for item in store.list("keys")}
    destroyed = names_in(store.get(DESTROYED)) if DESTROYED in anchor.files else frozenset[str]()
    with suppress(RefusedError):
        for name in sorted(names - anchor.files.keys()):
            if is_superseded(name, destroyed, {*names, *anchor.files}):
                store.delete(name)


def newer_log(store: Store, ours: IdentityLog) -> IdentityLog | None:
    """The identity log in `store` if it continues `ours`; None if it is the same or an older one. One that cannot
    be read is passed over: `check` names it. `RollbackError`: it is another history of the same identity."""
    try:
        data = store.get(IDENTITY_LOG)
        if ours.text.startswith(data):
            return None
        found = parse_log(data)
    except (NotFoundError, IntegrityError):
        return None
    if found.scid != ours.scid:
        return None
    if found.version_ids[: ours.version] == ours.version_ids:
        return found if found.version > ours.version else None
    raise RollbackError(
        f"the identity log at `{store.url}` and the one here are two histories of one identity",
        hint="stop: find out who holds a control key, then keep the true `did.jsonl`",
    )
