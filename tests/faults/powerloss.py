"""What a disk may hold after the power went: a model of a file system, fed with the system calls of a run.

Bytes of a file are safe once the file was fsynced, a name once its directory was; all else may be there or not.
A rename is safe as a whole when either of its directories is. The model gives, for each moment of the run, the
worst states that this allows:

* `least`: nothing but what is safe;
* `names`: every name, but of the bytes only what is safe: a file that was renamed before its fsync is empty;
* `mixed`: of each directory's unsafe changes some first ones, of each file old or new bytes, as a seed decides.
"""

from __future__ import annotations

import os
import random
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_UNMODELLED = {"chown", "fchown", "fchownat", "flock", "lchown"}
MODES = ("least", "names", "mixed")

_TOKEN = re.compile(r'(?P<fd>AT_FDCWD|\d+)<(?P<place>(?:\\x[0-9a-f]{2})*)>|"(?P<text>(?:\\x[0-9a-f]{2})*)"')
_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?")
_TIMES = re.compile(r"tv_sec=(\d+), tv_nsec=(\d+)")


@dataclass(eq=False)
class Node:
    """A file, a link or a directory. `safe` is what of it survives."""

    kind: str
    mode: int = 0o600
    time_ns: int = 0
    data: bytes = b""
    entries: dict[str, Node] = field(default_factory=dict)
    safe: tuple[bytes, int, int] | None = None

    def keep(self) -> None:
        self.safe = (self.data, self.mode, self.time_ns)


@dataclass(eq=False)
class Change:
    """What one call did to names: in each directory, a name and what it stands for now."""

    edits: list[tuple[Node, str, Node | None]]
    safe: bool = False


@dataclass
class Event:
    """A call as strace wrote it with `-y -xx`: name, places of descriptors, texts, all arguments, result."""

    name: str
    places: list[str]
    texts: list[bytes]
    line: str
    result: int
    opened: str


def events(lines: Sequence[str]) -> list[Event]:
    """The calls that succeeded, those that another thread interrupted joined again."""
    found: list[Event] = []
    begun: dict[str, str] = {}
    for line in lines:
        pid, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r" *<\.\.\. \w+ resumed>(.*)", rest)
        match = _CALL.fullmatch(begun.pop(pid) + resumed[1] if resumed else line)
        if match is None:
            continue
        places, texts = [], []
        for token in _TOKEN.finditer(match[3]):
            if token["fd"]:
                places.append(_plain(token["place"]).decode())
            else:
                texts.append(_plain(token["text"]))
        found.append(Event(match[2], places, texts, match[3], int(match[4]), _plain(match[5] or "").decode()))
    return found


