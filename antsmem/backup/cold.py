"""The cold tier: one self-contained archive that the host which writes it cannot read back.

    cold/<id>.tar.zst.age   age( zstd( tar: workspace/… , manifest.txt , snapshot.json ) )
    cold/<id>.sig           signed statement with the SHA-256 of the archive; its appearance is the commit

Sealed to the cold epoch key, whose private half only the recovery kit opens. `age -d | zstd -d | tar -x` gives
everything back.
"""

from __future__ import annotations

import base64
import hashlib
import os
import queue
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from antsmem.backup import repository as repo
from antsmem.backup import tarstream
from antsmem.backup.cache import size_of
from antsmem.backup.carry import carry
from antsmem.backup.hot import BackupResult, Job, clock_warning, manifest_lines, neighbours, refusal
from antsmem.backup.intake import NAMES, WINDOW, Intake, is_sparse
from antsmem.backup.lease import leased
from antsmem.backup.manifest import ROOT, Entry, parse_line
from antsmem.backup.repository import COLD_SUFFIX, Anchor, Pin, Repository, State
from antsmem.backup.snapshot import COLD, Head, new_id, time_of
from antsmem.backup.tree import attributes_of
from antsmem.backup.walk import Walk, walk
from antsmem.core import canonical
from antsmem.core.crew import Crew
from antsmem.core.disk import Buffer
from antsmem.identity.statement import sign_statement

if TYPE_CHECKING:
    from antsmem.backup.store import Store
    from antsmem.core.age import Recipient

PREFIX: Final = b"workspace/"
MANIFEST: Final = b"manifest.txt"
SNAPSHOT: Final = b"snapshot.json"
_CHUNK: Final = 1 << 20
_LINKS: Final = {b"l": tarstream.SYMLINK, b"h": tarstream.HARD_LINK, b"p": tarstream.FIFO}


def back_up_cold(repository: Repository, job: Job) -> BackupResult:
    """Write a cold archive of the workspace. Raises what `hot.back_up_hot` raises; an archive that did not
    come to its end is not visible."""
    repository.keys.must_sign()
    with leased(repository.store, repository.keys.host) as lease:
        state = repo.read_state(repository, job.pin)
        found = walk(job.root, {}, job.classifier)
        ids = (*state.ids, *state.anchor.cold)
        after_ns = time_of(max(ids)) + 1_000_000 if ids else 0
        snapshot_id = new_id(max(job.now_ns, after_ns))
        files = carry(repository, state)  # before anything is sealed to a new one
        _, recipient = repository.keys.sealing[COLD]
        with _Archive(repository.store, f"cold/{snapshot_id}{COLD_SUFFIX}", recipient) as archive:
            intake = _ArchiveIntake(job, archive)
            _write_folders(found, archive)
            found.tasks.sort(key=neighbours, reverse=True)
            count = len(found.tasks)
            while found.tasks:
                if not len(found.tasks) & 63:
                    lease.renew()
                    job.progress("files", count - len(found.tasks), count)
                intake.take(found.tasks.pop())
            intake.mend_links(found.linked)
            if intake.tally.leaks:
                raise refusal(intake.tally.leaks)
            _write_links(found, archive)
            warnings = (*clock_warning(sorted(ids), job.now_ns), *found.warnings, *intake.tally.warnings)
            head, manifest = _head(repository, state, job, found, snapshot_id, len(warnings))
            intake.inspect(memoryview(manifest), NAMES)
            if intake.tally.leaks:
                raise refusal(intake.tally.leaks)
            archive.add(MANIFEST, manifest, job.now_ns)
            archive.add(SNAPSHOT, canonical.dumps(head.as_json()), job.now_ns)
            lease.renew()
        statement = {**repo.signed_part(head, archive.sha256.hexdigest()), "size_bytes": archive.size_bytes}
        repository.store.put(f"cold/{snapshot_id}.sig", [sign_statement(statement, repository.keys.must_sign())])
        newest = Anchor(
            sequence=head.sequence,
            head=state.ids[-1] if state.ids else "",
            snapshots=state.ids,
            cold=(*state.anchor.cold, snapshot_id),
            sealed={**repository.sealed, snapshot_id: statement["sealed_sha256"]},
            files=files,
        )
        repo.write_anchor(repository, newest, state.token)
    return BackupResult(
        repository=repository.store.url,
        snapshot=snapshot_id,
        tier=COLD,
        files=head.files,
        size_bytes=head.size_bytes,
        read_bytes=intake.tally.read_bytes,
        added_bytes=archive.size_bytes,
        left_out=found.left_out,
        warnings=warnings,
        waived=tuple(intake.tally.waived),
        pin=Pin(newest.sequence, newest.head),
    )


