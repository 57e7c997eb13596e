"""Publish a changed identity log and new epoch files to a repository, before anything is sealed to them."""

from __future__ import annotations

from antsmem.backup import repository as repo
from antsmem.backup.lease import leased
from antsmem.backup.repository import Anchor, Repository


def publish_keys(repository: Repository) -> None:
    """Carry the keys lent for this run into the repository and sign its anchor anew. Raises `LockedError`,
    `RollbackError`, and what the store raises."""
    with leased(repository.store, repository.keys.host):
        state = repo.read_state(repository, None)
        files = repo.carry_files(repository, state.anchor.files)
        anchor = Anchor(
            sequence=state.next_sequence - 1,
            head=state.ids[-1] if state.ids else "",
            snapshots=state.ids,
            cold=state.anchor.cold,
            sealed=dict(repository.sealed),
            files=files,
        )
        repo.write_anchor(repository, anchor, state.token)
