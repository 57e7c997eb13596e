"""Verb: make an empty repository in a store."""

from __future__ import annotations

import hashlib

from antsmem.backup.carry import carry_files
from antsmem.backup.repository import (
    Anchor,
    Keyring,
    Repository,
    is_bare,
    read_anchor,
    statement_of,
    write_anchor,
)
from antsmem.backup.snapshot import new_id
from antsmem.backup.store import Store
from antsmem.core.errors import WouldOverwriteError


def create_repository(store: Store, keys: Keyring, now_ns: int) -> Repository:
    """Make an empty repository. Raises `WouldOverwriteError` where the store already holds anything."""
    if store.stat("repository.json") is not None:
        raise WouldOverwriteError(
            f"`{store.url}` already holds a repository: left as it is", hint="see `antsmem repository list`"
        )
    if not is_bare(store):
        raise WouldOverwriteError(
            f"`{store.url}` holds a repository that has lost its `repository.json`: left as it is",
            hint="antsmem check --repair makes that anew",
        )
    repository_id = new_id(now_ns)[-8:] + hashlib.sha256(keys.scid.encode()).hexdigest()[:8]
    store.put("repository.json", [statement_of(repository_id, keys, now_ns)], new=True)
    repository = Repository(store, repository_id, keys)
    complete_repository(repository)
    return repository


def complete_repository(repository: Repository) -> bool:
    """Write what a `create_repository` that was killed did not come to; whether anything was missing. A
    repository that has lost its anchor but not its contents is left as it is."""
    if read_anchor(repository) is not None or not is_bare(repository.store):
        return False
    write_anchor(repository, Anchor(0, "", (), (), {}, carry_files(repository, {})), None)
    return True
