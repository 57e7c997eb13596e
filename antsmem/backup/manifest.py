"""The manifest: what was in the workspace, as text that `while read` can walk, one line a path.

    kind \t mode \t uid:gid \t mtime_ns \t size \t object \t path [\t attributes] \n

| kind | is | object |
|---|---|---|
| `d` | directory (its line comes before what is in it; the root is `.`) | `-` |
| `f` | file of at most one object | BLAKE3 of its bytes |
| `c` / `C` | file in chunks of 64 KiB / 1 MiB | BLAKE3 of the list of lists of its chunks |
| `l` | symbolic link | where it points |
| `h` | hard link to a path above or below | that path |
| `p` `s` `b` | FIFO, socket, device: recorded, not read | `-` |
| `x` | left out of the backup | why: `secret`, `machine-bound`, `derived`, `unreadable` |

Paths and link targets are bytes; control characters, backslashes and what is not UTF-8 are written as `\\0ooo`,
which `printf %b` undoes. `attributes` is base64 of canonical JSON: `{"sparse": true, "xattr": {name: base64}}`.
The lines are cut by content into segments (objects); the root object lists them as `o/<hex>` lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple
from zlib import crc32

from antsmem.core.errors import IntegrityError, legible

SQLITE_CHUNK: Final = 64 << 10
FILE_CHUNK: Final = 1 << 20
CHUNKED: Final = {b"c": SQLITE_CHUNK, b"C": FILE_CHUNK}
ROOT: Final = b"."
LIST_LENGTH: Final = 256

_ODD = re.compile(rb"[\x00-\x1f\x7f\\]")
_ESCAPE = re.compile(rb"\\0([0-3][0-7]{2})")
_HOLDING = frozenset({b"f", b"c", b"C"})
_POINTING = frozenset({b"l", b"h", b"x"})
_OWNERS: Final[dict[bytes, tuple[int, int]]] = {}  # of very many files few people are the owners
_KINDS = _HOLDING | _POINTING | {b"d", b"p", b"s", b"b"}


class Entry(NamedTuple):  # not a dataclass: a restore makes one a path, and these are made five times faster
    """One line. `link` is the target of `l` and `h` or the reason of `x`; `digest` is 32 bytes or empty."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    size_bytes: int
    digest: bytes
    link: bytes
    path: bytes
    attributes: bytes = b""

    @property
    def is_file(self) -> bool:
        """Whether it has content of its own."""
        return self.kind in _HOLDING


def escape(name: bytes) -> bytes:
    """`name` on one line of UTF-8 without control characters; `unescape` gives it back exactly."""
    if _ODD.search(name) is None and (name.isascii() or _is_utf8(name)):
        return name
    if _is_utf8(name):
        return _ODD.sub(lambda found: b"\\0%03o" % found[0][0], name)
    return _in_ascii(name)


def unescape(text: bytes) -> bytes:
    """The bytes that `escape` was given."""
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 8),)), text) if b"\\" in text else text


def line(entry: Entry) -> bytes:
    """The manifest line of `entry`, with its newline."""
    third = entry.digest.hex().encode() if entry.digest else escape(entry.link) or b"-"
    tail = b"\t" + entry.attributes if entry.attributes else b""
    return b"%b\t%o\t%d:%d\t%d\t%d\t%b\t%b%b\n" % (
        entry.kind, entry.mode, *entry.owner, entry.mtime_ns, entry.size_bytes, third, escape(entry.path), tail,
    )  # fmt: skip


def parse_line(text: bytes) -> Entry:
    """The entry of one line (without newline); `IntegrityError` if it is not one."""
    try:
        kind, mode, owner, mtime, size, third, path, *rest = text.split(b"\t")
        holds = kind in _HOLDING
        entry = Entry._make(  # by position: there are as many as there are files
            (
                kind,
                int(mode, 8) & 0o7777,
                _OWNERS.get(owner) or _owner(owner),
                int(mtime),
                int(size),
                bytes.fromhex(third.decode()) if holds else b"",
                unescape(third) if kind in _POINTING else b"",
                unescape(path),
                rest[0] if rest else b"",
            )
        )
    except ValueError:
        raise IntegrityError("the manifest holds a malformed line") from None
    if kind not in _KINDS or entry.size_bytes < 0 or len(entry.digest) != 32 * holds:
        raise IntegrityError("the manifest holds a malformed line")
    return entry


def _owner(text: bytes) -> tuple[int, int]:
    uid, gid = text.split(b":")
    return _OWNERS.setdefault(text, (int(uid), int(gid)))


