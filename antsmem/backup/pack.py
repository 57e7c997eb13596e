"""Packs: many objects in one sealed file, readable with the stock `age`, `zstd` and `tar`.

    packs/<sha256 of the file>.age = age( zstd(tar: TOC) ‖ zstd(tar: o/<blake3 hex> …) )

An object is named by the BLAKE3 of its bytes. `TOC` lists `<blake3 hex> <size>` a line, so that a reader who
looks for one object decrypts the first 64 KiB only. Both tar parts are plain ustar with constant metadata.
"""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Final

from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.core.age import Identity, Recipient

BLOCK: Final = 512
PACK_BYTES: Final = 6 << 20
OBJECT_BYTES: Final = 1 << 20
MAX_PACK_BYTES: Final = 64 << 20
"""What a reader accepts, sealed or not: far more than a writer makes."""

_ZEROS: Final = bytes(BLOCK)
_TAIL: Final = _ZEROS[:100] + b"ustar\00000" + _ZEROS[:247]
_SMALL: Final = 4 << 20
_STEP: Final = 1 << 10
_TOC_BYTES: Final = 16 << 20
_HEADER: Final = b"%b%b0000644\x000000000\x000000000\x00%b\x0000000000000\x00%06o\x00 0%b"
_CONSTANT_SUM: Final = sum(_HEADER % (b"", b"", b"", 0, _TAIL)) - sum(b"000000\x00 ") + sum(b" " * 8)


@record
class SealedPack:
    """A pack ready to be stored: its name, its bytes in parts, and the digests of what it holds."""

    name: str
    parts: list[bytes]
    size_bytes: int
    digests: list[bytes]


def tar_header(name: bytes, size_bytes: int) -> bytes:
    """The 512-byte ustar header of a regular file `name` (at most 100 bytes) of `size_bytes` (POSIX.1-1988)."""
    size = b"%011o" % size_bytes
    checksum = _CONSTANT_SUM + sum(name) + sum(size)  # of the parts that differ: a header is made for each object
    return _HEADER % (name, _ZEROS[: 100 - len(name)], size, checksum, _TAIL)


class Draft:
    """A pack being filled: one reusable buffer that objects are read straight into.

    `room(n)` gives the place where up to `n` bytes may be written; `add` turns what stands there into an
    object; without `add` the next `room` gives the same place again.
    """

    def __init__(self) -> None:
        self.buffer = mmap.mmap(-1, PACK_BYTES + OBJECT_BYTES + (64 << 10))  # pages cost nothing until written
        self.view = memoryview(self.buffer)
        self.end = 0
        self.contents: list[tuple[bytes, int]] = []

    @property
    def full(self) -> bool:
        """Whether it is time to seal: the next object might not fit."""
        return self.end >= PACK_BYTES

    def room(self, size_bytes: int) -> memoryview:
        """Where the next object's bytes go."""
        start = self.end + BLOCK
        return self.view[start : start + size_bytes]

    def add(self, digest: bytes, size_bytes: int) -> None:
        """The `size_bytes` bytes in `room` are the object `digest`."""
        start, buffer = self.end, self.buffer
        buffer[start : start + BLOCK] = tar_header(b"o/" + digest.hex().encode(), size_bytes)
        end = start + BLOCK + size_bytes
        padding = -size_bytes % BLOCK
        buffer[end : end + padding] = _ZEROS[:padding]
        self.end = end + padding
        self.contents.append((digest, size_bytes))

    def take(self, digest: bytes, data: Buffer) -> None:
        """Copy `data` in as the object `digest`."""
        size = len(data)
        self.room(size)[:] = data
        self.add(digest, size)

    def absorb(self, other: Draft) -> None:
        """Take over all objects of `other`, a small one."""
        self.view[self.end : self.end + other.end] = other.view[: other.end]
        self.end += other.end
        self.contents += other.contents

    def clear(self) -> None:
        """Empty, for reuse."""
        self.end = 0
        self.contents = []


def seal_pack(draft: Draft, level: int, recipients: Sequence[Recipient]) -> SealedPack:
    """Compress and seal what `draft` holds. `level` is zstd's; packs under 4 MiB get at least 6."""
    import hashlib

    from antsmem.core import age

    toc = b"".join([b"%b %d\n" % (digest.hex().encode(), size) for digest, size in draft.contents])
    table = tar_header(b"TOC", len(toc)) + toc + _ZEROS[: -len(toc) % BLOCK]
    draft.buffer[draft.end : draft.end + 2 * BLOCK] = bytes(2 * BLOCK)
    body = draft.view[: draft.end + 2 * BLOCK]
    if draft.end <= _SMALL:
        level = max(level, 6)
    parts = list(age.seal_stream(chain([compress(table, 3)], _compressed(body, level)), recipients))
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return SealedPack(sha256.hexdigest(), parts, sum(map(len, parts)), [digest for digest, _ in draft.contents])


def compress(data: Buffer, level: int) -> bytes:
    """One zstd frame with size and checksum."""
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def _compressed(data: memoryview, level: int) -> Iterator[bytes]:
    """What `compress` gives, piece by piece: a whole second pack in memory, for each thread, is too much."""
    import zstandard

    frame = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj(size=len(data))
    for at in range(0, len(data), OBJECT_BYTES):
        yield frame.compress(data[at : at + OBJECT_BYTES])
    yield frame.flush()


def decompress(data: Buffer, limit: int = MAX_PACK_BYTES) -> bytes:
    """The content of one whole zstd frame of at most `limit` bytes; anything else is an `IntegrityError`."""
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= limit:
            raise IntegrityError(f"a compressed part claims {size} bytes: more than the format allows")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise IntegrityError("a compressed part is damaged") from error