def _plain(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


class Disk:
    """The file system below `root`: at first as it is in `saved`, all of it safe; then after each event."""

    def __init__(self, root: Path, saved: Path) -> None:
        self.root = str(root)
        self.top = _loaded(saved)
        self.first = {id(node): dict(node.entries) for node in _folders(self.top)}
        self.nodes: dict[int, Node] = {id(node): node for node in _folders(self.top)}
        self.changes: list[Change] = []
        self.offsets: dict[int, int] = {}

    def apply(self, event: Event) -> bool:
        """Let the event happen; whether it changed anything here."""
        handler = getattr(self, f"_{event.name}", None)
        if handler is None:
            assert event.name in _UNMODELLED or self.root not in str(event), f"no model of {event}"
            return False
        return bool(handler(event))

    def after(self, mode: str, rng: random.Random) -> Node:
        """The tree that is found after the power went now, as a copy."""
        kept = self._kept_changes(mode, rng)
        entries = {key: dict(names) for key, names in self.first.items()}
        for change in kept:
            for folder, name, node in change.edits:
                names = entries.setdefault(id(folder), {})
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
        copies: dict[int, Node] = {}

        def copy(node: Node) -> Node:
            if id(node) not in copies:
                state = node.safe or (b"", 0o600, 0)
                if node.kind != "file" or (mode == "mixed" and rng.random() < 0.5):
                    state = (node.data, node.mode, node.time_ns)
                made = copies[id(node)] = Node(node.kind, state[1], state[2], state[0])
                made.entries = {name: copy(child) for name, child in entries.get(id(node), {}).items()}
            return copies[id(node)]

        return copy(self.top)

    def _kept_changes(self, mode: str, rng: random.Random) -> list[Change]:
        if mode == "names":
            return self.changes
        if mode == "least":
            return [change for change in self.changes if change.safe]
        cut: dict[int, int] = {}
        kept = []
        for at, change in enumerate(self.changes):
            folder = id(change.edits[-1][0])
            limit = cut.setdefault(folder, rng.randrange(len(self.changes) + 1))
            if change.safe or at < limit:
                kept.append(change)
        return kept

    def _find(self, path: str) -> tuple[Node, str] | None:
        """The directory that holds `path`, and its last part; None for what lies outside."""
        if not path.startswith(self.root + "/"):
            return None
        *above, name = path[len(self.root) + 1 :].split("/")
        folder = self.top
        for part in above:
            folder = folder.entries[part]
        return folder, name

    def _node(self, path: str) -> Node | None:
        if path == self.root:
            return self.top
        found = self._find(path)
        return found[0].entries.get(found[1]) if found else None

    def _change(self, *edits: tuple[Node, str, Node | None]) -> bool:
        for folder, name, node in edits:
            if node is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = node
        self.changes.append(Change(list(edits)))
        return True

    def _paths(self, event: Event) -> list[str]:
        """The paths that a call names, each relative to its directory or to the top."""
        if event.name.endswith("at"):
            return [
                os.path.normpath(os.path.join(*pair)) for pair in zip(event.places, _names(event), strict=False)
            ]
        return [os.path.normpath(os.path.join("/", name)) for name in _names(event)]

    def _make(self, path: str, node: Node) -> bool:
        found = self._find(path)
        return found is not None and self._change((*found, node))

    def _openat(self, event: Event) -> bool:
        path = event.opened
        self.offsets[event.result] = 0
        if not path.startswith(self.root + "/"):
            return False
        if "O_CREAT" in event.line and self._node(path) is None:
            return self._make(path, Node("file", int(event.line.rsplit(", ", 1)[1], 8) & ~0o077))
        node = self._node(path)
        if node is not None and "O_TRUNC" in event.line:
            node.data = b""
            return True
        return False

    def _write(self, event: Event) -> bool:
        descriptor = int(event.line.partition("<")[0])
        node = self._node(event.places[0])
        if node is None:
            return False
        at = self.offsets[descriptor]
        self.offsets[descriptor] = at + event.result
        return self._put(node, at, b"".join(event.texts)[: event.result])

    def _pwrite64(self, event: Event) -> bool:
        node = self._node(event.places[0])
        return node is not None and self._put(node, int(event.line.rsplit(", ", 1)[1]), event.texts[0])

    @staticmethod
    def _put(node: Node, at: int, data: bytes) -> bool:
        node.data = node.data[:at].ljust(at, b"\0") + data + node.data[at + len(data) :]
        return True

    def _ftruncate(self, event: Event) -> bool:
        node, size = self._node(event.places[0]), int(event.line.rsplit(", ", 1)[1])
        if node is not None:
            node.data = node.data[:size].ljust(size, b"\0")
        return node is not None

    def _fsync(self, event: Event) -> bool:
        node = None if "(deleted)" in event.line else self._node(event.places[0])
        if node is None:
            return False
        node.keep()
        for change in self.changes:
            change.safe = change.safe or any(folder is node for folder, _, _ in change.edits)
        return True

    def _rename(self, event: Event) -> bool:
        old, new = (self._find(path) for path in self._paths(event))
        return old is not None and new is not None and self._change((*old, None), (*new, old[0].entries[old[1]]))

    def _link(self, event: Event) -> bool:
        old, new = (self._find(path) for path in self._paths(event))
        return old is not None and new is not None and self._change((*new, old[0].entries[old[1]]))

    def _unlink(self, event: Event) -> bool:
        found = self._find(self._paths(event)[0])
        return found is not None and self._change((*found, None))

    def _mkdir(self, event: Event) -> bool:
        node = Node("folder", 0o700)
        node.keep()
        return self._make(self._paths(event)[0], node)

    def _symlink(self, event: Event) -> bool:
        return self._make(self._paths(event)[0], Node("link", data=event.texts[0]))

    def _chmod(self, event: Event) -> bool:
        node = self._node(event.places[0] if event.name == "fchmod" else self._paths(event)[0])
        if node is not None:
            node.mode = int(event.line.removesuffix(", 0").rsplit(", ", 1)[1], 8)
        return node is not None

    def _utimensat(self, event: Event) -> bool:
        node = self._node(self._paths(event)[0] if event.texts else event.places[0])
        if node is not None:
            second, nano = _TIMES.findall(event.line)[1]
            node.time_ns = int(second) * 1_000_000_000 + int(nano)
        return node is not None

    _writev = _write
    _fdatasync = _fsync
    _renameat = _renameat2 = _rename
    _linkat, _unlinkat, _rmdir, _mkdirat = _link, _unlink, _unlink, _mkdir
    _symlinkat = _symlink
    _fchmod = _fchmodat = _chmod


def _names(event: Event) -> list[str]:
    """The file names among a call's texts: what a symbolic link holds is none."""
    texts = event.texts[1:] if event.name.startswith("symlink") else event.texts
    return [text.decode() for text in texts]


def _folders(node: Node) -> Iterator[Node]:
    if node.kind == "folder":
        yield node
        for child in node.entries.values():
            yield from _folders(child)


def _loaded(path: Path) -> Node:
    seen: dict[int, Node] = {}

    def load(place: str) -> Node:
        status = os.lstat(place)
        if status.st_ino in seen:
            return seen[status.st_ino]
        node = Node("folder", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        if stat.S_ISLNK(status.st_mode):
            node.kind, node.data = "link", os.fsencode(os.readlink(place))
        elif stat.S_ISREG(status.st_mode):
            node.kind, node.data = "file", Path(place).read_bytes()
        else:
            node.entries = {name: load(os.path.join(place, name)) for name in os.listdir(place)}
        node.keep()
        seen[status.st_ino] = node
        return node

    return load(str(path))


def write_out(node: Node, path: Path) -> None:
    """Make the tree `node` at `path`, which must not exist."""
    made: dict[int, Path] = {}

    def write(node: Node, path: Path) -> None:
        if node.kind == "link":
            path.symlink_to(os.fsdecode(node.data))
        elif node.kind == "file" and id(node) in made:
            os.link(made[id(node)], path)
            return
        elif node.kind == "file":
            path.write_bytes(node.data)
            made[id(node)] = path
        else:
            path.mkdir()
            for name, child in node.entries.items():
                write(child, path / name)
        if node.kind != "link":
            path.chmod(node.mode)
        os.utime(path, ns=(node.time_ns, node.time_ns), follow_symlinks=False)

    write(node, path)
