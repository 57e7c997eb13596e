"""Verb: see that this host and the backend have the same keyring, that all devices can open it, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from antsmem.core.age import X25519Identity, X25519Recipient
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, NotFoundError
from antsmem.core.record import field, record, replace
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey
from antsmem.identity.signing import SigningKey
from antsmem.memory.keyring import (
    MAX_BYTES,
    Keyring,
    ask,
    asking_row,
    new_keyring,
    open_keyring,
    read_asking,
    read_grants,
    seal_keyring,
    signer_of,
    united,
    without_revoked,
)
from antsmem.memory.roles import Change, DurableStore
from antsmem.memory.sealing import MemoryKeys

KEYRING = "keyring"
_ASKING = "asking/"
_PAGE = 200


@record
class Member:
    """This host as one that may open the keyring: its op key, its own identity, to whom besides devices it seals,
    and the identities that may open what another one sealed (backup epochs), asked for only where its own does
    not. Op keys are rotated; the identity stays."""

    op_key: SigningKey
    identity: X25519Identity = field(repr=False)
    others: tuple[str, ...]
    more: Callable[[], Sequence[X25519Identity]] = field(repr=False)

    @property
    def recipient(self) -> X25519Recipient:
        """To whom others seal for this host."""
        return self.identity.recipient


class KeyringFile:
    """The keyring of this workspace, in the file `path`. `member` is asked when keys are needed."""

    def __init__(
        self, path: Path, stream: str, log: IdentityLog, member: Callable[[], Member], now_ns: int
    ) -> None:
        self._path = path
        self._stream = stream
        self._log = log
        self._member = member
        self._now_ns = now_ns

    def keys(self) -> MemoryKeys:
        """The keys; a keyring is made if there is none. `CannotUnlockError` if it is sealed to others only."""
        data = self._read()
        if data is None:
            return self._write(new_keyring(self._now_ns)).keys
        return self._mine(data).keys

    def agree(self, durable: DurableStore) -> tuple[list[Change], bool]:
        """The rows to give so that all devices have the same keyring (mostly none), and whether this host can read
        what the others wrote. The file is changed on the way. Raises as `open_keyring`, but for want of a key."""
        row = durable.get(self._stream, KEYRING)
        data = self._read()
        if row is not None and row.value == data and not self._has_to_seal(durable, data):
            return [], True
        found = self._mine(data) if data is not None else None
        if row is not None and row.value != data:
            self._refuse_revoked(row.value)
            try:
                theirs = self._open(row.value)
            except CannotUnlockError:
                return self._ask(durable), False
            found = united(theirs, found) if found else theirs
            if set(found.epochs) == set(theirs.epochs) and self._is_granted(theirs):
                self._keep(row.value)
                if not self._has_to_seal(durable, row.value):
                    return [], True
        found = self._write(found or new_keyring(self._now_ns), self._who_asks(durable))
        return [Change(KEYRING, self._read(), row.version if row else 0)], True

    def _ask(self, durable: DurableStore) -> list[Change]:
        """The row that asks to be let in, where it is not there."""
        member = self._member()
        name, asking = asking_row(member.op_key.public), ask(self._stream, member.op_key, str(member.recipient))
        row = durable.get(self._stream, name)
        if row is not None and row.value == asking:
            return []
        return [Change(name, asking, row.version if row else 0)]

    def _has_to_seal(self, durable: DurableStore, data: bytes) -> bool:
        """Whether a device asks that is not granted, or one is granted that was revoked."""
        grants = read_grants(data, self._stream, self._log)
        current = {multikey(public) for public, key in self._log.operational_keys.items() if not key.revoked}
        return not set(grants) <= current or bool(self._who_asks(durable).items() - grants.items())

    def _who_asks(self, durable: DurableStore) -> dict[str, str]:
        found = {}
        for name, row in durable.rows(self._stream, _ASKING, _PAGE):
            if not name.startswith(_ASKING):
                break
            try:
                key, recipient = read_asking(row.value, self._stream, self._log)
            except AntsmemError:  # of a device that is revoked, or forged: gets nothing
                continue
            found[key] = recipient
        return found

    def _is_granted(self, keyring: Keyring) -> bool:
        return multikey(self._member().op_key.public) in keyring.grants

    def _refuse_revoked(self, data: bytes) -> None:
        """What a revoked device sealed counts no more: its keys would be known to it."""
        key = self._log.operational_keys.get(signer_of(data))
        if key is not None and key.revoked and self._read() is not None:
            raise IntegrityError(
                f"the keyring in the backend was sealed by host `{key.host}`, whose key is revoked",
                hint="antsmem backend rebuild durable",
            )

    def _mine(self, data: bytes) -> Keyring:
        """What this host's file holds, opened."""
        try:
            return self._open(data)
        except IntegrityError as error:
            raise IntegrityError(f"`{self._path}`: {error}", hint="move it aside, then: antsmem sync") from None

    def _open(self, data: bytes) -> Keyring:
        member = self._member()
        try:
            return open_keyring(data, self._stream, self._log, [member.identity])
        except CannotUnlockError:
            return open_keyring(data, self._stream, self._log, member.more())

    def _write(self, keyring: Keyring, asking: dict[str, str] | None = None) -> Keyring:
        """Seal the keyring anew, for this host and for those that ask too."""
        member = self._member()
        own = {multikey(member.op_key.public): str(member.recipient)}
        keyring = replace(keyring, grants={**keyring.grants, **(asking or {}), **own})
        keyring = without_revoked(keyring, self._log, self._now_ns)
        self._keep(seal_keyring(keyring, self._stream, member.op_key, member.others))
        return keyring

    def _keep(self, data: bytes) -> None:
        make_private_dir(self._path.parent)
        write_file(self._path, [data])

    def _read(self) -> bytes | None:
        try:
            return read_file(self._path, MAX_BYTES)
        except NotFoundError:
            return None
