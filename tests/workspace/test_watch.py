"""Goal: no version that stands is lost, whatever writes it, and whenever the watch is killed.

Method: the watch runs in the test and calls back after each pass, where the next version is written; or in a
process of its own, which is killed.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from histories import held, note, put, tree_at

from antsmem.core.errors import AntsmemError, DiskError, LockedError
from antsmem.workspace import watch as watching
from antsmem.workspace.alarms import Guarded, read_alarms
from antsmem.workspace.history import Tree
from antsmem.workspace.versions import undo, versions_of
from antsmem.workspace.watch import Pace, Voice, watch

QUICK = Pace(debounce_seconds=0.01, settle_seconds=0.05, poll_seconds=0.02)
TEXT = b"".join(b"- fact %d about thing %d, which must not be forgotten\n" % (n, n * 7) for n in range(60))


class Done(BaseException):
    """Ends a watch."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.3)
    (tmp_path / "agent" / "memory").mkdir(parents=True)
    return tree_at(tmp_path)


class Ear:
    """What a watch told."""

    def __init__(self) -> None:
        self.found: list[Guarded] = []
        self.troubles: list[str] = []
        self.remarks: list[str] = []

    def voice(self, idle: Callable[[], None]) -> Voice:
        return Voice(self.found.append, lambda error: self.troubles.append(str(error)), self.remarks.append, idle)


def follow(tree: Tree, steps: Iterator[None], pace: Pace = QUICK, ear: Ear | None = None) -> Ear:
    """Watch, and go one of `steps` after each pass, until there is none left."""
    ear = ear or Ear()

    def idle() -> None:
        try:
            next(steps)
        except StopIteration:
            raise Done from None

    with pytest.raises(Done):
        watch(tree, tree.store.path.parent / "state", ear.voice(idle), pace)
    return ear


