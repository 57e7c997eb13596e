"""Restore: stage everything beside the target, verify every object, then make it visible in one rename."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from antsmem.backup.manifest import CHUNKED, ROOT, Entry, shown, with_folders
from antsmem.backup.reader import Opened
from antsmem.backup.tree import Tree, attributes_of
from antsmem.backup.unpack import Want, unpack
from antsmem.core.disk import disk_error
from antsmem.core.errors import IntegrityError, LockedError, NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.record import record

Progress = Callable[[str, int, int], None]

_STAGING: Final = ".antsmem-restoring-"


@record
class RestorePlan:
    """What a restore would do: the entries, the bytes they hold, and the packs to fetch, each with what is wanted
    of it. `damaged` are files that cannot be had (only with salvage)."""

    entries: list[Entry]
    files: int
    size_bytes: int
    packs: dict[str, list[bytes]]
    wants: dict[bytes, list[Want]]
    damaged: frozenset[bytes] = frozenset()


@record
class RestoreResult:
    """A restore that happened. `left_out` are paths that the backup never held, with the reason; `damaged`
    those that could not be had (only with salvage); `replaced` is where an in-place restore kept the old."""

    snapshot: str
    target: str
    files: int
    size_bytes: int
    changed: int
    left_out: tuple[tuple[str, str], ...]
    damaged: tuple[str, ...]
    warnings: tuple[str, ...]
    replaced: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything that the snapshot holds is there exactly."""
        return not self.damaged and not self.warnings


def select(entries: Sequence[Entry], paths: Collection[bytes]) -> list[Entry]:
    """The entries at or below `paths` with the directories above them; all of them if `paths` is empty.
    A hard link to a file that is not selected becomes a file. `NotFoundError` names a path that is not there."""
    wanted = clean(paths)
    if not wanted:
        return list(entries)
    by_path = {entry.path: entry for entry in entries}
    if missing := sorted(wanted - by_path.keys()):
        raise NotFoundError(f"`{shown(missing[0])}` is not in this snapshot", hint="antsmem ls SNAPSHOT lists it")
    below = tuple(path + b"/" for path in wanted)
    keep = {ROOT}
    for path in by_path:
        if path in wanted or path.startswith(below):
            keep.update(with_folders(path))
    return [
        by_path[entry.link]._replace(path=entry.path) if entry.kind == b"h" and entry.link not in keep else entry
        for path, entry in by_path.items()
        if path in keep
    ]


def clean(paths: Collection[bytes]) -> set[bytes]:
    """`paths`, as people type them, as a manifest writes them; nothing if they mean all."""
    wanted = {path.strip(b"/").removeprefix(b"./") for path in paths}
    return set() if wanted & {b"", ROOT} else wanted


def plan_restore(opened: Opened, entries: list[Entry], *, salvage: bool = False) -> RestorePlan:
    """Where each object goes and which packs hold them. `IntegrityError` for a file that cannot be had, unless
    `salvage`."""
    wants: dict[bytes, list[Want]] = {}
    packs: dict[str, list[bytes]] = {}
    damaged: set[bytes] = set()
    files = size_bytes = 0
    for entry in entries:
        if not entry.is_file:
            continue
        files += 1
        size_bytes += entry.size_bytes
        step = CHUNKED.get(entry.kind, 0)
        try:
            digests = opened.reader.chunks(entry)
            holding = [opened.reader.pack_of(digest) for digest in digests]
        except IntegrityError:
            if not salvage:
                raise
            damaged.add(entry.path)
            continue
        for index, (digest, pack) in enumerate(zip(digests, holding, strict=True)):
            if digest not in wants:
                wants[digest] = []
                packs.setdefault(pack, []).append(digest)
            wants[digest].append((entry, index * step))
    return RestorePlan(entries, files, size_bytes, packs, wants, frozenset(damaged))


def restore_to(
    opened: Opened,
    target: Path,
    plan: RestorePlan,
    *,
    salvage: bool,
    progress: Progress,
    complete: Callable[[Path], None] = lambda staged: None,
) -> RestoreResult:
    """Restore into `target`, which must not exist or be an empty directory. Nothing is visible there until
    all of it is there and verified; a killed run leaves a staging directory that the next one replaces.
    `complete` may add to the staged tree before it becomes visible.

    Raises `WouldOverwriteError`, `IntegrityError` (unless `salvage`: then what is damaged is left out and
    named), `DiskError`."""
    refuse_target(target)
    with appearing(target, complete) as staged:
        damaged, warnings = build(opened, plan, os.fsencode(staged), salvage=salvage, progress=progress)
    return RestoreResult(
        snapshot=opened.head.id,
        target=str(target),
        files=plan.files - len(damaged),
        size_bytes=plan.size_bytes,
        changed=plan.files - len(damaged),
        left_out=left_out_of(plan.entries),
        damaged=damaged,
        warnings=warnings,
    )


