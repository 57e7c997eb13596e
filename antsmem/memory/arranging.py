"""Verb: bring the workspace to what is known of its files, but leave alone what somebody is changing meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from antsmem.core.disk import disk_error, locked, read_file, write_file
from antsmem.core.errors import AntsmemError, LockedError
from antsmem.core.record import field, mutable_record, replace
from antsmem.memory.changes import OF_SIDES, SIDES, beginning, known_of, same_stat
from antsmem.memory.index import Known
from antsmem.memory.kinds import kind_of
from antsmem.memory.local import LocalMemory
from antsmem.memory.outcome import Outcome, Wanted, outcome
from antsmem.workspace.classes import Classifier

_PASSES = 3  # a name that is taken is free after the next one


@mutable_record
class Arranged:
    """What was done to the workspace. `clashes`: path → what became of two versions; `left`: path → why it is not
    yet as it should be."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    clashes: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


class _BusyError(Exception):
    """The file is not as it was when it was last looked at, or what stands in its place is not ours to replace."""

    def __init__(self, why: str = "is being changed") -> None:
        super().__init__(why)


def arrange(
    memory: LocalMemory,
    root: Path,
    classifier: Classifier,
    now_ns: int,
    fetch: Callable[[str], bytes] | None = None,
) -> Arranged:
    """Write, replace and remove the files of all paths of which there are news. A file that was changed since it
    was last looked at is left alone, and has its turn after the next look."""
    arranged = Arranged()
    for _ in range(_PASSES):
        arranged.left.clear()
        _pass(_Place(memory, root, classifier, now_ns, fetch), arranged)
        if not arranged.left:
            break
    return arranged


def _pass(place: _Place, arranged: Arranged) -> None:
    memory = place.memory
    for path in memory.index.dirty():
        try:
            found = outcome(memory, path, place.fetch)
            if found is not None:
                place.settle(found, arranged)
            memory.index.clean(path)
        except (_BusyError, AntsmemError) as error:
            arranged.left[path] = str(error)
        except OSError as error:  # such as a name that is too long for this file system
            arranged.left[path] = str(disk_error("use", path, error))


class _Place:
    """One path, and what stands beside it."""

    def __init__(
        self,
        memory: LocalMemory,
        root: Path,
        classifier: Classifier,
        now_ns: int,
        fetch: Callable[[str], bytes] | None,
    ) -> None:
        self.memory = memory
        self.root = root
        self.classifier = classifier
        self.now_ns = now_ns
        self.fetch = fetch

    def settle(self, found: Outcome, arranged: Arranged) -> None:
        index = self.memory.index
        wanted = {item.path: item for item in found.files}
        before = {item.path: item for item in index.copies_of(found.path)}
        main = index.known_at(found.path)
        if main is not None and not main.origin:
            before[found.path] = main
        for item in reversed(found.files):  # first the copies beside: no version is ever nowhere
            if self.put(item, found):
                arranged.written.append(item.path)
        for path, known in before.items():
            if path not in wanted and self.remove(known, found):
                arranged.removed.append(path)
        if found.clash:
            arranged.clashes[found.path] = found.clash

    def put(self, wanted: Wanted, found: Outcome) -> bool:
        """See that a file is as wanted; whether it was written."""
        origin = "" if wanted.path == found.path else found.path
        if not self.may_stand(wanted.path):
            return False  # a rule of this host keeps it away
        index, place = self.memory.index, self.root / wanted.path
        known = index.known_at(wanted.path)
        if known is not None and bool(known.origin) is not bool(origin) and known.sha256 != wanted.sha256:
            index.touch(known.origin or wanted.path)  # another file has this name: the copy gets another one
            raise _BusyError
        if known is not None and (known.sha256, known.executable) == (wanted.sha256, wanted.executable):
            if not os.path.lexists(place):
                raise _BusyError
            index.know([replace(known, heads=wanted.heads, origin=origin)])
            return False
        with _alone(place, wanted.path):
            self.refuse_changed(place, known, wanted.sha256)
            content = wanted.content
            if content is None:
                content = self.memory.content(wanted.source, self.fetch)
            self.doubt(known, found)
            status = self.write(place, content, wanted.executable)
        index.know(
            [replace(known_of(wanted.path, wanted.sha256, status, wanted.heads, self.now_ns), origin=origin)]
        )
        return True

    def write(self, place: Path, content: bytes, executable: bool) -> os.stat_result:
        """Write a file, with the mode of the one it replaces, and give its new stat."""
        self.make_folder(place.parent)
        try:
            mode = os.lstat(place).st_mode & 0o666
        except FileNotFoundError:
            mode = 0o600
        write_file(place, [content], mode=0o600)
        if executable:
            mode |= 0o100 | (mode & 0o044) >> 2
        os.chmod(place, mode)
        for side in SIDES:  # of the database that stood here
            beside = os.fsencode(place) + side
            if beginning(beside) in OF_SIDES:
                os.unlink(beside)
        return os.lstat(place)

    def doubt(self, known: Known | None, found: Outcome) -> None:
        """Before what was `known` goes: if it will stand elsewhere, no edit after a death counts as one of it."""
        if known is not None:
            elsewhere = {head for item in found.files if item.path != known.path for head in item.heads}
            if elsewhere.intersection(known.heads):
                self.memory.index.doubt(known)

    def remove(self, known: Known, found: Outcome) -> bool:
        """See that a file is not there; whether it was removed."""
        place = self.root / known.path
        with _alone(place, known.path):
            try:
                self.refuse_changed(place, known, "")
                self.doubt(known, found)
                os.unlink(place)
                gone = True
            except FileNotFoundError:
                gone = False
            except OSError as error:
                raise disk_error("remove", place, error) from error
        self.memory.index.unknow([known.path])
        folder = place.parent
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent
        return gone

    def refuse_changed(self, place: Path, known: Known | None, wanted: str) -> None:
        """`_BusyError` unless what is at `place` is what was last looked at, or holds what is wanted already."""
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise _BusyError from None
        if known is not None and same_stat(known, status):
            return
        if not stat.S_ISREG(status.st_mode):
            raise _BusyError("what stands in its place is not a regular file")
        try:
            digest = hashlib.sha256(read_file(place)).hexdigest()
        except AntsmemError:
            raise _BusyError from None
        if digest not in {wanted, known.sha256 if known else wanted}:
            raise _BusyError

    def make_folder(self, folder: Path) -> None:
        """Make the directories of a file, none of them through a symbolic link; `_BusyError` where one is none."""
        place = self.root
        for part in folder.relative_to(self.root).parts:
            place = place / part
            try:
                place.mkdir(mode=0o700)
            except FileExistsError:
                if place.is_symlink() or not place.is_dir():
                    raise _BusyError(f"`{place.relative_to(self.root)}` is no directory here") from None
            except OSError as error:
                raise disk_error("make", place, error) from error

    def may_stand(self, path: str) -> bool:
        """Whether this host's rules call `path` portable: no event puts a secret, or a lock, into a workspace."""
        parts = path.encode().split(b"/")
        for count in range(1, len(parts)):
            if self.classifier.classify_dir(parts[count - 1], b"/".join(parts[:count])) is not None:
                return False
        return self.classifier.classify_file(parts[-1], path.encode()) is None


@contextmanager
def _alone(place: Path, path: str) -> Iterator[None]:
    """Nobody appends to a daily log while it is replaced."""
    if kind_of(path) != "daily" or not place.is_file():
        yield
        return
    try:
        with locked(place, f"`{path}` is being written by another process"):
            yield
    except LockedError:
        raise _BusyError from None
