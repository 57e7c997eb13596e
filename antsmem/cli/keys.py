"""Which keys a command gets: from the host's unlock chain, or from a recovery kit on any machine."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from antsmem.backup.repository import IDENTITY_LOG, Keyring
from antsmem.core.disk import is_temp, read_file
from antsmem.core.errors import CannotUnlockError, IntegrityError, NotFoundError, UsageError
from antsmem.identity.unlock import (
    KeySource,
    command_source,
    credential_source,
    descriptor_source,
    file_source,
    keyring_source,
    passphrase_source,
)

if TYPE_CHECKING:
    from antsmem.backup.store import Store
    from antsmem.cli.context import Context
    from antsmem.core.age import Identity, X25519Identity
    from antsmem.identity.files import IdentityFiles
    from antsmem.identity.log import IdentityLog
    from antsmem.identity.recovery import RecoveryKit

_LIMIT = 1 << 20
_LIST_LIMIT = 4 << 20


class OnDemand(Sequence["Identity"]):
    """The identities that `opened` gives for `names`, None where there is none. Each is opened when it is first
    looked at: most backups look at none, and the first opens most of what is read."""

    def __init__(self, names: Sequence[str], opened: Callable[[str], Identity | None]) -> None:
        self._opened = opened
        self._left = list(names)[::-1]
        self._held: list[Identity] = []
        self._alone = threading.Lock()

    def _reaches(self, count: int) -> bool:
        """Whether there are so many; they are open then."""
        while len(self._held) < count:
            with self._alone:
                if not self._left:
                    return len(self._held) >= count
                found = self._opened(self._left[-1])
                self._left.pop()
                self._held += [] if found is None else [found]
        return True

    @overload
    def __getitem__(self, index: int) -> Identity: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Identity]: ...
    def __getitem__(self, index: int | slice) -> Identity | Sequence[Identity]:
        return list(self)[index]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return self._reaches(1)

    def __iter__(self) -> Iterator[Identity]:
        at = 0
        while self._reaches(at + 1):
            yield self._held[at]
            at += 1


def key_sources(context: Context) -> list[KeySource]:
    """The unlock chain in the operator's order."""
    found: list[KeySource] = []
    for source in context.operator.key_sources:
        kind, _, rest = source.partition(":")
        if kind == "credentials":
            directory = context.environment.get("CREDENTIALS_DIRECTORY")
            found += [credential_source(Path(directory))] if directory else []
        elif kind == "keyring":
            found.append(keyring_source(context.log.scid))
        elif kind == "host_key":
            found.append(file_source(context.identity_files.host_key, context.identity_files.backed_up))
        elif kind == "file":
            found.append(file_source(Path(rest), context.identity_files.backed_up))
        elif kind == "command":
            found.append(command_source(shlex.split(rest)))
        elif kind == "fd":
            found.append(descriptor_source(int(rest) if rest.isdecimal() else -1))
        else:
            found.append(passphrase_source(Path(rest), lambda: _ask(context)))
    return found


def _ask(context: Context) -> str | None:
    """A passphrase from the terminal, or None where nobody can be asked."""
    import getpass
    import sys

    if context.options.no_input or not sys.stdin.isatty():
        return None
    return getpass.getpass("passphrase: ")


def host_keyring(context: Context, *tiers: str) -> Keyring:
    """This host's keys: to write to `tiers`, and to read hot snapshots when something asks for that."""
    from antsmem.core.age import parse_recipient
    from antsmem.identity.rollover import ensure_epoch

    keystore, files, sealing = context.keystore, context.identity_files, {}
    for tier in tiers:
        ensured = ensure_epoch(
            keystore, "hot" if tier == "hot" else "cold", files, context.unlocked, context.now_ns
        )
        keystore = ensured.keystore
        sealing[tier] = (ensured.epoch.name, parse_recipient(ensured.epoch.recipient))
    there = os.listdir(files.epochs) if files.epochs.is_dir() else []
    names = sorted(name for name in there if not is_temp(name))
    epochs = {name: read_file(files.epochs / name, _LIMIT) for name in names}
    return Keyring(
        scid=context.log.scid,
        host=keystore.host,
        identity_version=context.log.version,
        trusted=context.log.operational_keys.keys(),
        current=current_keys(context.log),
        signer=keystore.op_key,
        sealing=sealing,
        identities=OnDemand(names[::-1], lambda name: _open(epochs, name, context.unlocked)),  # newest first
        carried={**epochs, **_travelling(context, files), IDENTITY_LOG.partition("/")[2]: context.log.text},
    )


