"""What travels in a repository beside its backups: README, key files, and the identity log.

A log that takes the place of another may revoke the key that signed the list of snapshots there. So that list goes
first, signed by a key of the new log, to a name of its own (`anchors/next.json`): where the host is lost for good
before it signs the list itself, that one is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress

from antsmem.backup.readme import README
from antsmem.backup.repository import IDENTITY_LOG, NEXT, Anchor, Repository, State, sign_anchor
from antsmem.backup.tombstones import DESTROYED, is_superseded, merged, names_in
from antsmem.core.errors import NotFoundError
from antsmem.core.record import record


@record
class _Load:
    """`data` by name, of which what differs is put, and the digests of all that must then be there."""

    data: Mapping[str, bytes]
    files: dict[str, str]


def carry(repository: Repository, state: State) -> dict[str, str]:
    """`carry_files` into the repository in `state`, its list of snapshots first if the log will be another one."""
    known = state.anchor.files
    load = _load(repository, known)
    if known.get(IDENTITY_LOG) not in {None, load.files.get(IDENTITY_LOG)}:
        before = repository.store.read(NEXT)  # of a run that was cut off
        following = sign_anchor(repository, newest_anchor(repository, state, load.files))
        repository.store.swap(NEXT, following, before[1] if before else None)
        repository.doomed.add(NEXT)
    _put(repository, load, known)
    return load.files


def carry_files(repository: Repository, known: Mapping[str, str]) -> dict[str, str]:
    """Put the README, the files in `Keyring.carried` and the identity log where `known` (path → SHA-256) differs;
    returns the digests of all that must now be there. Epoch files that were destroyed, here or by another host,
    and files of former guardians are not put; those there go with the next anchor."""
    load = _load(repository, known)
    _put(repository, load, known)
    return load.files


def newest_anchor(repository: Repository, state: State, files: dict[str, str]) -> Anchor:
    """The anchor that lists all of `state`, with `files`."""
    return Anchor(
        sequence=state.next_sequence - 1,
        head=state.ids[-1] if state.ids else "",
        snapshots=state.ids,
        cold=state.anchor.cold,
        sealed=dict(repository.sealed),
        files=files,
    )


def _load(repository: Repository, known: Mapping[str, str]) -> _Load:
    carried = {f"keys/{name}": data for name, data in repository.keys.carried.items()} | {"README": README}
    tombstones = carried.get(DESTROYED, b"")
    if DESTROYED in known and known[DESTROYED] != hashlib.sha256(tombstones).hexdigest():
        with suppress(NotFoundError):
            tombstones = merged(tombstones, repository.store.get(DESTROYED), repository.keys)
    if tombstones:
        carried[DESTROYED] = tombstones
    destroyed = names_in(tombstones)
    names = {*known, *carried}
    gone = {name for name in names if is_superseded(name, destroyed, names)}
    repository.doomed.update(gone & known.keys())
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in carried.items()}
    files = {name: digest for name, digest in {**known, **wanted}.items() if name not in gone}
    return _Load({name: data for name, data in carried.items() if name not in gone}, files)


def _put(repository: Repository, load: _Load, known: Mapping[str, str]) -> None:
    for name, data in load.data.items():
        if known.get(name) != load.files[name]:
            repository.store.put(name, [data])
