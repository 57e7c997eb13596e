"""Whatever a device was doing to one file when it died, nothing is lost and it is in no conflict with itself.

Method: a search through every order of a few steps: somebody edits or deletes the file, or another version that
stands beside it; the device records; arranges; loses its index; dies instead of the first, second, third … call
that changes its disk. States that differ in names and numbers only are visited once. After each state, two devices
exchange all events: both come to the same files, and every word that nobody took away on purpose stands there.
Controls: each of the two guards is removed, and the search finds what it is for.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from devices import START_NS
from nodes import AGENT, WORD, Died, Disk, Node
from tallies import tally

from antsmem.memory.digest import state_digest
from antsmem.memory.index import Index
from antsmem.memory.recording import Recorder

Step = tuple[str, int]
STEPS: tuple[Step, ...] = (
    *(("edit", 0), ("delete", 0), ("edit beside", 0), ("delete beside", 0)),
    *(("record", 0), ("arrange", 0), ("lose the index", 0)),
)
CONFLICT: tuple[Step, ...] = (("edit", 0), ("record", 0), ("another device edits", 0))


class World:
    """One file on a device in `place`, and on another one that gives and takes events."""

    serial = itertools.count()
    contents: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, top: Path, path: str, ahead_seconds: int) -> None:
        self.top, self.path, self.ahead_seconds = top, path, ahead_seconds
        self.place = top / str(next(self.serial))
        self.place.mkdir()
        self.now_ns, self.words, self.gone = START_NS, 0, set[bytes]()

    def __enter__(self) -> Self:
        self.here, self.there = (Node(AGENT, host, self.place / host) for host in ("laptop", "desktop"))
        self.here.now_ns, self.there.now_ns = self.now_ns, self.now_ns + self.ahead_seconds * 10**9
        self.here.start()
        self.there.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.now_ns = self.here.now_ns
        self.here.open.close()
        self.there.open.close()

    def copy(self) -> World:
        made = World(self.top, self.path, self.ahead_seconds)
        shutil.copytree(self.place, made.place, dirs_exist_ok=True)
        made.now_ns, made.words, made.gone = self.now_ns, self.words, set(self.gone)
        return made

    def take(self, step: Step) -> bool:
        """Whether the step could be taken."""
        name, number = step
        if name == "dies":
            return self.dies(number)
        if name == "record":
            self.here.record()
        elif name == "arrange":
            self.here.arrange()
        elif name == "lose the index":
            self.here.open.close()
            shutil.rmtree(self.here.root / ".antsmem/cache")
            self.here.start()
        elif name == "another device edits":
            self.edit(self.there, self.path, delete=False)
            self.there.record()
            self.here.take(self.there.lines())
        else:
            beside = [file for file in self.here.files() if ".conflict" in file or ".proposal" in file]
            paths = beside if name.endswith("beside") else [self.path]
            return bool(paths) and self.edit(self.here, paths[0], delete=name.startswith("delete"))
        return True

    def edit(self, node: Node, path: str, *, delete: bool) -> bool:
        before = node.files().get(path, b"")
        after = b""
        if delete:
            if not before:
                return False
            node.remove(path)
        else:
            self.words += 1
            after = b"- w%dw\n" % self.words
            after = before + after if path.endswith("MEMORY.md") else after
            node.write(path, after)
        self.gone |= set(WORD.findall(before)) - set(WORD.findall(after))
        return True

    def dies(self, call: int) -> bool:
        try:
            with Disk(call).failing():
                self.here.record()
                self.here.arrange()
        except Died:
            self.here.open.close()
            self.here.start()
            return True
        return False

    def state(self) -> str:
        """What counts of it, with every word and every event named by its place."""
        nodes = self.here, self.there
        files = [{name: data.decode() for name, data in node.files().items()} for node in nodes]
        for text in itertools.chain(*(side.values() for side in files)):
            self.contents[hashlib.sha256(text.encode()).hexdigest()] = text
        rows = [[rows_of(node, table) for table in ("revisions", "known", "dirty")] for node in nodes]
        recording = [bool(row[1]) for row in rows_of(self.here, "meta") if row[0].startswith("recording/")]
        state = json.dumps([rows, recording, files])
        state = re.sub(r"[0-9a-f]{64}", lambda found: self.contents.get(found[0], found[0]), state)
        ids = sorted(set(re.findall(r"[0-9A-Z]{26}", state)))
        for place, each in enumerate(ids):
            state = state.replace(each, f"<{place}>").replace(each[-10:], f"<{place}>")
        words = dict.fromkeys(re.findall(r"w[0-9]+w", state))
        for place, word in enumerate(words):
            state = state.replace(word, f"<{'gone' if word.encode() in self.gone else 'word'} {place}>")
        return state

    def settle(self) -> dict[str, bytes]:
        """What stands on both devices once they know all events; nothing may be lost on the way."""
        nodes = self.here, self.there
        for _ in range(3):
            for node in nodes:
                node.record()
                node.arrange()
            lines = [line for node in nodes for line in node.lines()]
            for node in nodes:
                node.take(lines)
                node.arrange()
        files = self.here.files()
        assert files == self.there.files(), "the workspaces differ"
        assert state_digest(self.here.open.index) == state_digest(self.there.open.index)
        assert not self.here.open.index.dirty() and not self.there.open.index.dirty()
        written = {b"w%dw" % number for number in range(1, self.words + 1)}
        lost = written - self.gone - set(WORD.findall(b"\n".join(files.values())))
        assert not lost, f"lost: {sorted(lost)}"
        return files


def rows_of(node: Node, table: str) -> list[list[Any]]:
    """What a table of the index says, but for what is another at each turn."""
    columns = {
        "revisions": "path, sha256, id, bases FROM revisions ORDER BY id",
        "known": "path, sha256, heads, origin FROM known",
        "dirty": "path FROM dirty",
        "meta": "name, value FROM meta",
    }
    return [list(row) for row in node.open.index._db.execute(f"SELECT {columns[table]}")]


def visited(
    top: Path, path: str, depth: int, start: tuple[Step, ...] = (), ahead_seconds: int = 1
) -> Iterator[Any]:
    """Every state within `depth` steps of what `start` leads to: its steps, and what it settles to."""
    worlds: list[tuple[tuple[Step, ...], World]] = [((), World(top, path, ahead_seconds))]
    seen: set[str] = set()
    for level in range(len(start) + depth):
        following = []
        for taken, world in worlds:
            for step, after in followed(world, start[level : level + 1]):
                with after:
                    state = after.state()
                if state in seen:
                    shutil.rmtree(after.place)
                    continue
                seen.add(state)
                end = after.copy()
                try:
                    with end:
                        yield (*taken, step), end.settle()
                except AssertionError as error:
                    raise AssertionError(f"{path}: {[*taken, step]}: {error}") from None
                shutil.rmtree(end.place)
                following.append(((*taken, step), after))
            shutil.rmtree(world.place)
        worlds = following


def followed(world: World, only: tuple[Step, ...]) -> Iterator[tuple[Step, World]]:
    """What each step makes of `world`; of deaths as many as there are calls that can be died at."""
    for step in only or itertools.chain(STEPS, (("dies", call) for call in itertools.count(1))):
        after = world.copy()
        with after:
            could = after.take(step)
        if could:
            yield step, after
        elif step[0] == "dies":
            return


@pytest.mark.parametrize(("path", "depth"), [("photo.bin", 5), ("SOUL.md", 5), ("MEMORY.md", 4)])
def test_a_device_alone_is_never_in_conflict_and_loses_nothing(path: str, depth: int, tmp_path: Path) -> None:
    for steps, files in visited(tmp_path, path, depth):
        assert set(files) <= {path}, steps
        tally("deaths")["states"] += 1


@pytest.mark.parametrize(("path", "ahead_seconds"), [("photo.bin", 1800), ("SOUL.md", -1800)])
def test_a_death_while_two_versions_find_their_place_loses_none(
    path: str, ahead_seconds: int, tmp_path: Path
) -> None:
    for _ in visited(tmp_path, path, 2, CONFLICT, ahead_seconds):
        tally("deaths")["states"] += 1


def test_control_without_a_doubt_a_version_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "doubt", lambda *_: None)
    with pytest.raises(AssertionError, match="lost"):
        for _ in visited(tmp_path, "photo.bin", 2, CONFLICT, 1800):
            pass


def test_control_without_its_redo_a_device_is_in_conflict_with_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "_redo", lambda *_: None)
    assert any(len(files) > 1 for _, files in visited(tmp_path, "photo.bin", 5))
