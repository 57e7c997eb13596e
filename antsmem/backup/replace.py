"""Restore in place: stage what differs, write down what will be done, then do it one rename at a time.

The plan file is the commit. Killed before it, the workspace is as it was; killed after it, the next command
finishes the work: every step can be repeated. What is replaced or not in the snapshot is kept under
`.antsmem/replaced/<time>`, nothing is deleted. Files that are not portable are not touched.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from antsmem.backup.manifest import CHUNKED, ROOT, Entry, escape, unescape, with_folders
from antsmem.backup.reader import Opened
from antsmem.backup.restore import (
    Progress,
    RestoreResult,
    build,
    left_out_of,
    plan_restore,
    remove_tree,
    select,
    staging,
)
from antsmem.backup.tree import Tree, attributes_of, make_durable
from antsmem.backup.walk import joined, walk
from antsmem.core import canonical
from antsmem.core.clock import file_stamp
from antsmem.core.disk import disk_error, fsync_dir, make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError
from antsmem.core.record import record
from antsmem.workspace.classes import Classifier

STAGING: Final = ".antsmem/restoring"
REPLACED: Final = ".antsmem/replaced"
_FORMATS: Final = {b"d": stat.S_IFDIR, b"p": stat.S_IFIFO}
_IDENTITY: Final = b".antsmem/identity"
_PLAN: Final = "plan.json"
_LIMIT: Final = 256 << 20


@record
class Difference:
    """What must happen to make the workspace equal the snapshot: entries to place, paths to put away. `unseen` are
    lines about what could not be looked at and will stay as it is."""

    place: list[Entry]
    away: list[bytes]
    unseen: tuple[str, ...] = ()


def differences(opened: Opened, root: bytes, paths: Collection[bytes], classifier: Classifier) -> Difference:
    """Compare the workspace at `root` with a snapshot, bytes and metadata. Without `paths`, portable files
    that the snapshot does not have are to be put away; with `paths`, nothing else is looked at."""
    entries = [entry for entry in select(opened.entries, paths) if not _moves_forward_only(entry.path)]
    place: list[Entry] = []
    linked: set[bytes] = set()  # in place of a directory: what a link leads to is not in the workspace
    for entry in entries:
        parent = entry.path.rpartition(b"/")[0]
        if entry.path != ROOT and (parent in linked or not _same(entry, root, opened)):
            place.append(entry)
            if entry.kind == b"d" and (parent in linked or os.path.islink(root + b"/" + entry.path)):
                linked.add(entry.path)
    away: list[bytes] = []
    unseen: tuple[str, ...] = ()
    if not paths:
        known = {entry.path for entry in opened.entries}
        found = walk(root, {}, classifier)
        unseen = tuple(found.warnings)
        there = [task.path for task in found.tasks]
        there += [joined(task.folder, name) for task in found.tasks for name in task.companions]
        for folder, (_, records) in found.folders.items():
            there += [joined(folder, name) for name in records]
            there.append(folder)
        away = sorted(
            path
            for path in there
            if path and path not in known and not _left_out(path, found.folders) and not _moves_forward_only(path)
        )
    return Difference(place, away, unseen)


def restore_in_place(
    opened: Opened, root: Path, difference: Difference, now_ns: int, progress: Progress
) -> RestoreResult:
    """Make the workspace equal the snapshot as `difference` says. The caller holds the workspace's lock.

    Raises `IntegrityError` or `DiskError` before anything was changed."""
    finish_replacement(root)
    place = _with_linked(difference.place, opened.entries)
    parents = {path for entry in place for path in with_folders(entry.path)}
    parents.update(path for gone in difference.away for path in with_folders(gone)[:-1])
    folders = [entry for entry in opened.entries if entry.kind == b"d" and entry.path in {*parents, ROOT}]
    chosen = sorted({entry.path: entry for entry in (*folders, *place)}.values(), key=lambda entry: entry.path)
    open_folders = [entry._replace(mode=0o700) if entry.kind == b"d" else entry for entry in chosen]
    plan = plan_restore(opened, open_folders)
    kept = f"{REPLACED}/{file_stamp(now_ns)}"
    with staging(root / STAGING, _PLAN) as staged:
        make_private_dir(staged / "new")
        _, warnings = build(opened, plan, os.fsencode(staged / "new"), salvage=False, progress=progress)
        make_durable(staged)
        fsync_dir(staged.parent)
        statement = {
            "schema": "antsmem.replace/1",
            "snapshot": opened.head.id,
            "kept": kept,
            "away": [_text(path) for path in difference.away],
            "folders": [_folder_row(entry) for entry in chosen if entry.kind == b"d"],
            "place": [_text(entry.path) for entry in chosen if entry.kind not in {b"d", b"x", b"s", b"b"}],
        }
        write_file(staged / _PLAN, [canonical.dumps(statement)])
    finish_replacement(root)
    return RestoreResult(
        snapshot=opened.head.id,
        target=str(root),
        files=sum(entry.is_file for entry in opened.entries),
        size_bytes=opened.head.size_bytes,
        changed=len(place) + len(difference.away),
        left_out=left_out_of(opened.entries),
        damaged=(),
        warnings=(*warnings, *difference.unseen),
        replaced=str(root / kept) if (root / kept).exists() else "",
    )


def finish_replacement(root: Path) -> bool:
    """Finish an in-place restore that was committed, or clear away one that was not; whether it finished one.
    Safe to call at any time by who holds the workspace's lock; costs one `lstat` when there is nothing."""
    staged = root / STAGING
    if not os.path.lexists(staged):
        return False
    if not (staged / _PLAN).exists():
        remove_tree(staged)
        return False
    plan = canonical.loads(read_file(staged / _PLAN, _LIMIT), _LIMIT)
    if not _is_plan(plan):
        raise IntegrityError(
            f"`{staged / _PLAN}` is not a restore plan", hint=f"look at it, then remove `{staged}`"
        )
    with Tree(os.fsencode(root)) as tree:
        _Replacement(tree, plan).run()
    os.unlink(staged / _PLAN)
    remove_tree(staged)
    fsync_dir(root / ".antsmem")
    return True


