"""Walk the workspace: what is unchanged, what must be read, what is left out and why.

Symbolic links are never followed. Names are bytes. Anything that is not read gets a line of its own in the
manifest: nothing is skipped silently.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from antsmem.backup.cache import Record, key_of
from antsmem.backup.manifest import ROOT, Entry, line, shown
from antsmem.core.disk import disk_error
from antsmem.core.errors import NotFoundError
from antsmem.core.record import field, mutable_record
from antsmem.workspace.classes import Classifier

_COMPANIONS: Final = (b"-wal", b"-journal")
_RACY_NS: Final = 2_000_000_000
_AHEAD_NS: Final = 2 * 86_400_000_000_000
_SPECIAL: Final = {stat.S_IFIFO: b"p", stat.S_IFSOCK: b"s", stat.S_IFBLK: b"b", stat.S_IFCHR: b"b"}

Folder = tuple[bytes, dict[bytes, Record]]


class Task(NamedTuple):
    """A file to read: its directory (relative), its name, where its record goes, its size as the walk saw it, and
    its SQLite companions. There may be very many: no more of the file's status is kept."""

    folder: bytes
    name: bytes
    records: dict[bytes, Record]
    size_bytes: int
    companions: tuple[bytes, ...] = ()

    @property
    def path(self) -> bytes:
        """Relative to the workspace."""
        return joined(self.folder, self.name)


@mutable_record
class Walk:
    """What a walk found. `linked` are the paths of each inode that has several, the file first; `left_out` counts
    paths by reason; `warnings` are lines for people."""

    folders: dict[bytes, Folder] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    linked: list[list[tuple[Task, os.stat_result]]] = field(default_factory=list)
    files: int = 0
    changed: bool = False
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def joined(folder: bytes, name: bytes) -> bytes:
    """The relative path of `name` in `folder` (empty for the top)."""
    return folder + b"/" + name if folder else name


def is_racy(status: os.stat_result, now_ns: int) -> bool:
    """Whether a file was touched just now or since the run began at `now_ns`: it may change again within the
    clock's tick. A time that lies days ahead was set on purpose."""
    return -_AHEAD_NS < now_ns - status.st_mtime_ns < _RACY_NS


def status_line(kind: bytes, relative: bytes, status: os.stat_result, link: bytes = b"") -> bytes:
    """The manifest line of a path without content."""
    owner, mode = (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)
    return line(Entry(kind, mode, owner, status.st_mtime_ns, 0, b"", link, relative))


def left_out_line(relative: bytes, why: str) -> bytes:
    """The manifest line of a path that is not in the backup."""
    return line(Entry(b"x", 0, (0, 0), 0, 0, b"", why.encode(), relative))


def walk(root: bytes, known: dict[bytes, Folder], classifier: Classifier) -> Walk:
    """Compare the tree below `root` with the `known` folders of the last run."""
    walker = _Walker(root, known, classifier)
    walker.run()
    return walker.found


