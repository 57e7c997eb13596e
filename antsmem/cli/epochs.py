"""What a command has to know of epochs: their files, who opens them, which are current, which were destroyed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from antsmem.backup.snapshot import time_of
from antsmem.backup.tombstones import merged, names_in, tombstone
from antsmem.cli.context import Context
from antsmem.cli.keys import key_files
from antsmem.core.clock import utc_text
from antsmem.core.disk import read_file
from antsmem.core.errors import CannotUnlockError, IntegrityError, UsageError
from antsmem.core.record import replace

if TYPE_CHECKING:
    from antsmem.backup.repository import Keyring, Repository
    from antsmem.core.age import Identity, X25519Identity
    from antsmem.identity.keystore import Keystore

PERIOD = timedelta(days=7)
_LIMIT = 4 << 20


def epoch_files(ctx: Context) -> dict[str, bytes]:
    """Epoch → the bytes of its file on this host."""
    folder = ctx.identity_files.epochs
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    epochs = [name.removesuffix(".age") for name in names if name.endswith(".age")]
    return {name: read_file(folder / f"{name}.age", _LIMIT) for name in epochs if _is_epoch(name)}


def _is_epoch(name: str) -> bool:
    from antsmem.identity.epochs import check_epoch_name

    try:
        check_epoch_name(name)
        first_day(name)
    except (IntegrityError, ValueError):  # something else that lies there
        return False
    return True


def opened_epochs(files: dict[str, bytes], identities: list[X25519Identity]) -> dict[str, Identity]:
    """Epoch → its key, for those that `identities` open; a damaged file is as one that does not open."""
    from antsmem.identity.epochs import open_epoch

    found: dict[str, Identity] = {}
    for name, data in files.items():
        try:
            found[name] = open_epoch(name, data, identities)
        except (CannotUnlockError, IntegrityError):
            continue
    return found


def rewrapped_epochs(
    files: Mapping[str, bytes],
    identities: Sequence[X25519Identity],
    keystore: Keystore,
    recovery: X25519Identity,
    unreadable: set[str],
) -> dict[str, bytes]:
    """Epoch → its file with a header for whom `keystore` says; names of those that do not open go into
    `unreadable`."""
    from antsmem.identity.rewrap import rewrap_epoch

    made = {}
    for name, data in files.items():
        try:
            made[name] = rewrap_epoch(name, data, identities, keystore, recovery)
        except (CannotUnlockError, IntegrityError):
            unreadable.add(name)
    return made


def with_foreign_epochs(
    opened: Repository,
    identities: Sequence[X25519Identity],
    keystore: Keystore,
    recovery: X25519Identity,
    unreadable: set[str],
) -> Repository:
    """The repository, lent the epoch files of other hosts too, with headers for the recovery kit in force: such a
    host may be gone, and nobody else would see to it."""
    there, _ = key_files(opened.store)
    foreign = {n.removesuffix(".age"): data for n, data in there.items() if n not in opened.keys.carried}
    made = rewrapped_epochs(foreign, identities, keystore, recovery, unreadable)
    carried = {**opened.keys.carried, **{f"{name}.age": data for name, data in made.items()}}
    return replace(opened, keys=replace(opened.keys, carried=carried))


def without_epochs(opened: Repository) -> Repository:
    """The repository, lent no epoch file that it has already: those stay as they are there."""
    there, _ = key_files(opened.store)
    carried = {name: data for name, data in opened.keys.carried.items() if name not in there}
    return replace(opened, keys=replace(opened.keys, carried=carried))


def current_epochs(ctx: Context) -> set[str]:
    """The epochs to which backups are sealed now."""
    from antsmem.identity.epochs import current_epoch

    present = {f"{name}.age" for name in epoch_files(ctx)}
    found = (current_epoch(ctx.keystore.epochs, tier, present, ctx.now_ns) for tier in ("hot", "cold"))
    return {epoch.name for epoch in found if epoch is not None}


def tombstones(ctx: Context) -> bytes:
    """The list of epochs that were destroyed here."""
    path = ctx.identity_files.destroyed
    return read_file(path, _LIMIT) if path.exists() else b""


def with_tombstone(ctx: Context, keys: Keyring, name: str) -> bytes:
    """That list with `name` in it."""
    held = tombstones(ctx)
    if name in names_in(held):
        return held
    return merged(held, tombstone(keys.scid, name, keys.must_sign(), ctx.now_ns), keys)


def first_day(name: str) -> date:
    """The Monday on which the week of epoch `name` begins, UTC."""
    return date.fromisoformat(name.split("-")[1])


def cold_archives(
    repository: Repository, name: str, key: Identity | None, ids: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of the cold archives `ids` that are sealed to epoch `name`: by its `key`, else by their week, which
    `UsageError` says is not enough where two epochs share it."""
    if key is not None:
        from antsmem.backup.epochs import sealed_to

        held = set(sealed_to(repository, {name: key}, ("cold",))[name].cold)
        return tuple(i for i in ids if i in held)
    first = first_day(name)
    found = tuple(i for i in ids if first <= _day(i) < first + PERIOD)
    week = "-".join(name.split("-")[:2])
    there = {item.name.partition("/")[2].removesuffix(".age") for item in repository.store.list("keys")}
    there |= {carried.removesuffix(".age") for carried in repository.keys.carried}
    if found and any(other != name and (other == week or other.startswith(f"{week}-")) for other in there):
        raise UsageError(
            f"several cold epochs share the week of `{name}`: only the kit tells which archives are whose",
            hint="name the recovery kit with --kit FILE",
        )
    return found


def _day(snapshot_id: str) -> date:
    return date.fromisoformat(utc_text(time_of(snapshot_id))[:10])