def _travelling(context: Context, files: IdentityFiles) -> dict[str, bytes]:
    """The guardians' files and the list of destroyed epochs, where there are any."""
    found: dict[str, bytes] = {}
    if files.guardians.is_dir():
        from antsmem.identity.guardians import guardian_files_in, read_guardian_set

        found = guardian_files_in(files.guardians)
        try:
            known = read_guardian_set(found, [context.unlocked], context.log)
        except (CannotUnlockError, IntegrityError):
            known = None
        if found and known is None:  # a set that somebody put here would take the place of the true one everywhere
            context.output.warn(
                f"`{files.guardians}` holds files that no host of the agent made: not carried to repositories"
            )
            found = {}
    if files.destroyed.exists():
        found[files.destroyed.name] = read_file(files.destroyed, _LIST_LIMIT)
    return found


def kit_keyring(store: Store, kit_path: Path) -> Keyring:
    """Keys for reading on any machine, by the kit in a file; see `recovery_keyring`."""
    return recovery_keyring(store, read_kit(kit_path), f"`{kit_path}`")


def read_kit(path: Path) -> RecoveryKit:
    """The recovery kit in a file; `-` is standard input."""
    from antsmem.identity.recovery import RecoveryKit

    data = _standard_input() if str(path) == "-" else read_file(path, _LIMIT)
    try:
        return RecoveryKit.parse(data.decode(errors="replace"))
    except UsageError as error:
        where = "standard input" if str(path) == "-" else f"`{path}`"
        raise UsageError(
            f"{where} is no recovery kit: {error}", hint="it is the file that `antsmem init` wrote: --kit FILE"
        ) from None


def _standard_input() -> bytes:
    import sys

    return sys.stdin.buffer.read(_LIMIT)


def recovery_keyring(store: Store, kit: RecoveryKit, what: str = "this") -> Keyring:
    """Keys for reading on any machine: the kit opens the epoch keys that travel in the repository, and vouches
    for the identity log there. Raises `CannotUnlockError` for the kit of another agent."""
    from antsmem.identity.log import parse_log

    try:
        log = parse_log(store.get(IDENTITY_LOG))
    except NotFoundError:
        raise NotFoundError(f"no repository at `{store.url}`", hint="is it mounted? is the URL right?") from None
    if kit.scid and kit.scid != log.scid:
        raise CannotUnlockError(
            f"{what} is the recovery kit of another agent than the repository at `{store.url}`",
            hint="the kit names its agent in the first lines",
        )
    epochs, _ = key_files(store)
    opened = [_open(epochs, name, kit.identity) for name in sorted(epochs, reverse=True)]
    return Keyring(
        scid=log.scid,
        host="",
        identity_version=log.version,
        trusted=log.operational_keys.keys(),
        current=current_keys(log),
        identities=[*(each for each in opened if each is not None), kit.identity],
    )


def key_files(store: Store) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What travels in `keys/`: the epoch files that were not destroyed, and all else but the identity log."""
    from antsmem.backup.tombstones import DESTROYED, names_in

    files = {item.name.partition("/")[2]: store.get(item.name) for item in store.list("keys")}
    files.pop(IDENTITY_LOG.partition("/")[2], None)
    destroyed = names_in(files.get(DESTROYED.partition("/")[2], b""))
    epochs = {name: data for name, data in files.items() if name.endswith(".age")}
    rest = {name: data for name, data in files.items() if name not in epochs}
    return {name: data for name, data in epochs.items() if name.removesuffix(".age") not in destroyed}, rest


def public_keyring(store: Store) -> Keyring:
    """No key at all: what a check can do for anybody. The identity log in the repository says who signs."""
    from antsmem.identity.log import parse_log

    log = parse_log(store.get(IDENTITY_LOG))
    return Keyring(log.scid, "", log.version, log.operational_keys.keys(), current=current_keys(log))


def current_keys(log: IdentityLog) -> list[bytes]:
    """The operational keys that speak for the agent today."""
    return [public for public, key in log.operational_keys.items() if not key.revoked]


def _open(epochs: Mapping[str, bytes], name: str, identity: X25519Identity) -> Identity | None:
    """The epoch key in the file `name`, if it is for `identity`: a cold or a destroyed one is not."""
    from antsmem.identity.epochs import open_epoch

    try:
        return open_epoch(name.removesuffix(".age"), epochs[name], [identity])
    except CannotUnlockError:
        return None
