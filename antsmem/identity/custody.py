"""The keystore and the ledger of one host, read together and changed together.

The keystore is where a change is committed: it holds the rows of its last change. The ledger, its head and the pin
are written after it, and completed by whoever opens them next if a run died in between. So a reader sees the old
state or the new one, and an old copy of any of these files is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.clock import utc_text
from antsmem.core.disk import locked, read_file, write_file
from antsmem.core.errors import (
    RECOVER,
    AntsmemError,
    CannotUnlockError,
    DiskError,
    IntegrityError,
    LockedError,
    NotFoundError,
    RetiredError,
    RollbackError,
    UsageError,
)
from antsmem.core.record import field, record, replace
from antsmem.identity.anchor import (
    Head,
    PinFile,
    Publication,
    check_head,
    head_from_json,
    head_to_json,
    publication_from_bytes,
    publication_to_bytes,
    sign_head,
)
from antsmem.identity.envelope import MAX_BYTES
from antsmem.identity.files import IdentityFiles
from antsmem.identity.keystore import Keystore, open_keystore, own_keystore, save_keystore
from antsmem.identity.ledger import (
    FIRST,
    Ledger,
    Standing,
    extended,
    open_ledger,
    read_rows,
    seal_ledger,
    secret_row,
)
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import parse_multikey
from antsmem.identity.secret import Secret

ENDED = ("superseded", "revoked", "destroyed")
_FIND = "antsmem secret verify fetches the newest ledger from the anchors"


@record
class Access:
    """What opens a host's keystore and ledger, and where they lie. `pin` is a file outside of the workspace."""

    files: IdentityFiles
    pin: Path
    host: X25519Identity
    log: IdentityLog


@record
class Custody:
    """A host's keystore with the ledger that belongs to it; where the keystore was an older copy, its secrets are
    as the ledger wants them. `pending`: why the files of a committed change could not all be written."""

    keystore: Keystore
    ledger: Ledger
    pending: str = ""


@record
class Change:
    """What a verb makes of a custody: the secrets as they shall be, and the rows that say so (see
    `ledger.secret_row`)."""

    secrets: tuple[Secret, ...]
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def open_custody(access: Access, keystore: Keystore | None = None) -> Custody:
    """Open the ledger with its keystore (`keystore`, if that is open already), and complete what a run that died
    left undone. An agent without a ledger has an empty one.

    Raises as `own_keystore` and `open_ledger` do; `RollbackError` if the ledger is older than, or another than,
    what the keystore or the pin has seen.
    """
    found, ready = _read(access, keystore)
    if ready:
        return found
    try:
        with _lock(access):
            found, ready = _read(access, None)
            return found if ready else replace(found, pending=_complete(access, found))
    except LockedError:
        return found  # whoever holds it is writing just that
    except (DiskError, RetiredError, UsageError) as error:  # what is written no more can still be read
        return replace(found, pending=str(error))


def change_custody(access: Access, change: Callable[[Custody], Change], now_ns: int) -> Custody:
    """Make `change` of the newest custody: keystore and ledger, both or neither.

    Raises `LockedError` while another process changes them, and what `change` and `save_keystore` raise; then
    nothing was changed. Once the keystore is saved the change is made.
    """
    with _lock(access):
        found, ready = _read(access, None)
        if not ready:
            # The keystore remembers one change only: the one before has to be in the ledger for good.
            if why := _complete(access, found):
                raise DiskError(f"the change before could not be completed: {why}")
            found, _ = _read(access, None)
        wanted = change(found)
        if not wanted.rows and wanted.secrets == found.keystore.secrets:
            return found
        ledger = extended(found.ledger, wanted.rows, found.keystore.op_key, now_ns)
        added = ledger.rows[found.ledger.seq :]
        last = tuple(canonical.dumps(row.body).decode() for row in added) or ledger.last_row
        keystore = replace(found.keystore, secrets=wanted.secrets, ledger=last)
        made = Custody(save_keystore(access.files.keystore, keystore, access.host), ledger)
        return replace(made, pending=_complete(access, made))


