"""Verb: record what the workspace's files say now, so that any version of them can be had again.

The history lies outside of the tree, where whoever rewrites the tree does not come by. It takes regular files that
are portable and not large; `.git` and `.antsmem` keep their own. A file in which a secret stands stays out.
"""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from antsmem.core.disk import disk_error, write_file
from antsmem.core.errors import AntsmemError, NotFoundError
from antsmem.core.record import field, mutable_record, record
from antsmem.identity.scanner import Scanner
from antsmem.identity.waivers import NONE, Waivers
from antsmem.workspace.classes import Classifier
from antsmem.workspace.gitstore import GitStore, NewCommit
from antsmem.workspace.layout import HOME

FILES: Final = b"files/"
"""Where the workspace's files are in a commit; beside it `modes` tells the modes that are not 0644."""
MODES: Final = "modes"
ORDINARY: Final = 0o644

LARGEST_BYTES: Final = 4 << 20
LARGEST_BINARY_BYTES: Final = 256 << 10
MOST_FILES: Final = 50_000

_OWN: Final = HOME.encode()
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_ATTEMPTS: Final = 3
_YOUNG_NS: Final = 20_000_000
_FORMAT: Final = 2
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})

Signature = tuple[int, int, int, int, int]
"""Modification and change time, size, inode, mode: who has the same has the same bytes."""


class Kept(NamedTuple):
    """What the history knows of a path: its `blob` (empty: left out, because of `why`) as of `signature`. No
    record: each look at the memory reads one for every file."""

    signature: Signature
    blob: str
    why: str = ""

    @property
    def mode(self) -> int:
        """Its permission bits."""
        return self.signature[4] & 0o7777


@record
class Tree:
    """A workspace with its history. `scanner` and `waivers` are asked for only when there is something to read."""

    root: Path
    store: GitStore
    classifier: Classifier
    scanner: Callable[[], Scanner]
    waivers: Callable[[], Waivers] = lambda: NONE


@record
class LeftOut:
    """A path that the history does not take, and why."""

    path: bytes
    why: str


@record
class Recorded:
    """What a pass did. `revision`: the new commit, empty if nothing changed; `files`: what is known of every path
    now; `left_out`: what it does not take; `unsettled`: what could not be read, or kept changing."""

    revision: str
    changed: tuple[bytes, ...]
    gone: tuple[bytes, ...]
    left_out: tuple[LeftOut, ...]
    unsettled: tuple[bytes, ...]
    files: Mapping[bytes, Kept] = field(repr=False)


@mutable_record
class _Pass:
    """What is under way. `known`: path → what is known of it."""

    known: dict[bytes, Kept]
    commit: NewCommit | None = None
    changed: list[bytes] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    unsettled: list[bytes] = field(default_factory=list)
    modes: bool = False
    dirty: bool = False


def record_history(tree: Tree, reason: str, now_ns: int, only: Collection[bytes] | None = None) -> Recorded:
    """Commit every version that is new, under the message `reason`. `only`: look at these paths alone (relative,
    bytes; files). The commit is durable when this returns; where nothing changed, nothing is written.

    Raises `NotFoundError` (no workspace), `LockedError` (another antsmem records for 20 s), `DiskError`,
    `IntegrityError` (the history is damaged) and `DriverMissingError` (no git): the history is then as it was.
    """
    store = tree.store
    if not tree.root.is_dir():
        raise NotFoundError(f"the workspace `{tree.root}` is gone: nothing recorded")
    if store.exists() and only is not None and not _differ(tree, known := load_known(store), only):
        return _recorded("", _Pass(known))
    store.make()
    with store.writing() as lock:
        run = _Pass(load_known(store))
        writer = _Writer(tree, run, lock, reason.encode(), now_ns)
        try:
            writer.look(only)
            revision = writer.finish()
        except BaseException:
            if run.commit is not None:
                run.commit.abandon()
            raise
        if run.dirty:
            _save_known(store, revision or store.head(), run.known)
        if revision:
            store.tidy(lock)
    return _recorded(revision, run)


def _recorded(revision: str, run: _Pass) -> Recorded:
    left_out = tuple(
        LeftOut(path, why)
        for path, why in sorted((path, kept.why) for path, kept in run.known.items() if kept.why)
    )
    return Recorded(revision, tuple(run.changed), tuple(run.gone), left_out, tuple(run.unsettled), run.known)


