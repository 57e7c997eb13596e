"""Restore from a cold archive: signature first, then staged, verified against its manifest, renamed in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from blake3 import blake3

from antsmem.backup import tarstream
from antsmem.backup.cold import MANIFEST, PREFIX, SNAPSHOT
from antsmem.backup.manifest import Entry, checked, parse_line
from antsmem.backup.repository import COLD_SUFFIX, Repository, read_signature
from antsmem.backup.restore import Progress, RestoreResult, appearing, left_out_of, refuse_target
from antsmem.backup.snapshot import COLD, Head
from antsmem.backup.tarstream import Incoming
from antsmem.backup.tree import Tree
from antsmem.core import canonical
from antsmem.core.errors import CannotUnlockError, IntegrityError
from antsmem.core.record import record

_LIMIT = 1 << 30
_STEP = 1 << 20


@record
class Thawed:
    """What a cold archive holds: its head and its entries, all content verified."""

    head: Head
    entries: list[Entry]


def restore_cold(
    repository: Repository,
    snapshot_id: str,
    target: Path,
    progress: Progress,
    complete: Callable[[Path], None] = lambda staged: None,
) -> RestoreResult:
    """Restore a whole cold archive into `target`, which must not exist or be empty; `complete` may add to the
    staged tree before it becomes visible. Raises
    `IntegrityError` before anything is visible, `CannotUnlockError` (only the recovery kit opens it)."""
    refuse_target(target)
    require_signed(repository, snapshot_id, progress)
    with appearing(target, complete) as staged, Tree(os.fsencode(staged)) as tree:
        thawed = read_archive(repository, snapshot_id, tree, progress)
        _finish(thawed.entries, tree)
        warnings = tuple(tree.warnings)
    return RestoreResult(
        snapshot=snapshot_id,
        target=str(target),
        files=thawed.head.files,
        size_bytes=thawed.head.size_bytes,
        changed=thawed.head.files,
        left_out=left_out_of(thawed.entries),
        damaged=(),
        warnings=warnings,
    )


def require_signed(repository: Repository, snapshot_id: str, progress: Progress) -> None:
    """Read the archive once and compare it with its signature. `IntegrityError`."""
    statement = read_signature(repository, snapshot_id, COLD)
    total = statement.get("size_bytes", 0)
    sha256, done = hashlib.sha256(), 0
    for chunk in repository.store.download(f"cold/{snapshot_id}{COLD_SUFFIX}"):
        sha256.update(chunk)
        done += len(chunk)
        progress("bytes verified", done, total)
    _require_same(sha256.hexdigest(), statement, snapshot_id)


def read_archive(repository: Repository, snapshot_id: str, tree: Tree | None, progress: Progress) -> Thawed:
    """Read the archive to its end and check every file against the manifest; write files below `tree` if given,
    which counts only once this returns. Raises `IntegrityError`, `CannotUnlockError`."""
    statement = read_signature(repository, snapshot_id, COLD)
    sha256 = hashlib.sha256()
    found: dict[bytes, tuple[int, bytes]] = {}
    rest: dict[bytes, bytes] = {}
    with _opened(repository, snapshot_id, sha256) as archive:
        for count, member in enumerate(archive):
            name, kind = member.name, member.kind
            path = name[len(PREFIX) :].rstrip(b"/")
            if name in {MANIFEST, SNAPSHOT}:
                rest[name] = _read_small(member)
            elif not name.startswith(PREFIX) or not _is_plain(path) or path in found:
                raise IntegrityError(
                    f"cold archive `{snapshot_id}` names a path outside of the workspace, or twice"
                )
            elif kind == tarstream.FILE:
                found[path] = (member.size_bytes, _take(member, path, tree))
            elif kind == tarstream.FOLDER and path and tree is not None:
                tree.make_folder(path)
            if not count & 255:
                progress("files", count, 0)
    _require_same(sha256.hexdigest(), statement, snapshot_id)  # a store may give other bytes the second time
    return _agreed(snapshot_id, found, rest, tree)


def _require_same(sha256: str, statement: Mapping[str, Any], snapshot_id: str) -> None:
    if sha256 != statement.get("sealed_sha256"):
        raise IntegrityError(f"cold archive `{snapshot_id}` is not the one that was signed")


def _agreed(
    snapshot_id: str, found: dict[bytes, tuple[int, bytes]], rest: dict[bytes, bytes], tree: Tree | None
) -> Thawed:
    """What the archive's own head and manifest say, if that is what was `found` in it."""
    if rest.keys() != {MANIFEST, SNAPSHOT}:
        raise IntegrityError(f"cold archive `{snapshot_id}` ends before its manifest")
    head = Head.from_json(canonical.loads(rest[SNAPSHOT], 1 << 20))
    entries = checked([parse_line(text) for text in rest[MANIFEST].splitlines()])
    for entry in entries:
        if entry.kind != b"x" or entry.path not in found:
            continue
        del found[entry.path]  # the disk failed while it was archived: these are not its bytes
        if tree is not None and entry.path not in tree.unmade:
            os.unlink(tree.root + b"/" + entry.path)
    expected = {entry.path: (entry.size_bytes, entry.digest) for entry in entries if entry.is_file}
    if head.id != snapshot_id or blake3(rest[MANIFEST]).digest() != head.root or expected != found:
        raise IntegrityError(f"cold archive `{snapshot_id}` does not hold what its manifest says")
    return Thawed(head, entries)