def read_toc(chunks: Iterable[Buffer], identities: Sequence[Identity], name: str) -> list[tuple[bytes, int]]:
    """(digest, size) of the objects in the pack whose first bytes are `chunks`; reads no further than needed."""

    from antsmem.core import age

    return _parse_toc(_first_frame(age.unseal_stream(chunks, identities), name)[0], name)


def open_pack(sealed: Buffer, identities: Sequence[Identity], name: str) -> Iterator[tuple[bytes, memoryview]]:
    """Each object of a pack as (digest it is filed under, its bytes). The caller checks the digest.

    Raises `IntegrityError` where the file is not a pack, `CannotUnlockError` where no identity opens it.
    """
    from antsmem.core import age

    _, rest = _first_frame([age.unseal(sealed, identities)], name)
    del sealed  # packs are large, and several are opened at once
    return tar_members(decompress(rest), name)


def open_pack_for(
    wanted: Container[bytes], chunks: Iterable[Buffer], identities: Sequence[Identity], name: str
) -> Iterator[tuple[bytes, memoryview]]:
    """As `open_pack` of the joined `chunks`, which are read, opened and decompressed only up to the last object
    that is `wanted`."""
    from antsmem.core import age

    plain = age.unseal_stream(chunks, identities)
    table, rest = _first_frame(plain, name)
    end = at = 0
    for digest, size in _parse_toc(table, name):
        at += BLOCK + size + -size % BLOCK
        if digest in wanted:
            end = at
    tar = bytearray()
    for piece in _decompressed(chain([rest], plain)):
        tar += piece
        if len(tar) >= end:
            break
    return tar_members(memoryview(tar)[:end], name)


def open_damaged_pack(
    sealed: Buffer, identities: Sequence[Identity], name: str
) -> Iterator[tuple[bytes, memoryview]]:
    """Like `open_pack` for a file that was changed or cut: the objects that stand before the damage, then the
    `IntegrityError`."""
    from antsmem.core import age

    plain, tar = bytearray(), bytearray()
    with suppress(IntegrityError):
        for piece in age.unseal_stream([sealed], identities):
            plain += piece
    _, rest = _first_frame([plain], name)
    with suppress(IntegrityError):
        for piece in _decompressed([rest]):
            tar += piece
    yield from tar_members(tar, name)


def _first_frame(pieces: Iterable[Buffer], name: str) -> tuple[bytearray, memoryview]:
    """What the first zstd frame of `pieces` holds, and what stands behind it in the piece where it ends."""
    frame, text = _Frame(), bytearray()
    for piece in pieces:
        view = memoryview(piece)
        for part in frame.decompressed(view):
            text += part
            if len(text) > _TOC_BYTES:
                raise IntegrityError(f"the table of contents of pack `{name}` is larger than any pack's")
        if frame.ended:
            return text, view[frame.ended :]
    raise IntegrityError(f"pack `{name}` ends inside its table of contents")


def _decompressed(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    """What the zstd frame in the joined `pieces` holds, as far as they go: at most what a pack may."""
    frame, size = _Frame(), 0
    for piece in pieces:
        for part in frame.decompressed(memoryview(piece)):
            size += len(part)
            if size > MAX_PACK_BYTES:
                raise IntegrityError("a compressed part holds more than the format allows")
            yield part
        if frame.ended:
            return


class _Frame:
    """A zstd frame, decompressed in small steps, because zstd can make 32 KiB of a byte and anybody who knows a
    recipient can write a pack. `ended`: where behind its end the piece goes on, 0 before."""

    def __init__(self) -> None:
        import zstandard

        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._damage = zstandard.ZstdError
        self.ended = 0

    def decompressed(self, view: memoryview) -> Iterator[bytes]:
        """What the next piece of the frame holds. `IntegrityError` where it is damaged."""
        for at in range(0, len(view), _STEP):
            try:
                yield self._frame.decompress(view[at : at + _STEP])
            except self._damage as error:
                raise IntegrityError("a compressed part is damaged") from error
            if self._frame.eof:
                self.ended = min(at + _STEP, len(view)) - len(self._frame.unused_data)
                return


def tar_members(tar: Buffer, name: str) -> Iterator[tuple[bytes, memoryview]]:
    """The objects in the second part of pack `name`."""
    view, at, end = memoryview(tar), 0, len(tar)
    while at + BLOCK <= end and view[at]:
        header = bytes(view[at : at + 136])
        try:
            digest, size = bytes.fromhex(header[2:66].decode()), int(header[124:135], 8)
        except ValueError:
            raise IntegrityError(f"pack `{name}` holds a malformed object header") from None
        stop = at + BLOCK + size
        if header[:2] != b"o/" or size < 0 or stop > end:
            raise IntegrityError(f"pack `{name}` holds a malformed object header")
        yield digest, view[at + BLOCK : stop]
        at = stop + -size % BLOCK


def _parse_toc(text: bytearray, name: str) -> list[tuple[bytes, int]]:
    try:
        size = int(bytes(text[124:135]), 8)
        rows = [line.split(b" ") for line in bytes(text[BLOCK : BLOCK + size]).splitlines()]
        toc = [(bytes.fromhex(digest.decode()), int(length)) for digest, length in rows]
    except ValueError:
        raise IntegrityError(f"the table of contents of pack `{name}` is malformed") from None
    if any(len(digest) != 32 for digest, _ in toc):
        raise IntegrityError(f"the table of contents of pack `{name}` is malformed")
    return toc