def refuse_target(target: Path, hint: str = "name another --to, or use --in-place") -> None:
    """`WouldOverwriteError` unless `target` does not exist or is an empty directory, that can be replaced."""
    try:
        occupied = target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir())))
        mounted = not occupied and os.path.ismount(target)
    except OSError as error:
        raise disk_error("restore to", target, error) from error
    if occupied:
        raise WouldOverwriteError(f"`{target}` is not empty: nothing restored", hint=hint)
    if mounted:
        raise UsageError(f"`{target}` is a mount point: nothing restored", hint="name a new directory in it")


def staging_for(target: Path) -> Path:
    """Where a restore into `target` is staged: beside it, on the same file system."""
    return target.absolute().parent / f"{_STAGING}{target.name}"


@contextmanager
def appearing(target: Path, complete: Callable[[Path], None]) -> Iterator[Path]:
    """The staging directory for `target`, which becomes it at the end, when `complete` has seen it."""
    with staging(staging_for(target)) as staged:
        yield staged
        complete(staged)
        try:
            os.rename(staged, target)
        except OSError as error:
            raise disk_error("restore to", target, error) from error


def left_out_of(entries: Sequence[Entry]) -> tuple[tuple[str, str], ...]:
    """(path, reason) of what a snapshot names but never held."""
    special = {b"s": "socket", b"b": "device"}
    return tuple(
        (shown(entry.path), shown(entry.link) if entry.kind == b"x" else special[entry.kind])
        for entry in entries
        if entry.kind == b"x" or entry.kind in special
    )


def build(
    opened: Opened, plan: RestorePlan, root: bytes, *, salvage: bool, progress: Progress
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make the tree of `plan` below `root`, an empty directory; returns (damaged paths, warnings). `opened` gives
    no objects any more then."""
    opened.reader.release()
    with Tree(root) as tree:
        for entry in plan.entries:
            if entry.kind == b"d" and entry.path != ROOT:
                tree.make_folder(entry.path)
            elif entry.kind in CHUNKED and entry.path not in plan.damaged:
                tree.start_file(entry)
        wants: Mapping[bytes, Sequence[Want]] = plan.wants
        if tree.unmade:
            wants = {
                digest: [want for want in plan.wants[digest] if want[0].path not in tree.unmade]
                for digest in wants
            }
        sparse = {entry.path for entry in plan.entries if entry.attributes and attributes_of(entry).get("sparse")}
        bad = unpack(opened.reader.repository, plan.packs, wants, tree, sparse, progress)
        if bad and not salvage:
            raise bad[0][1]
        lost = plan.damaged.union(entry.path for digest, _ in bad for entry, _ in plan.wants[digest])
        lost |= {entry.path for entry in plan.entries if entry.kind == b"h" and entry.link in lost}
        for entry in plan.entries:
            if entry.path in lost:
                if entry.kind in CHUNKED and entry.path not in tree.unmade | plan.damaged:
                    os.unlink(root + b"/" + entry.path)
            elif entry.kind in CHUNKED:
                tree.finish_file(entry)
            elif entry.kind in {b"l", b"h", b"p"}:
                tree.link(entry)
        for entry in reversed(plan.entries):
            if entry.kind == b"d":
                tree.finish_folder(entry)
        return tuple(sorted(map(shown, lost))), tuple(tree.warnings)


@contextmanager
def staging(path: Path, commit: str = "") -> Iterator[Path]:
    """An empty private directory at `path`, removed with all that is in it unless it was renamed away or holds
    a file named `commit`. What a killed run left there is removed first; a running one is respected
    (`LockedError`)."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise disk_error("make", path, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"another restore is writing to `{path.parent}`") from None
        if not _is_at(path, fd):
            raise LockedError(f"another restore just wrote to `{path.parent}`")
        try:
            for left in list(path.iterdir()):
                remove_tree(left)
            yield path
        finally:  # with the lock still held, and never what another restore put there meanwhile
            if _is_at(path, fd) and not (commit and (path / commit).exists()):
                remove_tree(path)
    finally:
        os.close(fd)


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, closed directories too."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    os.chmod(path, 0o700)
    for folder, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(below := os.path.join(folder, name)):
                os.chmod(below, 0o700)  # before it is looked into
    shutil.rmtree(path)