class _Writer:
    def __init__(self, tree: Tree, run: _Pass, lock: int, reason: bytes, now_ns: int) -> None:
        self.tree = tree
        self.run = run
        self.lock = lock
        self.reason = reason
        self.now_ns = now_ns
        self.top = os.fsencode(tree.root)

    def look(self, only: Collection[bytes] | None) -> None:
        """Take in what changed: everywhere, or among `only`."""
        classifier, blind = self.tree.classifier, list[bytes]()
        paths: Iterable[bytes] = _walk(self.top, classifier, blind)
        if only is not None:
            paths = (path for path in sorted(only) if _is_for(path, classifier))
        run, seen = self.run, set()
        for path in paths:
            status = _status(self.top, path, blind)
            if status is not None and (len(run.known) < MOST_FILES or path in run.known):
                seen.add(path)
                kept = run.known.get(path)
                if kept is None or kept.signature != signature_of(status):
                    self.take(path, status)
        for path in sorted((set(run.known) if only is None else set(only) & run.known.keys()) - seen):
            if any(path == place or path.startswith(place + b"/") for place in blind):
                run.unsettled.append(path)  # it is not gone, only out of sight
            else:
                self.drop(path)

    def drop(self, path: bytes) -> None:
        """Take in that a file is gone."""
        run = self.run
        run.dirty = True
        former = run.known.pop(path)
        if former.blob:
            self.new().delete(FILES + path)
            run.gone.append(path)
            run.modes |= former.mode != ORDINARY

    def take(self, path: bytes, status: os.stat_result) -> None:
        """Read a file that is new or other than it was."""
        run, before = self.run, self.run.known.get(path)
        run.dirty = True
        blob = before.blob if before else ""
        why = "larger than 4 MiB" if status.st_size > LARGEST_BYTES else ""
        if not why:
            read = read_settled(self.top + b"/" + path)
            if read is None:
                run.unsettled.append(path)
                return
            data, status = read
            why = self.refused(path, data)
        if why:  # what was taken before stays as it was; it is no version of what is there now
            if before is not None and blob:
                self.new().delete(FILES + path)
                run.gone.append(path)
                run.modes |= before.mode != ORDINARY
            run.known[path] = Kept(signature_of(status), "", why)
            return
        new = blob_id(data)
        if new != blob:
            self.new().put(FILES + path, data)
            run.changed.append(path)
        former = before.mode if before is not None and blob else ORDINARY
        run.modes |= former != status.st_mode & 0o7777
        young = self.now_ns - status.st_mtime_ns < _YOUNG_NS
        signature = signature_of(status)
        run.known[path] = Kept((0, *signature[1:]) if young else signature, new)

    def refused(self, path: bytes, data: bytes) -> str:
        """Why the history does not take a file; empty if it does."""
        if len(data) > LARGEST_BYTES:
            return "larger than 4 MiB"
        if len(data) > LARGEST_BINARY_BYTES and b"\0" in data[:8192]:
            return "binary, larger than 256 KiB"
        waivers = self.tree.waivers()
        for finding in self.tree.scanner().scan(data):
            if not waivers.allows(path, finding):
                return f"holds a secret ({finding.rule})"
        return ""

    def new(self) -> NewCommit:
        """The commit, begun when there is something to say."""
        if self.run.commit is None:
            self.run.commit = NewCommit(self.tree.store, self.lock, self.reason, self.now_ns)
        return self.run.commit

    def finish(self) -> str:
        """Make the commit count; its id, empty if there was nothing to say."""
        if self.run.modes:
            self.new().put(MODES.encode(), modes_text(self.run.known))
        commit, self.run.commit = self.run.commit, None
        return commit.finish() if commit else ""


def modes_text(known: Mapping[bytes, Kept]) -> bytes:
    """The modes other than 0644, as `modes` of a commit says them: `0600 path` and NUL, sorted by path."""
    return b"".join(
        b"%04o %b\0" % (kept.mode, path)
        for path, kept in sorted(known.items())
        if kept.blob and kept.mode != ORDINARY
    )


def mode_in(text: bytes, path: bytes) -> int:
    """The mode of `path` by the `modes` of a commit."""
    for row in text.split(b"\0"):
        mode, _, name = row.partition(b" ")
        if name == path and mode.isdigit():
            return int(mode, 8) & 0o7777
    return ORDINARY