def until(holds: Callable[[], bool]) -> Iterator[None]:
    """Further passes until `holds`; a watch that never gets there fails the test."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        yield


def newest(tree: Tree, name: bytes) -> bytes:
    found = versions_of(tree.store, name, 1) if tree.store.exists() and tree.store.head() else []
    return tree.store.blob(found[0].blob) if found and found[0].blob else b""


def test_every_version_that_stands_is_recorded(tree: Tree) -> None:
    def steps() -> Iterator[None]:
        for number in range(8):
            data = b"version %d" % number
            put(tree, "USER.md", data)
            yield from until(lambda data=data: newest(tree, b"USER.md") == data)  # type: ignore[misc]

    follow(tree, steps())
    assert held(tree, b"USER.md") == [b"version %d" % number for number in range(7, -1, -1)]


def test_ten_thousand_rapid_edits_end_in_the_last_version(tree: Tree) -> None:
    path = put(tree, "memory/2026-11-20.md", b"# today\n")

    def steps() -> Iterator[None]:
        for number in range(10_000):
            with path.open("ab") as file:
                file.write(b"- line %d\n" % number)
            if number % 2000 == 0:
                yield
        yield from until(lambda: newest(tree, b"memory/2026-11-20.md") == path.read_bytes())

    ear = follow(tree, steps())
    assert not any(found.raised for found in ear.found) and ear.troubles == []


def test_editors_that_save_by_renaming_raise_no_alarm(tree: Tree) -> None:
    path = put(tree, "memory/2026-11-20.md", TEXT)

    def steps() -> Iterator[None]:
        yield
        for number in range(6):
            text = TEXT + b"- saved %d\n" % number
            if number % 2:  # vim: the old file is moved away, and goes
                path.rename(f"{path}~")
                path.write_bytes(text)
                Path(f"{path}~").unlink()
            else:
                put(tree, "memory/.2026-11-20.md.tmp", text).rename(path)
            yield from until(lambda text=text: newest(tree, b"memory/2026-11-20.md") == text)  # type: ignore[misc]

    ear = follow(tree, steps())
    assert not any(found.raised for found in ear.found)


def test_a_loss_is_told_when_the_file_is_still_and_undone_exactly(tree: Tree) -> None:
    path = put(tree, "MEMORY.md", TEXT)
    state = tree.store.path.parent / "state"

    def steps() -> Iterator[None]:
        yield
        path.write_bytes(TEXT[:500])
        yield from until(lambda: bool(read_alarms(state)))
        undo(tree, b"MEMORY.md", "", time.time_ns(), read_alarms(state)[0].blob)
        yield from until(lambda: not read_alarms(state))

    ear = follow(tree, steps())
    assert path.read_bytes() == TEXT
    assert [alarm.damage.loss for found in ear.found for alarm in found.raised] == ["shrunk"]
    assert [path for found in ear.found for path in found.settled] == [b"MEMORY.md"]


def limit(error: int) -> Callable[..., None]:
    def schedule(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    return schedule


@pytest.mark.parametrize("why", ["watches", "instances", "library"])
def test_without_notifications_it_polls_and_says_so(tree: Tree, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "library":
        monkeypatch.setitem(sys.modules, "watchdog.events", None)
    else:
        code = errno.ENOSPC if why == "watches" else errno.EMFILE
        monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", limit(code))

    def steps() -> Iterator[None]:
        for data in (b"one", b"two"):
            put(tree, "USER.md", data)
            yield from until(lambda data=data: newest(tree, b"USER.md") == data)  # type: ignore[misc]

    ear = follow(tree, steps())
    assert len(ear.remarks) == 1 and "twice a second" in ear.remarks[0]


def test_another_directory_in_the_place_of_the_watched_one_is_looked_at(tree: Tree) -> None:
    def steps() -> Iterator[None]:
        yield
        tree.root.rename(tree.root.with_name("aside"))
        tree.root.mkdir()
        put(tree, "USER.md", b"there")
        yield
        yield from until(lambda: newest(tree, b"USER.md") == b"there")

    assert follow(tree, steps()).remarks == ["notifications ended: looking twice a second"]


def test_a_new_directory_that_gets_no_notifications_is_polled(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps() -> Iterator[None]:
        yield
        monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", limit(errno.ENOSPC))
        put(tree, "memory/USER.md", b"no new directory")
        yield from until(lambda: newest(tree, b"memory/USER.md") != b"")
        assert not ear.remarks
        (tree.root / "new").mkdir()
        yield from until(lambda: len(ear.remarks) == 1)

    ear = Ear()
    follow(tree, steps(), ear=ear)
    assert "no space left" in ear.remarks[0] and "twice a second" in ear.remarks[0]


def test_a_second_watch_is_refused(tree: Tree) -> None:
    def steps() -> Iterator[None]:
        with pytest.raises(LockedError, match="another watch"):
            watch(tree, tree.store.path.parent / "state", Ear().voice(lambda: None), QUICK)
        yield

    follow(tree, steps())


def test_a_trouble_is_told_once_and_survived(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = watching.guard_workspace, []

    def failing(*words: object, **more: object) -> Guarded:
        calls.append(1)
        if len(calls) < 4:
            raise DiskError("the disk is full")
        return real(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(watching, "guard_workspace", failing)
    monkeypatch.setattr(watching, "_RETRY_SECONDS", 0.01)
    put(tree, "USER.md", b"x")

    def steps() -> Iterator[None]:
        yield from until(lambda: tree.store.exists() and newest(tree, b"USER.md") == b"x")

    assert follow(tree, steps()).troubles == ["the disk is full"]


def test_half_a_restore_is_no_version(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_RETRY_SECONDS", 0.01)
    put(tree, "USER.md", b"x")
    restoring = put(tree, ".antsmem/restoring/x", b"").parent

    def steps() -> Iterator[None]:
        for _ in range(3):
            yield
            assert not tree.store.exists()
        (restoring / "x").unlink()
        restoring.rmdir()
        yield from until(lambda: tree.store.exists() and newest(tree, b"USER.md") == b"x")

    follow(tree, steps())


def test_once_is_one_pass_whose_failure_is_raised(tree: Tree) -> None:
    ear = Ear()
    put(tree, "USER.md", b"x")
    state = tree.store.path.parent / "state"
    watch(tree, state, ear.voice(lambda: None), QUICK, once=True)
    assert [found.recorded.changed for found in ear.found] == [(b"USER.md",)]
    (tree.store.path / "refs/heads/main").write_bytes(b"damaged")
    with pytest.raises(AntsmemError, match="damaged"):
        watch(tree, state, ear.voice(lambda: None), QUICK, once=True)


def test_kills_at_any_point_lose_nothing_that_the_next_watch_sees(tree: Tree) -> None:
    state = tree.store.path.parent / "state"
    put(tree, "MEMORY.md", TEXT)
    note(tree)
    versions = []
    for number in range(6):
        if (pid := os.fork()) == 0:
            watch(tree, state, Ear().voice(lambda: None), QUICK)
        for turn in range(4):
            versions.append(b"%d.%d" % (number, turn) + TEXT)
            put(tree, "MEMORY.md", versions[-1])
            time.sleep(0.004 * (number + turn))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        watch(tree, state, Ear().voice(lambda: None), QUICK, once=True)
        assert newest(tree, b"MEMORY.md") == versions[-1]
    assert tree.store.is_whole() and read_alarms(state) == ()
    assert set(held(tree, b"MEMORY.md")) <= {TEXT, *versions, b""}  # `put` empties a file before it fills it


@pytest.mark.skipif(os.environ.get("ANTSMEM_SOAK") != "1", reason="takes a minute: ANTSMEM_SOAK=1")
def test_at_its_own_pace_no_version_that_stood_for_a_second_is_lost(tree: Tree) -> None:
    for number in range(2000):
        put(tree, f"docs/{number}.md", b"%d" % number)
    note(tree)
    if (pid := os.fork()) == 0:
        watch(tree, tree.store.path.parent / "state", Ear().voice(lambda: None), Pace())
    time.sleep(2)
    for number in range(50):
        put(tree, "USER.md", b"%d" % number)
        time.sleep(1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert held(tree, b"USER.md") == [b"%d" % number for number in range(49, -1, -1)]
