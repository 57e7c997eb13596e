"""The unlock chain: where this host's key comes from, asked in the operator's order until one answers.

A source gives the text of an age identity file with one X25519 key. One that does not answer, or whose key lies
where others could read it, is passed over and named with its reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from antsmem.core.age import ScryptIdentity, X25519Identity, parse_identity_file, unseal
from antsmem.core.disk import disk_error, read_file
from antsmem.core.errors import RECOVER, AntsmemError, CannotUnlockError, UsageError
from antsmem.core.program import printed
from antsmem.core.record import record

CREDENTIAL_NAME = "antsmem.key"
KEYRING_SERVICE = "antsmem"
_MAX_BYTES = 65536
_SYNCED = (".git", ".hg", ".stfolder", ".dropbox.cache")
"""What stands at the top of a directory that git, Mercurial, Syncthing or Dropbox carries elsewhere."""


@record
class KeySource:
    """A place that may have the host's key: `name` for people, `read` gives the identity file's text or raises
    one of our errors."""

    name: str
    read: Callable[[], str]


@record
class Unlocked:
    """The host's key, the name of the source that had it, and why the ones before it did not answer."""

    identity: X25519Identity
    source: str
    passed_over: tuple[str, ...]


def unlock(sources: Sequence[KeySource]) -> Unlocked:
    """The key of the first of `sources` that answers; `CannotUnlockError` says why each of them did not."""
    reasons: list[str] = []
    for source in sources:
        try:
            return Unlocked(_one_key(source.read()), source.name, tuple(reasons))
        except AntsmemError as error:
            reasons.append(f"{source.name}: {error}")
    tried = "; ".join(reasons) if reasons else "no key source is configured"
    raise CannotUnlockError(
        f"nothing gave the host's key: {tried}",
        hint=f"see `antsmem config show --origin` for the key sources; if the key is lost, {RECOVER}",
    )


def credential_source(directory: Path, name: str = CREDENTIAL_NAME) -> KeySource:
    """The file `name` in `directory`, where systemd puts a service's credentials (root may own it)."""
    return KeySource(
        f"systemd credential `{name}`",
        lambda: _read_private(directory / name, owners={os.geteuid(), 0}, mask=0o027),
    )


def keyring_source(account: str, service: str = KEYRING_SERVICE) -> KeySource:
    """The entry of `account` in the desktop's keyring, by the library `keyring` (extra `[keyring]`)."""

    def read() -> str:
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            raise CannotUnlockError("the library `keyring` is not installed") from None
        try:
            text = keyring.get_password(service, account)
        except KeyringError as error:
            # Its kind only: nobody knows what a keyring's own text may hold.
            raise CannotUnlockError(f"the keyring refused ({type(error).__name__})") from None
        if text is None:
            raise CannotUnlockError(f"the keyring has no entry `{account}` of `{service}`")
        return str(text)

    return KeySource(f"keyring entry `{account}`", read)


def command_source(arguments: Sequence[str], timeout_seconds: float = 30) -> KeySource:
    """What the program `arguments` prints. It is started without a shell and without our standard input."""

    def read() -> str:
        from subprocess import TimeoutExpired

        try:
            data, status = printed(arguments, timeout_seconds, _MAX_BYTES)
        except TimeoutExpired:
            raise CannotUnlockError(f"did not end within {timeout_seconds:g} s") from None
        except OSError as error:
            raise CannotUnlockError(
                f"could not be started: {(error.strerror or 'no reason given').lower()}"
            ) from None
        if status != 0 and len(data) <= _MAX_BYTES:
            raise CannotUnlockError(f"ended with status {status}")
        return _text(data)

    return KeySource(f"command `{arguments[0]}`", read)


def file_source(path: Path, backed_up: Collection[Path]) -> KeySource:
    """The key file `path`: ours alone (0600 or 0400), no symlink, and in no directory of `backed_up` (workspaces,
    repositories) nor in one that git or a file synchroniser carries elsewhere."""

    def read() -> str:
        refuse_exposed(path, backed_up)
        return _read_private(path, owners={os.geteuid()}, mask=0o077)

    return KeySource(f"key file `{path}`", read)


def descriptor_source(descriptor: int) -> KeySource:
    """What can be read from the open file `descriptor`, which is closed then: it answers once."""

    def read() -> str:
        try:
            with open(descriptor, "rb") as file:
                return _text(file.read(_MAX_BYTES + 1))
        except OSError as error:
            raise disk_error("read", f"descriptor {descriptor}", error) from None

    return KeySource(f"file descriptor {descriptor}", read)


def passphrase_source(path: Path, ask: Callable[[], str | None]) -> KeySource:
    """The key file `path`, encrypted with a passphrase (as `age -p` does). `ask` asks for it, only if the file is
    there, and gives None where nobody can be asked."""

    def read() -> str:
        data = read_file(path, _MAX_BYTES)
        passphrase = ask()
        if not passphrase:
            raise CannotUnlockError("no passphrase was given")
        return _text(bytes(unseal(data, [ScryptIdentity(passphrase)])))

    return KeySource(f"passphrase for `{path}`", read)


def refuse_exposed(path: Path, backed_up: Collection[Path]) -> None:
    """`UsageError` if the key file `path` lies where it would be backed up, synced or put under version control:
    the key would travel with what it opens."""
    real = path.parent.resolve() / path.name
    for root in backed_up:
        if real.is_relative_to(root.resolve()):
            raise UsageError(
                f"key file `{path}` lies in `{root}`, which is backed up",
                hint="move it out, for example to `~/.config`",
            )
    for parent in real.parents:
        for mark in _SYNCED:
            if os.path.lexists(parent / mark):
                raise UsageError(
                    f"key file `{path}` lies in `{parent}`, which `{mark}` says is carried elsewhere",
                    hint="move it out, for example to `~/.config`",
                )


def _read_private(path: Path, owners: set[int], mask: int) -> str:
    """The text of the regular file `path`, refused if it is somebody else's or has a mode bit of `mask`. What is
    checked is what is read: the open file, not its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise UsageError(f"`{path}` is a symlink: refused") from None
        raise disk_error("read", path, error) from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise UsageError(f"`{path}` is not a regular file: refused")
        if state.st_uid not in owners:
            raise UsageError(f"`{path}` belongs to another user: refused")
        if state.st_mode & mask:
            mode = stat.S_IMODE(state.st_mode)
            raise UsageError(f"`{path}` has mode {mode:04o}, others could reach the key: refused")
        with open(descriptor, "rb", closefd=False) as file:
            return _text(file.read(_MAX_BYTES + 1))
    except OSError as error:
        raise disk_error("read", path, error) from None
    finally:
        os.close(descriptor)


def _text(data: bytes) -> str:
    if len(data) > _MAX_BYTES:
        raise UsageError("gives more than a key")
    return data.decode("latin-1")


def _one_key(text: str) -> X25519Identity:
    keys = parse_identity_file(text)
    if len(keys) != 1 or not isinstance(keys[0], X25519Identity):
        raise UsageError("gives something else than one age X25519 secret key")
    return keys[0]