@contextmanager
def _opened(repository: Repository, snapshot_id: str, sha256: hashlib._Hash) -> Iterator[Iterator[Incoming]]:
    """The members of the archive. At the end it is read to its last byte; `sha256` has then seen all of it."""
    import zstandard

    from antsmem.core import age

    def sealed() -> Iterator[bytes]:
        for chunk in repository.store.download(f"cold/{snapshot_id}{COLD_SUFFIX}"):
            sha256.update(chunk)
            yield chunk

    plain = _Stream(age.unseal_stream(sealed(), repository.keys.identities))
    try:
        with zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], plain)) as stream:
            yield tarstream.read_members(stream.read)
            while stream.read(_STEP):
                pass
        while plain.read():
            pass
    except zstandard.ZstdError as error:
        raise IntegrityError(f"cold archive `{snapshot_id}` is damaged") from error
    except CannotUnlockError as error:
        raise CannotUnlockError(
            f"no key at hand opens cold archive `{snapshot_id}`",
            hint="the recovery kit does: --kit FILE --repository URL",
        ) from error


class _Stream:
    """An iterable of chunks as a file to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; empty at the end."""
        if not self._held:
            self._held = next(self._chunks, b"")
        data, self._held = (self._held, b"") if size < 0 else (self._held[:size], self._held[size:])
        return data


def _is_plain(path: bytes) -> bool:
    """Whether `path` stays below where it begins; empty is the workspace itself."""
    return not path or (b"\0" not in path and all(part not in {b"", b".", b".."} for part in path.split(b"/")))


def _read_small(member: Incoming) -> bytes:
    if member.kind != tarstream.FILE or member.size_bytes > _LIMIT:
        raise IntegrityError("a cold archive holds a malformed manifest")
    return b"".join(member.content())


def _take(member: Incoming, path: bytes, tree: Tree | None) -> bytes:
    """Hash a file of the archive, and write it below `tree` if given."""
    hashed, at = blake3(), 0
    entry = Entry(b"f", 0o600, (0, 0), 0, member.size_bytes, b"", b"", path)
    if tree is not None:
        tree.start_file(entry)
    for data in member.content():
        hashed.update(data)
        if tree is not None and path not in tree.unmade and data.count(0) < len(data):
            tree.write_at(path, at, data)
        at += len(data)
    return hashed.digest()


def _finish(entries: list[Entry], tree: Tree) -> None:
    """Links, then the metadata of files, then that of directories, deepest first."""
    for entry in entries:
        if entry.kind in {b"l", b"h", b"p"}:
            tree.link(entry)
        elif entry.is_file:
            tree.finish_file(entry)
    for entry in reversed(entries):
        if entry.kind == b"d":
            tree.finish_folder(entry)
