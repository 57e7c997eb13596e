"""Write a tar archive that GNU tar and bsdtar unpack faithfully, and read it back trusting nothing in it.

Headers are ustar (POSIX.1-1988); a pax extended header (POSIX.1-2001) before each member carries the exact
`mtime` and `SCHILY.xattr.*`; names over 100 bytes use GNU `L`/`K` members, because pax allows UTF-8 only. Reading
back asks for names, kinds and sizes only: the manifest at the archive's end says the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from antsmem.core.errors import IntegrityError
from antsmem.core.record import field, record

_BLOCK: Final = 512
_STEP: Final = 1 << 20
_LONGEST_NAME: Final = 64 << 10
END: Final = bytes(2 * _BLOCK)

FILE, HARD_LINK, SYMLINK, FOLDER, FIFO = b"0", b"1", b"2", b"5", b"6"


@record
class Member:
    """What the headers say of one member. `owner` is (uid, gid)."""

    name: bytes
    kind: bytes
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime_ns: int = 0
    size_bytes: int = 0
    link: bytes = b""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def headers(member: Member) -> bytes:
    """The headers of one member; `size_bytes` bytes of content and `padding` follow."""
    records = {b"mtime": _seconds(member.mtime_ns)}
    for attribute, value in member.xattrs.items():
        records[b"SCHILY.xattr." + attribute.encode()] = value
    pax = b"".join([_pax_record(key, value) for key, value in records.items()])
    parts = [_header(Member(b"pax", b"x", size_bytes=len(pax))), pax, padding(len(pax))]
    for flag, text in ((b"K", member.link), (b"L", member.name)):
        if len(text) > 100:
            long = Member(b"././@LongLink", flag, mode=0, size_bytes=len(text) + 1)
            parts += [_header(long), text, b"\0", padding(len(text) + 1)]
    return b"".join([*parts, _header(member)])


class Incoming:
    """A member of an archive that is being read: its content can be had once, before the next member."""

    def __init__(self, name: bytes, kind: bytes, size_bytes: int, read: Callable[[int], bytes]) -> None:
        self.name = name
        self.kind = kind
        self.size_bytes = size_bytes
        self._read = read
        self._left = size_bytes

    def content(self) -> Iterator[bytes]:
        """Its bytes, in pieces of at most 1 MiB."""
        while self._left:
            data = self._read(min(self._left, _STEP))
            if not data:
                raise IntegrityError("a tar archive ends inside a member")
            self._left -= len(data)
            yield data


def read_members(read: Callable[[int], bytes]) -> Iterator[Incoming]:
    """The members of the archive that `read(at most so many bytes)` gives, up to its end mark. Memory stays
    bounded whatever the headers claim; `IntegrityError` where they are not what `headers` writes."""
    long_name = b""
    while True:
        header = b"".join(Incoming(b"", b"", _BLOCK, read).content())
        if not header.strip(b"\0"):
            return
        member = _incoming(header, long_name, read)
        if member.kind == b"L":
            if member.size_bytes > _LONGEST_NAME:
                raise IntegrityError("a tar archive holds a name of more than 64 KiB")
            long_name = b"".join(member.content()).rstrip(b"\0")
        elif member.kind not in {b"x", b"K"}:
            yield member
            long_name = b""
        for _ in member.content():
            pass
        for _ in Incoming(b"", b"", -member.size_bytes % _BLOCK, read).content():
            pass


def _incoming(header: bytes, long_name: bytes, read: Callable[[int], bytes]) -> Incoming:
    try:
        sound = int(header[148:154], 8) == sum(header[:148]) + sum(header[156:]) + 8 * 32
        wide = header[124:125] == b"\x80"
        size = int.from_bytes(header[125:136], "big") if wide else int(header[124:135], 8)
    except ValueError:
        sound, size = False, 0
    if not sound or size < 0:
        raise IntegrityError("a tar archive holds a malformed header")
    return Incoming(long_name or header[:100].rstrip(b"\0"), header[156:157], size, read)


def padding(size_bytes: int) -> bytes:
    """The zeros that fill the last block of a content of `size_bytes`."""
    return bytes(-size_bytes % _BLOCK)


def _header(member: Member) -> bytes:
    uid, gid = member.owner
    head = member.name[:100].ljust(100, b"\0") + b"%07o\0" % member.mode + _number(uid, 8) + _number(gid, 8)
    head += _number(member.size_bytes, 12) + _number(max(member.mtime_ns // 1_000_000_000, 0), 12)
    tail = (
        member.kind
        + member.link[:100].ljust(100, b"\0")
        + b"ustar\00000"
        + bytes(64)
        + b"%07o\0" % 0
        + b"%07o\0" % 0
    )
    tail = tail.ljust(_BLOCK - len(head) - 8, b"\0")
    return head + b"%06o\0 " % sum(head + b" " * 8 + tail) + tail


def _number(value: int, width: int) -> bytes:
    """Octal where it fits, else GNU's base-256."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def _seconds(mtime_ns: int) -> bytes:
    sign = b"-" if mtime_ns < 0 else b""
    return sign + b"%d.%09d" % divmod(abs(mtime_ns), 1_000_000_000)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`<length> key=value\\n`, where the length counts itself."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
