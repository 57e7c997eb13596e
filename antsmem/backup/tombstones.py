"""Tombstones: which epochs were destroyed, signed, so that no stale copy of a key comes back.

`keys/destroyed.jsonl` is a signed statement `antsmem.tombstone/1` a line, sorted: the agent, the epoch, when. The
list of a repository only grows; a copy of it lies beside the keystore. Any op key that the identity log ever named
may have signed: whoever can write to the store could delete the key file as well.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from antsmem.core.clock import utc_text
from antsmem.core.errors import IntegrityError
from antsmem.identity.epochs import check_epoch_name
from antsmem.identity.keyfiles import DESTROYED_LIST, newest_set, set_number
from antsmem.identity.statement import Signer, open_statement, sign_statement

if TYPE_CHECKING:
    from antsmem.backup.repository import Keyring

DESTROYED: Final = f"keys/{DESTROYED_LIST}"
_SCHEMA: Final = "antsmem.tombstone/1"
_LIMIT: Final = 4 << 20


def tombstone(scid: str, epoch: str, signer: Signer, now_ns: int) -> bytes:
    """The line that says that `epoch` of the agent `scid` was destroyed."""
    check_epoch_name(epoch)
    statement = {"schema": _SCHEMA, "agent": scid, "epoch": epoch, "time": utc_text(now_ns)}
    return sign_statement(statement, signer)


def merged(ours: bytes, other: bytes, keys: Keyring) -> bytes:
    """Both lists as one: one line an epoch, sorted. `IntegrityError` where `other` holds a line that no host of
    the agent signed; `ours` was checked when it was made."""
    if len(other) > _LIMIT:
        raise IntegrityError(f"`{DESTROYED}` is larger than it can be")
    lines = {_epoch_of(line): line for line in sorted(ours.splitlines(keepends=True), reverse=True)}
    for line in other.splitlines(keepends=True):
        statement = open_statement(line, _SCHEMA, keys.trusted, DESTROYED)
        name = str(statement.get("epoch"))
        if statement.get("agent") != keys.scid:
            raise IntegrityError(f"`{DESTROYED}` is of another agent")
        lines[name] = min(lines.get(name, line), line)
    return b"".join(sorted(lines.values()))


def names_in(tombstones: bytes) -> frozenset[str]:
    """The epochs that a list names."""
    return frozenset(_epoch_of(line) for line in tombstones.splitlines(keepends=True))


def is_superseded(name: str, destroyed: Collection[str], names: Collection[str]) -> bool:
    """Whether the object `name`, one of `names`, is the key of a destroyed epoch, or a guardians' file that is not
    of the newest set."""
    folder, _, file_name = name.partition("/")
    if folder != "keys":
        return False
    if file_name.removesuffix(".age") in destroyed:
        return True
    number = set_number(file_name)
    return 0 < number < newest_set(each.partition("/")[2] for each in names)


def _epoch_of(line: bytes) -> str:
    name = str(open_statement(line, _SCHEMA, None, DESTROYED).get("epoch"))
    check_epoch_name(name)
    return name
