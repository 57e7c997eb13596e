"""Guards removed one at a time, for the controls: a sweep that does not notice these proves nothing.

Each is applied in the launched process before anything of the backup engine is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any


def _writing_in_place() -> None:
    """A file is overwritten where it stands."""
    from antsmem.core import disk

    def write_file(
        path: Any, parts: Iterable[Any], *, mode: int = 0o600, new: bool = False, durable: bool = True
    ) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        for part in parts:
            disk.write_all(fd, part)
        os.fsync(fd)
        os.close(fd)

    disk.write_file = write_file


def _rename_first() -> None:
    """A file gets its name before it gets its bytes."""
    from antsmem.core import disk

    def write_file(
        path: Any, parts: Iterable[Any], *, mode: int = 0o600, new: bool = False, durable: bool = True
    ) -> None:
        parent, name = os.path.split(os.fspath(path))
        temp = os.path.join(parent, disk.temp_name(name))
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        os.rename(temp, path)
        for part in parts:
            disk.write_all(fd, part)
        os.fsync(fd)
        os.close(fd)
        disk.fsync_dir(parent)

    disk.write_file = write_file


def _no_fsync() -> None:
    """Nothing is fsynced."""
    os.fsync = lambda _fd: None


def _no_directory_fsync() -> None:
    """Files are fsynced, the directories that name them are not."""
    from antsmem.core import disk

    disk.fsync_dir = lambda _path: None


def _head_before_packs() -> None:
    """The commit is written before what it commits."""
    from antsmem.backup.verified import VerifiedStore
    from antsmem.drivers.file import FileStore

    put, late = FileStore.put, []

    def reordered(self: FileStore, name: str, parts: Any, *, new: bool = False, durable: bool = True) -> None:
        if name.startswith("packs/"):
            late.append((name, [bytes(part) for part in parts]))
            return
        put(self, name, parts, new=new, durable=durable)
        if name.startswith("anchors/snapshots"):
            for held, data in late:
                put(self, held, data)

    FileStore.put = reordered  # type: ignore[method-assign]
    VerifiedStore._require = lambda *_: None  # type: ignore[method-assign]


def _plan_before_staging() -> None:
    """The plan of an in-place restore is committed before what it places is staged."""
    from antsmem.backup import replace

    build, write_file, late = replace.build, replace.write_file, []

    def noted(*given: Any, **named: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        late.append((given, named))
        return (), ()

    def reordered(path: Any, parts: Iterable[Any]) -> None:
        write_file(path, parts)
        for given, named in late:
            build(*given, **named)

    replace.build, replace.write_file = noted, reordered


def _garbage_before_lists() -> None:
    """Prune removes rewritten packs while snapshots still point at them."""
    from antsmem.backup import prune

    repack = prune.repack

    def hasty(repository: Any, *given: Any) -> Any:
        done = repack(repository, *given)
        for pack in done.replaced:
            repository.store.delete(f"packs/{pack}.age")
        return done

    prune.repack = hasty


def _lease_of_another() -> None:
    """The lease names a process that lives on."""
    os.getpid = lambda: 1


def _deaf() -> None:
    """Nobody listens when a write fails, nor reads back what was written."""
    from antsmem.backup.verified import VerifiedStore

    def deaf(call: Callable[..., Any], answer: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any) -> Any:
            try:
                return call(*given)
            except OSError:
                return answer(*given)

        return made

    os.write = deaf(os.write, lambda _fd, data: len(data))
    os.writev = deaf(os.writev, lambda _fd, parts: sum(map(len, parts)))
    os.fsync = deaf(os.fsync, lambda _fd: None)
    VerifiedStore._require = lambda *_: None  # type: ignore[method-assign]


def _forgotten_rows() -> None:
    """The keystore does not remember the rows of its last change."""
    from antsmem.identity import custody

    replace = custody.replace

    def forgetful(made: Any, **changes: Any) -> Any:
        changes.pop("ledger", None)
        return replace(made, **changes)

    custody.replace = forgetful  # type: ignore[assignment]


BREAKS: dict[str, Callable[[], None]] = {
    "writing-in-place": _writing_in_place,
    "rename-first": _rename_first,
    "no-fsync": _no_fsync,
    "no-directory-fsync": _no_directory_fsync,
    "head-before-packs": _head_before_packs,
    "plan-before-staging": _plan_before_staging,
    "garbage-before-lists": _garbage_before_lists,
    "lease-of-another": _lease_of_another,
    "deaf": _deaf,
    "forgotten-rows": _forgotten_rows,
}
