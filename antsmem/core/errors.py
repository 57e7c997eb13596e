"""Every failure that antsmem expects, as one tree.

A class owns its slug (stable, for scripts), its exit code, whether waiting may help, and a hint: what to
type next. A message is one line, lower case, with the thing in backticks: what happened to what.

    AntsmemError
    ├─ UsageError            2   a call or a configuration that cannot be meant
    │  └─ ConfigError        2   a configuration file says something unknown
    ├─ RetiredError          4   another host speaks for the agent: this one's key is revoked
    ├─ NotFoundError        10   no such workspace, repository, snapshot or path
    ├─ WouldOverwriteError  11   the target holds something that would be lost
    ├─ LockedError          12   somebody else is writing (transient)
    │  ├─ ConflictError     12   somebody else wrote in between (transient)
    │  └─ BusyError         75   the same work is being done right now (transient)
    ├─ CannotUnlockError    20   no key opens this
    ├─ LeakError            21   a secret would leave the host
    ├─ IntegrityError       30   bytes are not what was written, or forged
    ├─ RollbackError        31   a store shows an older or another history than was seen before
    ├─ DiskError            40   the local disk is full or failing (transient)
    ├─ BackendError         40   a store does not answer (transient)
    ├─ RefusedError         41   a store answers no
    ├─ DriverMissingError   42   the library for this kind of store is not installed
    └─ MigrationError       50   a migration test shows that the agent would not come back the same
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

RECOVER: Final = "move the workspace aside, then: antsmem recover NEWDIR --kit KIT --repository URL"
"""What helps where the identity in a workspace can no longer be used."""

_MOVING = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def legible(text: str) -> str:
    """`text` on one line that moves no terminal's cursor: control characters, line ends, what turns the direction
    of writing, and halves of characters are shown as escapes."""
    return _MOVING.sub(lambda found: ascii(found[0])[1:-1], text)


class AntsmemError(Exception):
    """Base of every expected failure. `hint` names the command that helps; an instance may sharpen it.

    Both may quote what a stranger wrote, so they are made `legible`.
    """

    slug = "error"
    exit_code = 1
    transient = False
    hint = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(legible(message))
        if hint is not None:
            self.hint = legible(hint)


class UsageError(AntsmemError):
    slug = "usage"
    exit_code = 2
    hint = "see `antsmem --help`"


class ConfigError(UsageError):
    slug = "config"
    hint = "see `antsmem config show --origin`"


class RetiredError(AntsmemError):
    slug = "retired"
    exit_code = 4
    hint = f"this host is retired; to make it one again, {RECOVER}"


class NotFoundError(AntsmemError):
    slug = "not-found"
    exit_code = 10


class WouldOverwriteError(AntsmemError):
    slug = "would-overwrite"
    exit_code = 11


class LockedError(AntsmemError):
    slug = "locked"
    exit_code = 12
    transient = True
    hint = "try again when the other run has ended"


class ConflictError(LockedError):
    slug = "conflict"
    hint = "run the same command again"


class BusyError(LockedError):
    slug = "busy"
    exit_code = 75


class CannotUnlockError(AntsmemError):
    slug = "cannot-unlock"
    exit_code = 20


class LeakError(AntsmemError):
    slug = "leak"
    exit_code = 21


class IntegrityError(AntsmemError):
    slug = "integrity"
    exit_code = 30
    hint = "see `antsmem check --read-data`"


@contextmanager
def naming(what: str, hint: str | None = None) -> Iterator[None]:
    """Say of `what` (a thing in backticks) whatever inside is damaged or does not open, with its own `hint` or
    this one."""
    try:
        yield
    except (CannotUnlockError, IntegrityError) as error:
        kind = CannotUnlockError if isinstance(error, CannotUnlockError) else IntegrityError
        raise kind(f"{what}: {error}", hint=hint or error.hint) from None


class RollbackError(AntsmemError):
    slug = "rollback"
    exit_code = 31


class DiskError(AntsmemError):
    slug = "disk"
    exit_code = 40
    transient = True
    hint = "free some space or choose another place, then run the same command again"


class BackendError(AntsmemError):
    slug = "backend-unreachable"
    exit_code = 40
    transient = True
    hint = "see `antsmem backend test`, or for a repository `antsmem repository test`"


class RefusedError(AntsmemError):
    slug = "backend-refused"
    exit_code = 41
    hint = "see `antsmem backend test`, or for a repository `antsmem repository test`"


class DriverMissingError(AntsmemError):
    slug = "driver-missing"
    exit_code = 42

    @classmethod
    def library(cls, package: str, extra: str) -> Self:
        """For the library of PyPI's `package`, which our `extra` brings."""
        return cls(f"the library `{package}` is not installed", hint=f"pip install 'antsmem[{extra}]'")


class MigrationError(AntsmemError):
    slug = "migration-test"
    exit_code = 50
    hint = "the rows that say FAILED name what broke"
