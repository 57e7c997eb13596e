"""Where the files of an identity lie on a host, and how several of them are written all or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import disk_error, fsync_dir, make_private_dir, read_file, write_file
from antsmem.core.errors import (
    AntsmemError,
    LockedError,
    NotFoundError,
    RetiredError,
    WouldOverwriteError,
    legible,
)
from antsmem.core.record import record
from antsmem.identity.keyfiles import DESTROYED_LIST

CHANGE: Final = "change.json"
"""Beside the keystore: a change of several files that is committed and not yet complete."""

RETIRED: Final = "retired"
"""Beside the keystore: this host speaks for the agent no more. In it, the name of the host that does, if known."""

_NAME_BYTES: Final = 1024


@record
class IdentityFiles:
    """The paths of one agent's identity on one host."""

    log: Path
    """`did.jsonl`."""
    keystore: Path
    """`keystore.age`; beside it `keystore.lock`."""
    epochs: Path
    """The directory of the epoch files."""
    host_key: Path
    """The file with the host's key: outside of `backed_up`."""
    backed_up: tuple[Path, ...] = ()
    """Directories that leave this host: workspaces, repositories."""
    escrow: Path | None = None
    """The directory of the escrow files."""

    @property
    def begun(self) -> Path:
        """The log of an identity that is being made: it takes the place of `log` once all else is there."""
        return self.log.with_name("begun.jsonl")

    @property
    def guardians(self) -> Path:
        """The directory of the guardians' files."""
        return self.log.parent / "guardians"

    @property
    def destroyed(self) -> Path:
        """The list of epochs whose keys were destroyed."""
        return self.keystore.with_name(DESTROYED_LIST)

    @property
    def retired(self) -> Path:
        """The mark of a host that has retired: for who does not open the keystore."""
        return self.keystore.with_name(RETIRED)

    @property
    def ledger(self) -> Path:
        """`ledger.age`, beside the keystore."""
        return self.keystore.with_name("ledger.age")

    @property
    def head(self) -> Path:
        """`head.json`, the ledger's public head."""
        return self.keystore.with_name("head.json")


def refuse_retired(folder: Path) -> None:
    """`RetiredError` where the mark of a retired host is in `folder`, that of its keystore: one look, no key."""
    mark = folder / RETIRED
    if os.path.lexists(mark):
        new = legible(read_file(mark, _NAME_BYTES).decode("utf-8", "replace"))
        where = f": the agent is on host `{new}`" if new else ""
        raise RetiredError(f"this host has retired{where}; nothing done")


class Placing:
    """Files written so far, so that they can be taken back."""

    def __init__(self) -> None:
        self._before: dict[Path, bytes | None] = {}

    def new(self, path: Path, data: bytes) -> None:
        """Write `data` to `path`, which must not exist."""
        self.track(path, lambda: write_file(path, [data], new=True))

    def replace(self, path: Path, data: bytes) -> None:
        """Write `data` to `path`, whatever was there."""
        self.track(path, lambda: write_file(path, [data]))

    def rename(self, source: Path, path: Path) -> None:
        """Give the file `source` the name `path`, which must not exist, durably."""

        def move() -> None:
            try:
                os.rename(source, path)
                fsync_dir(path.parent)
            except OSError as error:
                raise disk_error("write", path, error) from error

        self.track(path, move)

    def track(self, path: Path, write: Callable[[], object]) -> None:
        """Call `write`, which makes or changes the file `path`, and remember what was there."""
        make_private_dir(path.parent)
        try:
            self._before[path] = read_file(path)
        except NotFoundError:
            self._before[path] = None
        try:
            write()
        except (WouldOverwriteError, LockedError):
            # Somebody else's file: never ours to take back.
            del self._before[path]
            raise

    def undo(self) -> None:
        """Take everything back, newest first, as far as the disk allows."""
        for path, data in reversed(self._before.items()):
            with suppress(OSError, AntsmemError):
                if data is None:
                    path.unlink(missing_ok=True)
                else:
                    write_file(path, [data])


@contextmanager
def all_or_none() -> Iterator[Placing]:
    """What is written through the `Placing` stays if the block ends well and is taken back if it raises."""
    placing = Placing()
    try:
        yield placing
    except BaseException:
        placing.undo()
        raise
