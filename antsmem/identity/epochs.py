"""Epoch keys: backups of one tier and one week are sealed to one key, kept in one small file.

`hot-20261116.age` is sealed to the host and to recovery, `cold-20261116.age` to recovery only; inside is a stock
age identity file, so the `age` program alone opens it and with it the packs of that week. Destroying the file
destroys what only that week held. The key of a name never changes: a name that was used is not used again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from antsmem.core.age import X25519Identity, parse_identity_file, parse_recipient, seal, unseal
from antsmem.core.clock import utc_text
from antsmem.core.disk import Buffer
from antsmem.core.errors import CannotUnlockError, IntegrityError, UsageError, naming
from antsmem.core.record import field, record

Tier: TypeAlias = Literal["hot", "cold"]

PERIOD_DAYS = 7
_DAY_NS = 86_400_000_000_000
_MONDAY = 4  # days from 1970-01-01, a Thursday, to the first Monday
_NAME = re.compile(r"(hot|cold)-([0-9]{8})(?:-([1-9][0-9]{0,3}))?")


@record
class Epoch:
    """An epoch's name (`hot-20261116`, the Monday on which its week begins; `hot-20261116-2` for a second key of
    that week) and its recipient, to which its backups are sealed."""

    name: str
    recipient: str = field(repr=False)

    @property
    def tier(self) -> Tier:
        """The tier whose backups are sealed to it."""
        return "hot" if self.name.startswith("hot-") else "cold"

    @property
    def start(self) -> str:
        """The first day of its week, `YYYYMMDD`, UTC."""
        return self.name.split("-")[1]

    @property
    def file_name(self) -> str:
        """The name of the file with its key."""
        return f"{self.name}.age"


@record
class NewEpoch:
    """An epoch just made, and the bytes of its file. Nothing may be sealed to it before the file is durable."""

    epoch: Epoch
    sealed: bytes = field(repr=False)


def check_epoch_name(name: str) -> None:
    """`IntegrityError` unless `name` is `hot-<YYYYMMDD>` or `cold-<YYYYMMDD>`, perhaps with `-<number>`."""
    if not _NAME.fullmatch(name):
        raise IntegrityError(f"{name[:80]!r} does not name an epoch")


def current_epoch(epochs: Iterable[Epoch], tier: Tier, present: Collection[str], now_ns: int) -> Epoch | None:
    """The epoch of `epochs` to which backups of `tier` are sealed at `now_ns`, None if there is none yet.

    `present`: the names of the epoch files that exist. An epoch whose file is gone is destroyed: whatever were
    sealed to it now could never be read.
    """
    start = _start(now_ns)
    fitting = [
        epoch for epoch in epochs if epoch.tier == tier and epoch.start == start and epoch.file_name in present
    ]
    return max(fitting, key=lambda epoch: (len(epoch.name), epoch.name), default=None)


def is_current(epoch: Epoch, now_ns: int) -> bool:
    """Whether `now_ns` is in the week of `epoch`."""
    return epoch.start == _start(now_ns)


def new_epoch(
    tier: Tier,
    taken: Collection[str],
    host_recipient: str,
    recovery_recipients: Sequence[str],
    now_ns: int,
    number: int = 1,
) -> NewEpoch:
    """A new epoch of `tier` for the week of `now_ns`, under a name that is not in `taken` (names, not files): with
    `number` or a higher one.

    The private key exists only inside the sealed file when this returns: a cold one, only recovery opens.
    """
    base = f"{tier}-{_start(now_ns)}"
    name = base if number == 1 else f"{base}-{number}"
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    identity = X25519Identity.generate()
    sealed = seal_epoch(name, identity, host_recipient, recovery_recipients)
    return NewEpoch(Epoch(name, str(identity.recipient)), sealed)


def first_number(hosts: Collection[str], host: str) -> int:
    """With which number the epochs of `host` begin each week, given all `hosts` that the agent ever had: 1 if it
    is the only one. Hosts do not see one another's epochs, and in a repository a name must never mean two keys."""
    if len(hosts) < 2:
        return 1
    return 2 + int.from_bytes(hashlib.sha256(host.encode()).digest()[:4], "big") % 9000


def seal_epoch(
    name: str, identity: X25519Identity, host_recipient: str, recovery_recipients: Sequence[str]
) -> bytes:
    """The file of epoch `name` with the key `identity`, sealed to whom its tier allows."""
    check_epoch_name(name)
    if not recovery_recipients:
        raise UsageError(f"epoch `{name}` has no recovery recipient")
    allowed = [*recovery_recipients, host_recipient] if name.startswith("hot-") else recovery_recipients
    text = f"# antsmem epoch key\n# name: {name}\n# public key: {identity.recipient}\n{identity.secret()}\n"
    return b"".join(seal([text.encode()], [parse_recipient(recipient) for recipient in allowed]))


def open_epoch(name: str, data: Buffer, identities: Sequence[X25519Identity]) -> X25519Identity:
    """The key in the file `data` of epoch `name`.

    `CannotUnlockError`: none of `identities` opens it. `IntegrityError`: changed, or the file of another epoch.
    """
    check_epoch_name(name)
    with naming(f"epoch file `{name}.age`"):
        text = bytes(unseal(data, identities)).decode("latin-1")
    if f"# name: {name}" not in text.splitlines():
        raise IntegrityError(f"epoch file `{name}.age` holds the key of another epoch")
    keys = parse_identity_file(text)
    if len(keys) != 1 or not isinstance(keys[0], X25519Identity):
        raise IntegrityError(f"epoch file `{name}.age` does not hold one age key")
    return keys[0]


def open_epochs(files: Mapping[str, Buffer], identities: Sequence[X25519Identity]) -> dict[str, X25519Identity]:
    """The keys of all epoch `files` (file name, `hot-20261116.age` → bytes) that `identities` open, by epoch name.

    A file that none of them opens (a cold one on a host) is left out; a damaged one raises `IntegrityError`.
    """
    found = {}
    for file_name, data in files.items():
        name = file_name.removesuffix(".age")
        try:
            found[name] = open_epoch(name, data, identities)
        except CannotUnlockError:
            continue
    return found


def _start(now_ns: int) -> str:
    day = now_ns // _DAY_NS
    monday = day - (day - _MONDAY) % PERIOD_DAYS
    return utc_text(monday * _DAY_NS)[:10].replace("-", "")
