"""Publish a changed identity log and new epoch files to a repository, before anything is sealed to them."""

from __future__ import annotations

from dataclasses import replace

from antsmem.backup import repository as repo
from antsmem.backup.lease import leased
from antsmem.backup.repository import Repository


def publish_keys(repository: Repository) -> None:
    """Carry the keys lent for this run into the repository and sign its anchor anew. Raises `LockedError`,
    `RollbackError`, and what the store raises."""
    with leased(repository.store, repository.keys.host):
        state = repo.read_state(repository, None)
        epochs = repo.carry_keys(repository, state.anchor.epochs)
        repo.write_anchor(repository, replace(state.anchor, epochs=epochs), state.token)
