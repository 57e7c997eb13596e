"""Rehearse a recovery without doing it: does a recovery kit really open what a repository keeps?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from antsmem.backup import repository as repo
from antsmem.backup.repository import COLD_SUFFIX, Repository
from antsmem.core.age import X25519Identity, opened_by
from antsmem.core.disk import Buffer
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError
from antsmem.core.record import record
from antsmem.identity.epochs import open_epochs
from antsmem.identity.escrow import open_escrow
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import key_hash
from antsmem.identity.recovery import RecoveryKit

_HEADER_BYTES = 4096


@record
class Opening:
    """One thing that a way back has to open. `problem` says why it did not, and is empty if it did."""

    what: str
    problem: str


def rehearse_identity(kit: RecoveryKit, log: IdentityLog, escrow: Buffer | None) -> tuple[Opening, ...]:
    """Whether `kit` may change the identity, and opens the `escrow` (None: there is none to be tried)."""
    steps = [_tried("right to change the identity", lambda: kit.generation(log))]
    if escrow is not None:
        steps.append(_tried("escrow", lambda: _require_next_key(kit, log, escrow)))
    return tuple(steps)


def rehearse_repository(
    repository: Repository, epochs: Mapping[str, bytes], recovery: X25519Identity
) -> tuple[Opening, ...]:
    """Whether `recovery` opens every one of the `epochs` (file name → bytes) in a repository, and its keys the
    newest snapshot of each tier. Nothing is written."""
    steps = [_tried("repository", lambda: _state(repository))]
    steps += [
        _tried(f"{tier} epoch keys", lambda tier=tier: _require_epochs(tier, epochs, recovery))  # type: ignore[misc]
        for tier in ("hot", "cold")
    ]
    if any(step.problem for step in steps):
        return tuple(steps)
    state = repo.read_state(repository, None)
    if state.ids:
        steps.append(_tried("newest hot snapshot", lambda: repo.read_head(repository, state.ids[-1])))
    if state.anchor.cold:
        steps.append(_tried("newest cold archive", lambda: _require_cold(repository, state.anchor.cold[-1])))
    return tuple(steps)


def opens(steps: Collection[Opening]) -> bool:
    """Whether all of it opened."""
    return bool(steps) and not any(step.problem for step in steps)


def _tried(what: str, step: Callable[[], object]) -> Opening:
    try:
        step()
    except AntsmemError as error:
        return Opening(what, str(error))
    return Opening(what, "")


def _state(repository: Repository) -> object:
    return repo.read_state(repository, None)


def _require_epochs(tier: str, epochs: Mapping[str, bytes], recovery: X25519Identity) -> None:
    wanted = {name: data for name, data in epochs.items() if name.startswith(f"{tier}-")}
    missing = {name.removesuffix(".age") for name in wanted} - open_epochs(wanted, [recovery]).keys()
    if missing:
        raise CannotUnlockError(f"{len(missing)} of {len(wanted)} do not open, `{min(missing)}` first")


def _require_cold(repository: Repository, snapshot_id: str) -> None:
    header = repository.store.get(f"cold/{snapshot_id}{COLD_SUFFIX}", 0, _HEADER_BYTES)
    repo.read_signature(repository, snapshot_id, "cold")
    if opened_by(header, repository.keys.identities) is None:
        raise CannotUnlockError(f"no key opens cold archive `{snapshot_id}`")


def _require_next_key(kit: RecoveryKit, log: IdentityLog, data: Buffer) -> None:
    found = open_escrow(data, [kit.identity], log)
    if found.log_head == log.head and key_hash(found.next_key.public) not in log.next_key_hashes:
        raise IntegrityError("it holds another key than the identity log has committed to")
