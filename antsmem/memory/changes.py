"""Find what changed in the workspace since it was last looked at: by stat, and by hash where that differs.

Only what a backup would take as portable is looked at, and nothing of antsmem's own; symbolic links, special files
and names that are no UTF-8 stay on their host, and are counted.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from antsmem.core.disk import read_file
from antsmem.core.errors import AntsmemError, UsageError
from antsmem.core.record import field, mutable_record, record
from antsmem.memory.index import Known
from antsmem.memory.payload import MAX_CONTENT_BYTES
from antsmem.workspace.classes import Classifier
from antsmem.workspace.layout import HOME

_SQLITE: Final = b"SQLite format 3\0"
SIDES: Final = (b"-wal", b"-journal", b"-shm")
"""What SQLite calls the files that it keeps beside a database, after the name of that."""

OF_SIDES: Final = frozenset(
    bytes.fromhex(text) for text in ("377f0682", "377f0683", "d9d505f9", "00000000", "18e22d00", "002de218")
)
"""How such a file begins, if it is not empty (https://www.sqlite.org/fileformat2.html, walformat.html)."""

_RACY_NS: Final = 50_000_000


@record
class Changed:
    """A file whose content is another than was known, or whose `executable` bit is."""

    path: str
    sha256: str
    executable: bool
    content: bytes = field(repr=False)
    status: os.stat_result = field(repr=False)


@record
class Unchanged:
    """A file with the content that was known, but with another stat: only that is to be remembered."""

    path: str
    status: os.stat_result = field(repr=False)


@mutable_record
class Scan:
    """What a look at the workspace finds: `gone` are the files that are not there any more, `skipped` the paths
    that cannot be synchronised, and why. It is filled while the iterator of `changes` is read."""

    gone: list[Known] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    files: int = 0


def changes(
    root: Path, classifier: Classifier, known: Mapping[str, Known], scan: Scan
) -> Iterator[Changed | Unchanged]:
    """The files below `root` that are not as `known` (path → how it was) says; `scan` is filled meanwhile."""
    left = set(known)
    for path, entry, is_open in _files(root, classifier, scan):
        left.discard(path)
        scan.files += 1
        try:
            status = entry.stat(follow_symlinks=False)
            before = known.get(path)
            if before is not None and same_stat(before, status) and not is_open:
                continue
            found = _looked_at(root, path, status, before)
        except FileNotFoundError:
            left.add(path)  # deleted since the listing
        except (AntsmemError, OSError) as error:
            scan.skipped[path] = str(error)
        else:
            if found is not None:
                yield found
    scan.gone = [known[path] for path in sorted(left) if _is_gone(root / path)]


def _is_gone(path: Path) -> bool:
    """Whether there is nothing at `path`, for sure: not what became secret, or a folder that cannot be listed."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def same_stat(known: Known, status: os.stat_result) -> bool:
    """Whether a file with `status` is, as far as can be told without reading it, as it was `known`."""
    return (
        known.mtime_ns == status.st_mtime_ns
        and known.size_bytes == status.st_size
        and known.inode == status.st_ino
        and known.executable == is_executable(status)
    )


def is_executable(status: os.stat_result) -> bool:
    """Whether its owner may run it."""
    return bool(status.st_mode & stat.S_IXUSR)


def known_of(path: str, sha256: str, status: os.stat_result, heads: tuple[str, ...], now_ns: int) -> Known:
    """How a file is remembered. One that was written just now is read again next time: its next change could have
    the same time."""
    fresh = status.st_mtime_ns > now_ns - _RACY_NS
    mtime = -1 if fresh else status.st_mtime_ns
    return Known(path, sha256, status.st_size, mtime, status.st_ino, is_executable(status), heads)


def _looked_at(root: Path, path: str, status: os.stat_result, before: Known | None) -> Changed | Unchanged | None:
    if status.st_size > MAX_CONTENT_BYTES:
        raise UsageError(f"is larger than {MAX_CONTENT_BYTES >> 20} MiB")
    content = _content(root / path)
    again = os.lstat(root / path)
    if (again.st_mtime_ns, again.st_size, again.st_ino) != (status.st_mtime_ns, status.st_size, status.st_ino):
        return None  # it is being written: next time
    digest = hashlib.sha256(content).hexdigest()
    if before is not None and before.sha256 == digest and before.executable == is_executable(status):
        return Unchanged(path, status)
    return Changed(path, digest, is_executable(status), content, status)


def _content(path: Path) -> bytes:
    """The bytes of a file; of a SQLite database those of one consistent state, what its log holds included."""
    content = read_file(path, MAX_CONTENT_BYTES)
    if not content.startswith(_SQLITE) or not any(os.path.lexists(os.fsencode(path) + side) for side in SIDES):
        return content
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
            return database.serialize()
    except sqlite3.Error as error:
        raise UsageError("is a database that cannot be read now") from error


def beginning(path: bytes) -> bytes | None:
    """The first four bytes of a file; None if there is no regular file that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(fd, 4) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def _files(root: Path, classifier: Classifier, scan: Scan) -> Iterator[tuple[str, os.DirEntry[bytes], bool]]:
    """Every portable regular file below `root` without antsmem's own directory, and whether it is a database that
    somebody has open."""
    stack = [b""]
    top = os.fsencode(root)
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(os.path.join(top, folder) if folder else top) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            scan.skipped[os.fsdecode(folder)] = f"cannot be listed: {(error.strerror or '').lower()}"
            continue
        names = {entry.name for entry in listed}
        for entry in listed:
            path = folder + b"/" + entry.name if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name != HOME.encode() and classifier.classify_dir(entry.name, path) is None:
                    stack.append(path)
            elif classifier.classify_file(entry.name, path) is None and not _is_side(entry, names):
                try:
                    text = path.decode()
                except UnicodeDecodeError:
                    scan.skipped[os.fsdecode(path)] = "its name is not UTF-8"
                    continue
                if entry.is_file(follow_symlinks=False):
                    yield text, entry, any(entry.name + side in names for side in SIDES)
                else:
                    scan.skipped[text] = "is not a regular file"


def _is_side(entry: os.DirEntry[bytes], names: set[bytes]) -> bool:
    """Whether it is what SQLite keeps beside a database that is there: told by its name and its first bytes."""
    named = any(entry.name.endswith(side) and entry.name[: -len(side)] in names for side in SIDES)
    return named and beginning(entry.path) in {b"", *OF_SIDES}