class _Archive:
    """tar → zstd → age → store, pushed into: sealing and storing run in a thread of their own, a bounded queue
    behind. Leaving it with an exception leaves nothing in the store."""

    def __init__(self, store: Store, name: str, recipient: Recipient) -> None:
        import zstandard

        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self._recipient = recipient
        self._zstd = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=8)
        self._crew = Crew(lambda _crew: store.upload(name, self._sealed()), 1)

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self.write(tarstream.END)
            self._push(self._zstd.flush())
            self._send(None)
            self._crew.wait()
            return
        self._send(error)  # ends the upload, which then leaves nothing
        with suppress(BaseException):
            self._crew.wait()

    def write(self, data: Buffer) -> None:
        """Append to the tar stream."""
        view = memoryview(data)
        for at in range(0, len(view), _CHUNK):
            self._push(self._zstd.compress(view[at : at + _CHUNK]))

    def add(self, name: bytes, data: Buffer, mtime_ns: int) -> None:
        """A whole member beside the workspace."""
        member = tarstream.Member(name, tarstream.FILE, mtime_ns=mtime_ns, size_bytes=len(data))
        for part in (tarstream.headers(member), data, tarstream.padding(len(data))):
            self.write(part)

    def _push(self, data: bytes) -> None:
        if self._crew.failed:
            self._crew.wait()
        if data:
            self._send(data)

    def _send(self, item: bytes | BaseException | None) -> None:
        """Into the queue, waiting for room as long as somebody reads it."""
        while not self._crew.failed:
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def _chunks(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _sealed(self) -> Iterator[bytes]:
        from antsmem.core import age

        for part in age.seal_stream(self._chunks(), [self._recipient]):
            self.sha256.update(part)
            self.size_bytes += len(part)
            yield part


class _ArchiveIntake(Intake):
    """Writes files into the archive as tar members; one that fits in memory is read until it holds still."""

    def __init__(self, job: Job, archive: _Archive) -> None:
        super().__init__(job.root, job.scanner, job.waivers, job.now_ns)
        self.archive = archive
        self._small: bytes | None = None

    def repeatable(self, status: os.stat_result) -> bool:
        """See `Intake.repeatable`: what is in the stream stays there."""
        return status.st_size <= WINDOW

    def content(self, fd: int, status: os.stat_result, relative: bytes) -> tuple[bytes, int, bytes]:
        """See `Intake.content`; one digest, that of the whole file, whatever its size."""
        if self.repeatable(status):
            self._small = os.pread(fd, status.st_size + 1, 0)
            self.inspect(memoryview(self._small), relative)
            return b"f", len(self._small), blake3(self._small).digest()
        self._small = None
        sparse, size = is_sparse(status), status.st_size
        owner, attributes = (status.st_uid, status.st_gid), self.attributes(fd, sparse, relative)
        mode = stat.S_IMODE(status.st_mode)
        self._write_header(Entry(b"f", mode, owner, status.st_mtime_ns, size, b"", b"", relative, attributes))
        hashed, at = blake3(), 0
        try:
            for start, window in self.windows(fd, _CHUNK, sparse, relative):
                for piece in _zeros(min(start, size) - at):
                    hashed.update(piece)
                    self._write(piece)
                kept = window[: max(size - start, 0)]
                hashed.update(kept)
                self._write(kept)
                at = min(start + len(window), size)
        except OSError:  # the disk fails: the archive goes on, and its manifest says that this is not in it
            self._fill(size - at, size)
            raise
        for piece in _zeros(size - at):
            hashed.update(piece)
        self._fill(size - at, size)
        return b"f", size, hashed.digest()

    def done(self, entry: Entry) -> None:
        """See `Intake.done`."""
        if self._small is not None:
            self._write_header(entry)
            self._write(self._small + tarstream.padding(entry.size_bytes))

    def _write_header(self, entry: Entry) -> None:
        self._write(member_of(entry, tarstream.FILE))

    def _fill(self, count: int, size: int) -> None:
        """`count` zeros, the last of a member of `size` bytes."""
        for piece in _zeros(count):
            self._write(piece)
        self._write(tarstream.padding(size))

    def _write(self, data: Buffer) -> None:
        """Into the archive, unless it will not be kept: once a secret was found, nothing more leaves."""
        if not self.tally.leaks:
            self.archive.write(data)


def member_of(entry: Entry, kind: bytes) -> bytes:
    """The tar headers of a manifest entry."""
    found = attributes_of(entry).get("xattr", {})
    xattrs = {name: base64.b64decode(value) for name, value in found.items()} if isinstance(found, dict) else {}
    link = PREFIX + entry.link if kind == tarstream.HARD_LINK else entry.link
    return tarstream.headers(
        tarstream.Member(
            name=PREFIX if entry.path == ROOT else PREFIX + entry.path,
            kind=kind,
            mode=entry.mode,
            owner=entry.owner,
            mtime_ns=entry.mtime_ns,
            size_bytes=entry.size_bytes,
            link=link,
            xattrs=xattrs,
        )
    )


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK))
        count -= _CHUNK


def _write_folders(found: Walk, archive: _Archive) -> None:
    for folder in sorted(found.folders):
        archive.write(member_of(parse_line(found.folders[folder][0][:-1]), tarstream.FOLDER))


def _write_links(found: Walk, archive: _Archive) -> None:
    """Links and FIFOs, when the files that hard links name are there."""
    for _, text in manifest_lines(found.folders):
        if text[:1] in _LINKS:
            archive.write(member_of(parse_line(text[:-1]), _LINKS[text[:1]]))


def _head(
    repository: Repository, state: State, job: Job, found: Walk, snapshot_id: str, warnings: int
) -> tuple[Head, bytearray]:
    """The head and the manifest, the archive's last members."""
    manifest, entries = bytearray(), 0
    for _, text in manifest_lines(found.folders):
        manifest += text
        entries += 1
    files = [record for _, records in found.folders.values() for record in records.values() if record[2]]
    keys = repository.keys
    head = Head(
        id=snapshot_id,
        repository=repository.id,
        agent=keys.scid,
        host=keys.host,
        tier=COLD,
        sequence=state.next_sequence,
        parent=state.anchor.cold[-1] if state.anchor.cold else "",
        time_ns=job.now_ns,
        epoch=keys.sealing[COLD][0],
        identity_version=keys.identity_version,
        root=blake3(manifest).digest(),
        entries=entries,
        files=len(files),
        size_bytes=sum(map(size_of, files)),
        left_out=found.left_out,
        warnings=warnings,
    )
    return head, manifest
