"""Look at every path of a workspace and say what a backup will do with it, without opening one file.

Directories that are left out are still counted, so that nothing is skipped without its size being known.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

from antsmem.core.errors import NotFoundError
from antsmem.core.record import record
from antsmem.workspace.classes import CLASSES, Classifier, Verdict
from antsmem.workspace.rules import PathClass

LISTED: Final = 10_000
"""How many paths a list of a survey holds at most; what is beyond is still counted."""

_Item = TypeVar("_Item")

_ORDINARY: Final = bytes(range(0x20, 0x7F))
_SPECIAL: Final = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


@record
class Total:
    """Everything of one class. `size_bytes` adds what the files say: holes count, hard links count twice."""

    files: int
    directories: int
    size_bytes: int


@record
class LeftOut:
    """A path that is not portable; for a directory, with all that is below it."""

    path: bytes
    verdict: Verdict
    is_directory: bool
    files: int
    size_bytes: int


@record
class Remark:
    """A path (relative, bytes as on disk) and what is special about it."""

    path: bytes
    what: str


@record
class Survey:
    """What is in a workspace. Paths are relative bytes, in the order of the walk; `totals` has all four classes.

    `special`: neither file, directory nor symbolic link (recorded, not read). `odd_names`: names that another
    machine may not be able to hold. `unreadable`: what this user may not read, so a backup would miss it.
    `unlisted` counts what was found beyond the first `LISTED` of any list.
    """

    totals: dict[PathClass, Total]
    symlinks: int
    left_out: tuple[LeftOut, ...]
    special: tuple[Remark, ...]
    odd_names: tuple[Remark, ...]
    unreadable: tuple[Remark, ...]
    unlisted: int


def survey(root: Path, classifier: Classifier) -> Survey:
    """Survey the tree at `root`. No file is opened, no link followed; `NotFoundError` if it cannot be listed."""
    return _Surveyor(os.fsencode(root), classifier).run()


class _Surveyor:
    def __init__(self, root: bytes, classifier: Classifier) -> None:
        self.root = root
        self.classifier = classifier
        self.counts: dict[PathClass, list[int]] = {name: [0, 0, 0] for name in CLASSES}
        self.symlinks = 0
        self.left_out: list[LeftOut] = []
        self.special: list[Remark] = []
        self.odd_names: list[Remark] = []
        self.unreadable: list[Remark] = []
        self.unlisted = 0

    def run(self) -> Survey:
        stack = [b""]
        while stack:
            folder = stack.pop()
            below = []
            twins: set[bytes] = set()
            for entry in self.entries(folder):
                name = entry.name
                path = folder + b"/" + name if folder else name
                self.name(name, path, twins)
                if _is_directory(entry):
                    verdict = self.classifier.classify_dir(name, path)
                    if verdict is None:
                        self.counts["portable"][1] += 1
                        below.append(path)
                    else:
                        self.leave_directory(path, verdict)
                else:
                    self.file(entry, path, self.classifier.classify_file(name, path))
            stack += reversed(below)
        return Survey(
            totals={name: Total(*counts) for name, counts in self.counts.items()},
            symlinks=self.symlinks,
            left_out=tuple(self.left_out),
            special=tuple(self.special),
            odd_names=tuple(self.odd_names),
            unreadable=tuple(self.unreadable),
            unlisted=self.unlisted,
        )

    def entries(self, folder: bytes) -> Iterator[os.DirEntry[bytes]]:
        """The entries of a directory; one that cannot be listed is a remark, the top an error."""
        try:
            with os.scandir(self.root + b"/" + folder if folder else self.root) as entries:
                yield from entries
        except OSError as error:
            if not folder:
                shown, why = os.fsdecode(self.root), (error.strerror or "").lower()
                raise NotFoundError(f"could not list `{shown}`: {why}") from error
            self.remark(self.unreadable, folder, f"cannot be listed: {(error.strerror or '').lower()}")

    def file(self, entry: os.DirEntry[bytes], path: bytes, verdict: Verdict | None) -> None:
        """Count what is not a directory."""
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # deleted since the listing
        except OSError as error:
            self.remark(self.unreadable, path, f"cannot be looked at: {(error.strerror or '').lower()}")
            return
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            self.symlinks += 1
        elif kind != stat.S_IFREG:
            self.remark(self.special, path, _SPECIAL.get(kind, "unknown kind"))
        elif verdict is None and status.st_mode & 0o444 != 0o444 and not _may_read(entry.path):
            self.remark(self.unreadable, path, "cannot be read: permission denied")
        counts = self.counts[verdict.path_class if verdict else "portable"]
        counts[0] += 1
        counts[2] += status.st_size
        if verdict is not None:
            self.keep(self.left_out, LeftOut(path, verdict, False, 1, status.st_size))

    def leave_directory(self, top: bytes, verdict: Verdict) -> None:
        """Count a directory that is left out, with all that is below it."""
        counts = self.counts[verdict.path_class]
        files, directories, size, stack = 0, 1, 0, [top]
        while stack:
            folder = stack.pop()
            for entry in self.entries(folder):
                if _is_directory(entry):
                    directories += 1
                    stack.append(folder + b"/" + entry.name)
                    continue
                files += 1
                try:
                    size += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue  # gone since the listing; it was not going to be read anyway
        counts[0] += files
        counts[1] += directories
        counts[2] += size
        self.keep(self.left_out, LeftOut(top, verdict, True, files, size))

    def name(self, name: bytes, path: bytes, twins: set[bytes]) -> None:
        """Look at a name; `twins` are the names of the directory so far, as a case-blind disk sees them."""
        folded = name.lower()
        if name.translate(None, _ORDINARY):
            folded, what = _folded(name)
            if what:
                self.remark(self.odd_names, path, what)
        if folded in twins:
            self.remark(self.odd_names, path, "would be one with another name on a disk that ignores case")
        twins.add(folded)

    def remark(self, remarks: list[Remark], path: bytes, what: str) -> None:
        self.keep(remarks, Remark(path, what))

    def keep(self, items: list[_Item], item: _Item) -> None:
        if len(items) < LISTED:
            items.append(item)
        else:
            self.unlisted += 1


def _is_directory(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # its `stat` will say why


def _may_read(path: bytes) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _folded(name: bytes) -> tuple[bytes, str]:
    """A name that is not plain ASCII, as a disk sees it that knows no upper case, and what is odd about it."""
    import unicodedata

    try:
        text = name.decode()
    except UnicodeDecodeError:
        return name, "is not UTF-8"
    controls = not text.isprintable() and any(unicodedata.category(sign) == "Cc" for sign in text)
    folded = unicodedata.normalize("NFD", text.casefold()).encode()
    return folded, "holds control characters" if controls else ""