def blob_id(data: bytes) -> str:
    """The name that git has for these bytes: gitrepository-layout(5)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def signature_of(status: os.stat_result) -> Signature:
    """What changes when the file does."""
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode)


def read_settled(path: bytes) -> tuple[bytes, os.stat_result] | None:
    """The bytes of a regular file and what it was when they were read; None if it is gone, cannot be read, or
    kept changing meanwhile."""
    for _ in range(_ATTEMPTS):
        with suppress(OSError):
            fd = os.open(path, _FLAGS)
            try:
                before = os.fstat(fd)
                if not stat.S_ISREG(before.st_mode):
                    return None
                parts, wanted = [], LARGEST_BYTES + 1
                while wanted > 0 and (part := os.read(fd, wanted)):
                    parts.append(part)
                    wanted -= len(part)
                after = os.fstat(fd)
            finally:
                os.close(fd)
            if signature_of(before) == signature_of(after):
                return b"".join(parts), after
    return None


def why_unsettled(root: Path, path: bytes) -> str:
    """Why a pass could not take in what `path` holds."""
    try:
        os.close(os.open(os.fsencode(root) + b"/" + path, _FLAGS))
    except OSError as error:
        return f"cannot be read: {(error.strerror or 'no reason given').lower()}"
    return "kept changing while it was read"


def _differ(tree: Tree, known: Mapping[bytes, Kept], only: Iterable[bytes]) -> bool:
    """Whether any of the paths is other than is known: a look at their times, nothing is read."""
    top = os.fsencode(tree.root)
    for path in only:
        status, kept = _status(top, path, []), known.get(path)
        if (status is None) != (kept is None):
            return True
        if status is not None and kept is not None and signature_of(status) != kept.signature:
            return True
    return False


def _status(top: bytes, path: bytes, blind: list[bytes]) -> os.stat_result | None:
    """Of a regular file; None for anything else. What could not be looked at is added to `blind`."""
    try:
        status = os.lstat(top + b"/" + path)
    except OSError as error:
        if error.errno not in _GONE:
            blind.append(path)
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _walk(top: bytes, classifier: Classifier, blind: list[bytes]) -> Iterator[bytes]:
    """The paths of the files that the history is for. A directory that cannot be listed is added to `blind`."""
    stack = [b""]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(top + b"/" + folder if folder else top) as listing:
                entries = sorted(listing, key=lambda each: each.name)
        except OSError as error:
            if not folder:
                raise disk_error("list", os.fsdecode(top), error) from error
            if error.errno not in _GONE:
                blind.append(folder)
            continue
        for entry in entries:
            path = folder + b"/" + entry.name if folder else entry.name
            if entry.name.lower() == b".git" or path == _OWN:
                continue
            if entry.is_dir(follow_symlinks=False):
                if classifier.classify_dir(entry.name, path) is None:
                    stack.append(path)
            elif entry.is_file(follow_symlinks=False) and classifier.classify_file(entry.name, path) is None:
                yield path


def _is_for(path: bytes, classifier: Classifier) -> bool:
    """Whether `_walk` would come by `path`."""
    parts = path.split(b"/")
    if parts[0] == _OWN or any(part.lower() == b".git" for part in parts):
        return False
    folders = (b"/".join(parts[:depth]) for depth in range(1, len(parts)))
    if any(classifier.classify_dir(folder.rpartition(b"/")[2], folder) is not None for folder in folders):
        return False
    return classifier.classify_file(parts[-1], path) is None


def load_known(store: GitStore) -> dict[bytes, Kept]:
    """What the last pass knew; where that is lost, what the newest commit says, without times."""
    head = store.head()
    with suppress(OSError, ValueError, EOFError, TypeError, AntsmemError):
        form, commit, rows = _loads((store.path / "antsmem-known").read_bytes())
        if form == _FORMAT and commit == head:
            return dict(zip(rows[0], map(Kept._make, rows[1]), strict=True))
    files = store.tree(f"{head}:{FILES.rstrip(b'/').decode()}") if head else {}
    text = store.blob(f"{head}:{MODES}") if files and MODES.encode() in store.tree(head) else b""
    return {path: Kept((0, 0, 0, 0, mode_in(text, path)), blob) for path, blob in files.items()}


def _loads(data: bytes) -> Any:
    return marshal.loads(data)  # noqa: S302 - of a private file that only we write


def _save_known(store: GitStore, head: str, known: Mapping[bytes, Kept]) -> None:
    """Remember for the next pass. Losing it costs reading every file once more."""
    rows = (list(known), [tuple(kept) for kept in known.values()])
    write_file(store.path / "antsmem-known", [marshal.dumps((_FORMAT, head, rows))], durable=False)