def adopt_ledger(access: Access, newer: Ledger, now_ns: int) -> Custody:
    """Take over `newer`, a verified ledger that continues the one of this host (else `RollbackError`): what it
    revokes is revoked here."""
    with _lock(access):
        found, _ = _read(access, None, lost=True)
        for where, seq, digest in _seen(access, found):
            if not newer.holds(seq, digest):
                raise fork(where) if seq <= newer.seq else _rolled_back(where, seq, newer)
        secrets = under_ledger(found.keystore.secrets, newer.standings(), utc_text(now_ns))
        keystore = replace(found.keystore, secrets=secrets, ledger=newer.last_row)
        made = Custody(save_keystore(access.files.keystore, keystore, access.host), newer)
        return replace(made, pending=_complete(access, made))


def reseal_custody(access: Access) -> Custody:
    """Seal the ledger to whom the keystore is sealed now: recovery has changed. Raises as `open_custody` does, and
    `DiskError`; the files are then old or new."""
    with _lock(access):
        found, _ = _read(access, None)
        if why := _complete(access, found):
            raise DiskError(why)
    return found


def close_custody(access: Access, now_ns: int) -> Custody:
    """Append a row that says that this host goes on: behind it nothing of a key that was revoked before counts,
    and every anchor takes the ledger as it is sealed now. An empty ledger stays empty. Raises as `change_custody`
    does."""

    def change(custody: Custody) -> Change:
        row = secret_row("recover", custody.keystore.host, access.log.version, "identity")
        return Change(custody.keystore.secrets, [row] if custody.ledger.rows else [])

    return change_custody(access, change, now_ns)


def is_unclosed(custody: Custody, log: IdentityLog) -> bool:
    """Whether the newest row is by a key that this host had before: the run that changed it was cut off."""
    rows = custody.ledger.rows
    known = log.op_key(parse_multikey(rows[-1].body["by"])) if rows else None
    return known is not None and known.revoked and known.host == custody.keystore.host


def publication_of(custody: Custody) -> bytes | None:
    """What anchors are given of the ledger in `custody`; None: it has no rows yet."""
    if not custody.ledger.rows:
        return None
    return publication_to_bytes(Publication(_head(custody), _sealed(custody)))


def under_ledger(
    secrets: Sequence[Secret], standings: Mapping[tuple[str, int], Standing], now: str
) -> tuple[Secret, ...]:
    """`secrets` as the ledger's `standings` want them: what it ended has no value any more, and what it never
    heard of, or knows as better than it is here, stays as it is."""

    newest: dict[str, list[int]] = {}
    for name, version in standings:
        newest.setdefault(name, []).append(version)

    def under(secret: Secret) -> Secret:
        # A version without a row of its own (of a class that changes often) is what the one before it is.
        known = [version for version in newest.get(secret.name, ()) if version <= secret.version]
        standing = standings[secret.name, max(known)] if known else None
        if standing is None or standing.state not in ENDED or secret.state == standing.state:
            return secret
        return replace(secret, state=standing.state, changed=now, value=b"")

    return tuple(map(under, secrets))


def fork(where: str) -> RollbackError:
    """The error for two ledgers of which neither continues the other."""
    return RollbackError(
        f"the ledger has two histories: the one of {where} is not the beginning of the newest",
        hint="two hosts went on with it, or somebody has an op key: decide which history is true",
    )


def _lock(access: Access) -> AbstractContextManager[int]:
    path = access.files.ledger.with_suffix(".lock")
    return locked(path, f"ledger `{access.files.ledger}` is being changed by another process")


def _read(access: Access, keystore: Keystore | None, *, lost: bool = False) -> tuple[Custody, bool]:
    """The custody as it counts, and whether its files are all as they should be. `lost`: a ledger that is gone, or
    older than something else has seen, is no failure."""
    pin = PinFile(access.pin).fetch()  # first: it is written last
    keystore = keystore or own_keystore(access.files, access.host, access.log)
    ledger = stored = _ledger(access, keystore)
    last = [canonical.loads(text.encode(), MAX_BYTES) for text in keystore.ledger]
    seen, digest = (last[-1]["seq"], _hash(keystore.ledger[-1])) if last else (0, FIRST)
    if seen < ledger.seq:
        again = open_keystore(access.files.keystore, [access.host])
        if again.sequence != keystore.sequence:  # a change went on between the two reads
            return _read(access, None, lost=lost)
        if not ledger.holds(seen, digest):
            raise fork("the keystore")
        secrets = under_ledger(keystore.secrets, ledger.standings(), ledger.rows[-1].time)
        keystore = replace(keystore, secrets=secrets)
    elif seen > ledger.seq and last[0]["seq"] > ledger.seq + 1:
        if not lost:
            raise RollbackError(
                f"ledger `{access.files.ledger}` is gone, or older than the keystore beside it", hint=_FIND
            )
    elif not ledger.holds(seen, digest):
        missing = [value for value in last if value["seq"] > ledger.seq]
        try:
            rows = read_rows(missing, access.log, ledger.rows, signed=False)
        except IntegrityError:
            raise fork("the keystore") from None
        ledger = replace(ledger, rows=rows)
        if ledger.hash != digest:
            raise fork("the keystore")
    pinned = _pinned(access, pin, ledger, lost=lost)
    ready = ledger is stored and (not ledger.rows or (pinned and _has_head(access, ledger)))
    return Custody(keystore, ledger), ready


