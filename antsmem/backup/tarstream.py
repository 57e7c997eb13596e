"""Write a tar archive that GNU tar and bsdtar unpack faithfully: raw names, nanosecond times, large sizes.

Headers are ustar (POSIX.1-1988); a pax extended header (POSIX.1-2001) before each member carries the exact
`mtime` and `SCHILY.xattr.*`; names over 100 bytes use GNU `L`/`K` members, because pax allows UTF-8 only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_BLOCK: Final = 512
_OCTAL_11: Final = 8**11
END: Final = bytes(2 * _BLOCK)

FILE, HARD_LINK, SYMLINK, FOLDER, FIFO = b"0", b"1", b"2", b"5", b"6"


@dataclass(frozen=True, slots=True)
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