def _is_plan(plan: Any) -> bool:
    """Whether `plan` can be followed without leaving the workspace: a workspace may come from anywhere."""
    try:
        rows = [
            (str(path), int(mode), int(mtime), int(uid), int(gid))
            for path, mode, mtime, uid, gid in plan["folders"]
        ]
        paths = [*plan["away"], *plan["place"], *(row[0] for row in rows if row[0] != _text(ROOT)), plan["kept"]]
        plain = all(part not in {b"", b".", b".."} for path in paths for part in _bytes(path).split(b"/"))
        return bool(plan["schema"] == "antsmem.replace/1") and plain and plan["kept"].startswith(f"{REPLACED}/")
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


class _Replacement:
    """The steps of a plan, each of which may have been done already."""

    def __init__(self, tree: Tree, plan: dict[str, Any]) -> None:
        self.tree = tree
        self.plan = plan
        self.kept = os.fsencode(plan["kept"])
        self.new = os.fsencode(STAGING) + b"/new"
        self.touched: set[bytes] = set()
        self.kept_files: dict[bytes, os.stat_result] = {}

    def run(self) -> None:
        try:
            for path, *_ in self.plan["folders"]:
                self.make_folder(_bytes(path))
            away = [_bytes(text) for text in reversed(self.plan["away"])]
            for path in away:
                self.put_away(path)
            places = [_bytes(text) for text in self.plan["place"]]
            for path in places:
                self.keep(path)
            self._make_durable()  # before directories that they were in go, and names of theirs are taken
            for path in away:
                self.remove_folder(path)
            for path in places:
                self.place(path)
            for row in reversed(self.plan["folders"]):
                path, mode, mtime, uid, gid = row
                self.tree.finish_folder(Entry(b"d", mode, (uid, gid), int(mtime), 0, b"", b"", _bytes(path)))
                self.touched.add(_bytes(path))
            self._make_durable()  # before the plan goes
        except OSError as error:
            raise disk_error("replace files in", os.fsdecode(self.tree.root), error) from error

    def put_away(self, path: bytes) -> None:
        """Move the file at `path` to where replaced files are kept."""
        status = self._lstat(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            self._open_up(path.rpartition(b"/")[0])
            self._move(path, self._keep_at(path))

    def remove_folder(self, path: bytes) -> None:
        """Remove the directory at `path`, if there is one and nothing that is not portable lives in it."""
        parent, _, name = path.rpartition(b"/")
        status = self._lstat(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return
        self._open_up(parent)
        try:
            os.rmdir(name, dir_fd=self.tree.folder(parent))
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                return
            raise
        self.touched.discard(path)
        self.touched.add(parent)

    def make_folder(self, path: bytes) -> None:
        """A directory at `path`; what else is there is put away."""
        if path == ROOT:
            return
        status = self._lstat(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._open_up(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            self._move(path, self._keep_at(path))
            status = None
        if status is None:
            self._make(path)

    def _make(self, folder: bytes) -> None:
        """A new directory, durable: what moves into it cannot get lost with it."""
        self.tree.make_folder(folder)
        os.fsync(self.tree.folder(folder.rpartition(b"/")[0]))

    def _make_durable(self) -> None:
        for folder in self.touched:
            os.fsync(self.tree.folder(folder))
        self.touched.clear()

    def _open_up(self, folder: bytes) -> None:
        """Make a directory writable: those of the snapshot get their own mode at the end, others go."""
        fd = self.tree.folder(folder)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o300 != 0o300:
            os.fchmod(fd, mode | 0o700)

    def keep(self, path: bytes) -> None:
        """Give the file that `place` will replace a second name, so that its path is never without a file."""
        status = self._lstat(path)
        if status is None or not stat.S_ISREG(status.st_mode) or self._lstat(self.new + b"/" + path) is None:
            return
        kept = self._lstat(self.kept + b"/" + path)
        if kept is None or not os.path.samestat(kept, status):
            self._link(path, self._keep_at(path))
        self.kept_files[path] = status

    def place(self, path: bytes) -> None:
        """Put the staged file at `path`, keeping what is there. Gone from the staging: done already."""
        staged = self.new + b"/" + path
        if self._lstat(staged) is None:
            return
        status = self._lstat(path)
        if status is not None and not (
            path in self.kept_files and os.path.samestat(self.kept_files[path], status)
        ):
            self._move(path, self._keep_at(path))
        self._move(staged, path)

    def _keep_at(self, path: bytes) -> bytes:
        """A free path below the kept directory, its parents made."""
        target = self.kept + b"/" + path
        for folder in with_folders(target)[:-1]:
            if self._lstat(folder) is None:
                self._make(folder)
        count = 1
        while self._lstat(target) is not None:
            count += 1
            target = self.kept + b"/" + path + b"~%d" % count
        return target

    def _lstat(self, path: bytes) -> os.stat_result | None:
        parent, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self.tree.folder(parent), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _link(self, path: bytes, keep: bytes) -> None:
        (parent, _, name), (other, _, kept) = path.rpartition(b"/"), keep.rpartition(b"/")
        source = self.tree.folder(parent)
        target = self.tree.folder(other, source)
        try:
            os.link(name, kept, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except OSError:  # a file system without hard links, or a file that has too many
            os.rename(name, kept, src_dir_fd=source, dst_dir_fd=target)
        self.touched.update({parent, other})

    def _move(self, path: bytes, target: bytes) -> None:
        (parent, _, name), (other, _, new) = path.rpartition(b"/"), target.rpartition(b"/")
        source = self.tree.folder(parent)
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=self.tree.folder(other, source))
        self.touched.update({parent, other})


def _moves_forward_only(path: bytes) -> bool:
    """Whether `path` is the identity log, an older one of which would not know this host's keys, or a directory
    above it, which this very restore changes."""
    return path in with_folders(_IDENTITY) or path.startswith(_IDENTITY + b"/")


def _same(entry: Entry, root: bytes, opened: Opened) -> bool:
    """Whether the workspace already has `entry` exactly."""
    path = root + b"/" + entry.path
    try:
        status = os.lstat(path)
        if entry.kind in {b"x", b"s", b"b"}:
            return True
        if entry.kind == b"h":
            return os.path.samestat(status, os.lstat(root + b"/" + entry.link))
        owner = (status.st_uid, status.st_gid)
        if status.st_mtime_ns != entry.mtime_ns or (os.geteuid() == 0 and owner != entry.owner):
            return False
        if entry.kind == b"l":
            return stat.S_ISLNK(status.st_mode) and os.readlink(path) == entry.link
        if status.st_mode != entry.mode | _FORMATS.get(entry.kind, stat.S_IFREG):
            return False
        return not entry.is_file or (
            status.st_size == entry.size_bytes and _same_xattrs(path, entry) and _same_bytes(path, entry, opened)
        )
    except OSError:
        return entry.kind in {b"x", b"s", b"b"}


def _same_xattrs(path: bytes, entry: Entry) -> bool:
    if not hasattr(os, "listxattr"):
        return True
    wanted = attributes_of(entry).get("xattr", {})
    there = {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}
    return {name: base64.b64encode(value).decode() for name, value in there.items()} == wanted


def _same_bytes(path: bytes, entry: Entry, opened: Opened) -> bool:
    step = CHUNKED.get(entry.kind, max(entry.size_bytes, 1))
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return all(
            blake3(os.pread(fd, step, index * step)).digest() == digest
            for index, digest in enumerate(opened.reader.chunks(entry))
        )
    finally:
        os.close(fd)


def _with_linked(place: list[Entry], entries: list[Entry]) -> list[Entry]:
    """`place` and, of every hard-linked file in it, all its names: one inode is placed as a whole."""
    inodes = {entry.link if entry.kind == b"h" else entry.path for entry in place}
    linked = {entry.link for entry in entries if entry.kind == b"h"} & inodes
    more = [entry for entry in entries if entry.path in linked or (entry.kind == b"h" and entry.link in linked)]
    return list({entry.path: entry for entry in (*place, *more)}.values())


def _left_out(path: bytes, folders: dict[bytes, Any]) -> bool:
    """Whether the walk recorded `path` as not portable."""
    parent, _, name = path.rpartition(b"/")
    record = folders.get(parent, (b"", {}))[1].get(name)
    return record is not None and bool(record[1].startswith(b"x\t"))


def _folder_row(entry: Entry) -> list[Any]:
    return [_text(entry.path), entry.mode, str(entry.mtime_ns), *entry.owner]


def _text(path: bytes) -> str:
    return escape(path).decode()


def _bytes(text: str) -> bytes:
    return unescape(text.encode())