def _ledger(access: Access, keystore: Keystore) -> Ledger:
    """The ledger as its file holds it; an empty one if there is none."""
    path = access.files.ledger
    try:
        data = read_file(path, MAX_BYTES)
    except NotFoundError:
        return Ledger(keystore.scid, keystore.fingerprint_key)
    try:
        return open_ledger(data, [access.host], access.log, {keystore.op_key.public})
    except IntegrityError as error:
        raise IntegrityError(f"ledger `{path}`: {error}", hint=f"remove it, then: {_FIND}") from None
    except CannotUnlockError:
        raise CannotUnlockError(f"no key at hand opens ledger `{path}`", hint=RECOVER) from None


def _pinned(access: Access, pin: bytes | None, ledger: Ledger, *, lost: bool) -> bool:
    """Whether the pin has seen the whole of `ledger`; `RollbackError` if it has seen more, or something else."""
    if pin is None:
        return False
    head = _pin_head(access, pin)
    if not ledger.holds(head.seq, head.hash) and not (lost and head.seq > ledger.seq):
        raise fork("the pin") if head.seq <= ledger.seq else _rolled_back("the pin", head.seq, ledger)
    return head.seq == ledger.seq


def _pin_head(access: Access, pin: bytes) -> Head:
    try:
        head = publication_from_bytes(pin).head
        check_head(head, access.log)
    except IntegrityError as error:
        raise IntegrityError(f"pin `{access.pin}`: {error}", hint=f"remove it, then: {_FIND}") from None
    return head


def _seen(access: Access, found: Custody) -> Iterator[tuple[str, int, str]]:
    """What this host knows of its ledger: from where, the number of a row and its hash."""
    yield "this host", found.ledger.seq, found.ledger.hash
    if last := found.keystore.ledger:
        yield "the keystore", canonical.loads(last[-1].encode(), MAX_BYTES)["seq"], _hash(last[-1])
    if (pin := PinFile(access.pin).fetch()) is not None:
        head = _pin_head(access, pin)
        yield "the pin", head.seq, head.hash


def _rolled_back(where: str, seq: int, ledger: Ledger) -> RollbackError:
    return RollbackError(
        f"the ledger ends with row {ledger.seq}, but {where} has seen row {seq}: an old copy was put back",
        hint=_FIND,
    )


def _has_head(access: Access, ledger: Ledger) -> bool:
    try:
        head = head_from_json(canonical.loads(read_file(access.files.head, MAX_BYTES), MAX_BYTES))
    except (NotFoundError, IntegrityError):
        return False
    return (head.seq, head.hash) == (ledger.seq, ledger.hash)


def _complete(access: Access, custody: Custody) -> str:
    """Write ledger, head and pin of a committed change; why that failed, or nothing."""
    files = access.files
    if not custody.ledger.rows:
        return ""
    head = _head(custody)
    try:
        write_file(files.ledger, [_sealed(custody)])
        write_file(files.head, [canonical.dumps(head_to_json(head)) + b"\n"])
        PinFile(access.pin).publish(publication_to_bytes(Publication(head, b"")))
    except (IntegrityError, RollbackError):
        raise
    except AntsmemError as error:
        return str(error)
    return ""


def _head(custody: Custody) -> Head:
    return sign_head(custody.ledger, custody.keystore.host, custody.keystore.op_key)


def _sealed(custody: Custody) -> bytes:
    keystore = custody.keystore
    recipients = (keystore.host_recipient, *keystore.recovery_recipients)
    return seal_ledger(custody.ledger, keystore.op_key, recipients)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
