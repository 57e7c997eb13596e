"""The intake of the hot tier: files become objects in packs, those that the repository has are left out."""

from __future__ import annotations

import os
from typing import Final

from blake3 import blake3

from antsmem.backup.intake import Intake, is_sparse
from antsmem.backup.manifest import CHUNKED, LIST_LENGTH, object_list
from antsmem.backup.pack import OBJECT_BYTES
from antsmem.backup.packer import Kind, Packer
from antsmem.backup.sqlite import MAGIC
from antsmem.core.disk import Buffer
from antsmem.identity.scanner import Scanner
from antsmem.identity.waivers import Waivers

PENDING: Final = -1
TEXT: Final = (
    b".md",
    b".json",
    b".jsonl",
    b".txt",
    b".py",
    b".yaml",
    b".yml",
    b".toml",
    b".csv",
    b".html",
    b".js",
)


class ObjectIntake(Intake):
    """Fills `packer` with what is not in `have`, digest → number of its pack, and enters it there as `PENDING`."""

    def __init__(
        self, root: bytes, scanner: Scanner, waivers: Waivers, now_ns: int, have: dict[bytes, int], packer: Packer
    ) -> None:
        super().__init__(root, scanner, waivers, now_ns)
        self.have = have
        self.packer = packer

    def put(self, kind: Kind, data: bytes, path: bytes) -> bytes:
        """Store `data`, made for `path`, as an object unless it is there; returns its digest."""
        self.inspect(memoryview(data), path)
        digest = blake3(data).digest()
        self._add(kind, digest, data)
        return digest

    def content(self, fd: int, status: os.stat_result, relative: bytes) -> tuple[bytes, int, bytes]:
        """See `Intake.content`."""
        if status.st_size < OBJECT_BYTES and not is_sparse(status):
            return self._small(fd, status.st_size, relative)
        return self._large(fd, status, relative)

    def _small(self, fd: int, size: int, relative: bytes) -> tuple[bytes, int, bytes]:
        kind = Kind.TEXT if relative.endswith(TEXT) else Kind.DATA
        draft = self.packer.draft(kind)
        room = draft.room(size + 1)
        count = os.preadv(fd, [room], 0)
        view = room[:count]
        digest = blake3(view).digest()
        self.inspect(view, relative)  # also what is stored already: the rules or a waiver may have changed since
        if digest not in self.have and not self.tally.leaks:
            self.have[digest] = PENDING
            draft.add(digest, count)
            self.packer.added(kind)
        return b"f", count, digest

    def _large(self, fd: int, status: os.stat_result, relative: bytes) -> tuple[bytes, int, bytes]:
        kind = b"c" if os.pread(fd, len(MAGIC), 0) == MAGIC else b"C"
        chunk = CHUNKED[kind]
        digests: list[bytes] = []
        size = 0
        zeros = blake3(bytes(chunk)).digest()
        for start, window in self.windows(fd, chunk, is_sparse(status), relative):
            hole = (start - size) // chunk
            if hole:
                self._add(Kind.DATA, zeros, bytes(chunk))
                digests += [zeros] * hole
            for at in range(0, len(window), chunk):
                piece = window[at : at + chunk]
                digest = blake3(piece).digest()
                digests.append(digest)
                self._add(Kind.DATA, digest, piece)
            size = start + len(window)
        lists = [
            self.put(Kind.META, object_list(digests[at : at + LIST_LENGTH]), relative)
            for at in range(0, len(digests), LIST_LENGTH)
        ]
        top = self.put(Kind.META, object_list(lists), relative)
        return kind, size, b"".join([top, *dict.fromkeys(lists), *dict.fromkeys(digests)])

    def _add(self, kind: Kind, digest: bytes, data: Buffer) -> None:
        """Pack an object that is new. Once a leak was found, nothing is packed any more, only looked at."""
        if digest not in self.have and not self.tally.leaks:
            self.have[digest] = PENDING
            self.packer.put(kind, digest, data)