def segments(lines_by_name: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Join (name, line) pairs into segments that end where the name says so: an edit changes one segment."""
    held: list[bytes] = []
    for name, text in lines_by_name:
        held.append(text)
        if not crc32(name) & 31:
            yield b"".join(held)
            held = []
    if held:
        yield b"".join(held)


def object_list(digests: Iterable[bytes]) -> bytes:
    """`o/<hex>` lines: how one object names others."""
    return b"".join([b"o/%b\n" % digest.hex().encode() for digest in digests])


def parse_object_list(text: bytes) -> list[bytes]:
    """The digests that `object_list` was given."""
    rows = text.splitlines()
    try:
        digests = [bytes.fromhex(row.removeprefix(b"o/").decode()) for row in rows]
    except ValueError:
        raise IntegrityError("an object list is malformed") from None
    if any(len(row) != 66 for row in rows) or any(len(digest) != 32 for digest in digests):
        raise IntegrityError("an object list is malformed")
    return digests


def read_manifest(
    root: bytes, fetch: Callable[[bytes], bytes], lines: int, paths: Collection[bytes] = ()
) -> list[Entry]:
    """The entries under the root object `root`, which has `lines` lines, checked: see `checked`. `fetch` gives an
    object's bytes. With `paths` (relative, clean) only those at, below and above them, and what they link to."""
    wanted, parts = set(paths), parse_object_list(fetch(root))
    if wanted:
        text = b"".join(map(fetch, parts))
        _require_lines(text.count(b"\n"), lines)
        while True:
            entries = _entries_about(text, wanted)
            links = {entry.link for entry in entries if entry.kind == b"h"} - wanted
            if not links:
                return checked(entries)
            wanted |= links
    count, entries = 0, list[Entry]()
    for digest in parts:  # one at a time: together they are as large as all entries
        text = fetch(digest)
        count += text.count(b"\n")
        entries += map(parse_line, text.splitlines())
    _require_lines(count, lines)
    return checked(entries)


def _require_lines(count: int, lines: int) -> None:
    if count != lines:
        raise IntegrityError("the manifest has another length than its head says")


def _entries_about(text: bytes, paths: Collection[bytes]) -> list[Entry]:
    """The entries of `text` at, below and above `paths`. Their lines are found first: reading one costs more."""
    above = {ROOT}.union(*map(with_folders, paths))
    starts = set()
    for path in above:
        forms = {escape(path), _in_ascii(path)}  # the second if a name below it is not UTF-8
        start = next((at for at in _lines_with(text, forms, (b"\n", b"\t")) if _path_at(text, at) == path), -1)
        starts.add(start)
        if path in paths and (start < 0 or text[start : start + 1] == b"d"):
            starts.update(_lines_with(text, forms, (b"/",)))
    starts.discard(-1)
    below = tuple(path + b"/" for path in paths)
    found = [parse_line(text[start : text.index(b"\n", start)]) for start in sorted(starts)]
    return [entry for entry in found if entry.path in above or entry.path.startswith(below)]


def _lines_with(text: bytes, forms: Collection[bytes], ends: Collection[bytes]) -> Iterator[int]:
    """Where the lines begin in which a field begins with one of `forms` and one of `ends`, by `ends` in order."""
    for end in ends:
        for form in forms:
            at = text.find(needle := b"\t" + form + end)
            while at >= 0:
                yield text.rfind(b"\n", 0, at) + 1
                at = text.find(needle, at + 1)


def _path_at(text: bytes, start: int) -> bytes:
    return parse_line(text[start : text.index(b"\n", start)]).path


def with_folders(path: bytes) -> list[bytes]:
    """`path` and the directories it is in, topmost first (without the root)."""
    parts = path.split(b"/")
    return [b"/".join(parts[: count + 1]) for count in range(len(parts))]


def checked(listed: list[Entry]) -> list[Entry]:
    """The entries, if restoring them can only touch what is below the target: every path is relative, has no
    `.` or `..`, stands once, and its parent is a directory of this manifest. Else `IntegrityError`."""
    kinds = {entry.path: entry.kind for entry in listed}
    if len(kinds) != len(listed) or kinds.get(ROOT) != b"d":
        raise IntegrityError("the manifest names a path twice or has no root")
    for entry in listed:
        path = entry.path
        if path == ROOT:
            continue
        parent, slash, name = path.rpartition(b"/")
        if name in {b"", b".", b".."} or b"\0" in path or kinds.get(parent or ROOT) != b"d":
            raise IntegrityError(f"the manifest names `{shown(path)}`, which lies outside of it")
        if slash and parent in {b"", ROOT}:  # `/x` and `./x` would be second names of `x`
            raise IntegrityError(f"the manifest names `{shown(path)}`, which lies outside of it")
        if b"\0" in entry.link:
            raise IntegrityError(f"the manifest links `{shown(path)}` to what no file system can name")
        if entry.kind == b"h" and kinds.get(entry.link) not in CHUNKED and kinds.get(entry.link) != b"f":
            raise IntegrityError(f"the manifest links `{shown(path)}` to what is not a file")
    return listed


def shown(path: bytes) -> str:
    """A path for people: one line, whatever its bytes."""
    return legible(escape(path).decode())


def word(path: bytes) -> str:
    """A path as a word that a shell reads back, whatever its bytes."""
    import shlex

    text = shown(path)
    if "\\" not in text:
        return shlex.quote(text)
    return "$'" + "".join(chr(c) if 32 <= c < 127 and c not in b"'\\" else f"\\{c:03o}" for c in path) + "'"


def _in_ascii(name: bytes) -> bytes:
    return b"".join(b"\\0%03o" % c if c < 32 or c > 126 or c == 92 else bytes((c,)) for c in name)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