class _Walker:
    def __init__(self, root: bytes, known: dict[bytes, Folder], classifier: Classifier) -> None:
        self.root = root
        self.known = known
        self.classifier = classifier
        self.found = Walk()
        self.links: dict[tuple[int, int], list[tuple[Task, os.stat_result]]] = {}
        self.companions: dict[bytes, list[bytes]] = {}

    def run(self) -> None:
        stack = [b""]
        while stack:
            folder = stack.pop()
            try:
                stack += self.folder(folder)
            except OSError as error:
                if not folder and error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                    raise disk_error("list", os.fsdecode(self.root), error) from error
                if not folder:
                    raise NotFoundError(
                        f"the workspace `{os.fsdecode(self.root)}` is gone: nothing backed up"
                    ) from error
                self.unlistable(folder, error)
        self.resolve_links()
        self.pair_databases()
        if self.found.tasks or len(self.found.folders) != len(self.known):
            self.found.changed = True

    def folder(self, folder: bytes) -> list[bytes]:
        """Look at one directory; returns those below it."""
        found, path = self.found, self.root + b"/" + folder if folder else self.root
        own, old = self.known.get(folder, (b"", {}))
        records: dict[bytes, Record] = {}
        below = []
        with os.scandir(path) as entries:
            listed = list(entries)  # a listing that breaks off leaves nothing behind
        fresh = status_line(b"d", folder or ROOT, os.lstat(path))
        found.folders[folder] = (fresh, records)
        for entry in listed:
            name = entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    relative = joined(folder, name)
                    verdict = self.classifier.classify_dir(name, relative)
                    if verdict is None:
                        below.append(relative)
                    else:
                        self.leave_out(folder, name, records, verdict.path_class)
                    continue
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted since the listing: as if it had never been there
            except OSError as error:
                self.unreadable(folder, name, records, error)
                continue
            record = old.get(name)
            if record is not None and record[0] == key_of(status) and status.st_nlink == 1:
                records[name] = record
                found.files += 1
            else:
                self.look(entry, Task(folder, name, records, status.st_size), status)
            if name.endswith(_COMPANIONS):
                base = name[: name.rindex(b"-")]
                self.companions.setdefault(joined(folder, base), []).append(name)
        if fresh != own or len(records) != len(old):
            found.changed = True
        return below

    def look(self, entry: os.DirEntry[bytes], task: Task, status: os.stat_result) -> None:
        """A path that is new, changed, or not a plain file."""
        relative = task.path
        verdict = self.classifier.classify_file(task.name, relative)
        if verdict is not None:
            self.leave_out(task.folder, task.name, task.records, verdict.path_class)
        elif stat.S_ISREG(status.st_mode):
            self.found.files += 1
            if status.st_nlink > 1:
                self.links.setdefault((status.st_dev, status.st_ino), []).append((task, status))
            else:
                self.found.tasks.append(task)
        elif stat.S_ISLNK(status.st_mode):
            try:
                target = os.readlink(entry.path)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EINVAL}:
                    return  # replaced since the listing: the next backup sees what it became
                self.unreadable(*task[:3], error)
                return
            self.keep(*task[:3], status_line(b"l", relative, status, target))
        else:
            kind = _SPECIAL.get(stat.S_IFMT(status.st_mode), b"b")
            if kind == b"s":
                self.found.left_out["socket"] = self.found.left_out.get("socket", 0) + 1
            elif kind == b"b":
                self.found.warnings.append(f"`{shown(relative)}` is a device: recorded, not read")
            self.keep(*task[:3], status_line(kind, relative, status))

    def keep(self, folder: bytes, name: bytes, records: dict[bytes, Record], text: bytes) -> None:
        """Record a path that has a line but no content of its own."""
        records[name] = (b"", text, b"")
        before = self.before(folder, name)
        if before is None or before[1] != text:
            self.found.changed = True

    def before(self, folder: bytes, name: bytes) -> Record | None:
        """What the last run knew of a path."""
        return self.known.get(folder, (b"", {}))[1].get(name)

    def leave_out(self, folder: bytes, name: bytes, records: dict[bytes, Record], why: str) -> None:
        """Record a path that will not be in the backup."""
        self.found.left_out[why] = self.found.left_out.get(why, 0) + 1
        self.keep(folder, name, records, left_out_line(joined(folder, name), why))

    def unreadable(self, folder: bytes, name: bytes, records: dict[bytes, Record], error: OSError) -> None:
        """Record a path that is there and cannot be looked at."""
        self.leave_out(folder, name, records, "unreadable")
        why = (error.strerror or "").lower()
        self.found.warnings.append(f"could not read `{shown(joined(folder, name))}`: {why}")

    def unlistable(self, folder: bytes, error: OSError) -> None:
        """A directory that cannot be listed becomes a line in its parent."""
        self.found.folders.pop(folder, None)
        parent, _, name = folder.rpartition(b"/")
        if isinstance(error, FileNotFoundError):
            return
        self.leave_out(parent, name, self.found.folders[parent][1], "unreadable")
        self.found.warnings.append(f"could not list `{shown(folder)}`: {(error.strerror or '').lower()}")

    def resolve_links(self) -> None:
        """Of the paths of one inode the first is the file, the others are links to it."""
        for group in self.links.values():
            group.sort(key=lambda each: each[0].path)
            self.found.linked.append(group)
            first, first_status = group[0]
            record = self.before(first.folder, first.name)
            if record is not None and record[0] == key_of(first_status):
                first.records[first.name] = record
            else:
                self.found.tasks.append(first)
            for task, status in group[1:]:
                self.keep(*task[:3], status_line(b"h", task.path, status, first.path))

    def pair_databases(self) -> None:
        """A SQLite database is read together with its -wal and -journal: if one is to be read, all are."""
        if not self.companions:
            return
        tasks = {task.path: task for task in self.found.tasks}
        for base, names in self.companions.items():
            folder, _, name = base.rpartition(b"/")
            records = self.found.folders[folder][1]
            paths = {other: joined(folder, other) for other in (name, *names)}
            # Only what is read at all: not what is left out, nor a link or a FIFO of such a name.
            group = [other for other, path in paths.items() if path in tasks or _has_content(records.get(other))]
            if name not in group or not any(paths[other] in tasks for other in group):
                continue  # no database beside it, or nothing of the group changed
            try:
                task = tasks.get(base) or Task(folder, name, records, os.lstat(self.root + b"/" + base).st_size)
            except FileNotFoundError:
                continue  # deleted since the listing
            for other in group:
                tasks.pop(paths[other], None)
                records.pop(other, None)
            tasks[base] = task._replace(companions=tuple(sorted(group[1:])))
        self.found.tasks = list(tasks.values())


def _has_content(record: Record | None) -> bool:
    return record is not None and bool(record[2])
