"""Files with odd names and odd neighbours come through a sync: nothing else is lost for them, and none ends it.

Method: two devices with one embedded backend between them; names at the limit of a file system, files that are
called like those which SQLite keeps beside a database, and links and directories where a file should stand.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest
from devices import Agent, DeviceAt, meeting, settle

from antsmem.memory.author import this_device
from antsmem.memory.kinds import beside, revision_beside
from antsmem.memory.payload import Revision
from antsmem.memory.recording import Recorder

LONGEST = {"letters": "x" * 255, "ending": "a." + "b" * 253, "kanji": "語" * 83 + ".bin", "emoji": "🐜" * 63}
REVISION = "01JD3QABCDEFGHJKMNPQRSTVWX"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[DeviceAt, DeviceAt]:
    one, other = meeting(Agent("laptop", "desktop"), tmp_path, "laptop", "desktop")
    return one, other


@pytest.mark.parametrize("name", LONGEST.values(), ids=[*LONGEST])
def test_a_name_may_be_as_long_as_the_file_system_takes(pair: tuple[DeviceAt, DeviceAt], name: str) -> None:
    one, other = pair
    one.write(name, b"\0first")
    settle(one, other)
    assert other.files() == {name: b"\0first"}
    one.write(name, b"\0one")
    other.write(name, b"\0the other")
    settle(one, other)
    assert one.files() == other.files() and sorted(one.files().values()) == [b"\0one", b"\0the other"]


@pytest.mark.parametrize("name", [*LONGEST.values(), "photo.jpeg", ".profile", "x." + "y" * 64])
def test_a_version_beside_has_a_name_that_fits_and_tells_its_revision(name: str) -> None:
    found = beside(f"a/{name}", "conflict-again", f"{'h' * 63}~01234567", REVISION)
    assert len(found.removeprefix("a/").encode()) <= 255 and "/" not in found.removeprefix("a/")
    assert revision_beside(found) == REVISION[-10:]


def test_a_name_that_does_not_fit_here_is_told_and_holds_nothing_up(pair: tuple[DeviceAt, DeviceAt]) -> None:
    """Other file systems count characters, not bytes."""
    one, other = pair
    settle(one, other)
    one.write("MEMORY.md", "- tea\n")
    one.sync()
    memory, job = one.memory(), one.job()
    recorder = Recorder(memory, one.root, this_device(memory, job.state, job.speaker), job.speaker, job.state)
    recorder.author(one.now_ns)
    recorder.say(Revision("語" * 300, (), hashlib.sha256(b"1").hexdigest(), 1), b"1")
    memory.close()
    one.sync()  # deletes none of it: it never stood here
    result = other.sync()
    assert "too long" in result.arranged.left["語" * 300] and not result.complete
    assert other.files() == {"MEMORY.md": b"- tea\n"}


@pytest.mark.parametrize("side", ["-wal", "-journal", "-shm"])
def test_a_file_that_is_only_called_like_a_databases_side_is_a_file_like_any(
    pair: tuple[DeviceAt, DeviceAt], side: str
) -> None:
    one, other = pair
    one.write("travel/plan.md", "- south\n")
    one.write(f"travel{side}", "what I saw\n")
    one.write("notes", "1\n")
    one.write(f"notes{side}", "what I thought\n")
    one.write("work", "1\n")
    one.write(f"work{side}/plan.md", "- more\n")
    settle(one, other)
    assert len(other.files()) == 6 and other.files() == one.files()
    other.write("notes", "one and two\n")
    other.write("work", "one and two\n")
    settle(other, one)
    assert one.read(f"notes{side}") == "what I thought\n" and one.files() == other.files()


def test_what_sqlite_keeps_beside_a_database_stays_and_goes_with_it(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    database = sqlite3.connect(one.root / "state.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE words (word TEXT)")
    database.commit()
    assert (one.root / "state.db-wal").stat().st_size
    settle(one, other)
    assert [*other.files()] == ["state.db"]
    (other.root / "state.db-wal").write_bytes(bytes.fromhex("377f0682") + bytes(60))
    database.execute("INSERT INTO words VALUES ('ant')")
    database.commit()
    settle(one, other)
    database.close()
    assert [*other.files()] == ["state.db"], "its old log would be played into the new state"
    copy = sqlite3.connect(other.root / "state.db")
    assert copy.execute("SELECT word FROM words").fetchall() == [("ant",)]
    copy.close()


def test_a_database_that_cannot_be_opened_is_told(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, _ = pair
    path = "/".join(["d" * 100] * 6) + "/state.db"  # longer than SQLite takes
    one.write(path, b"SQLite format 3\0" + bytes(100))
    one.write(f"{path}-wal", bytes(32))
    assert one.sync().recorded.skipped == {path: "is a database that cannot be read now"}


def test_what_is_in_the_way_of_a_file_is_told_and_left_alone(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    (other.root / "link.md").symlink_to("/nowhere")
    (other.root / "folder.md/kept").mkdir(parents=True)
    (other.root / "away").symlink_to("/nowhere")
    os.mkfifo(other.root / "pipe.md")
    for path in ("link.md", "folder.md", "pipe.md", "away/plan.md", "MEMORY.md"):
        one.write(path, "- tea\n")
    one.sync()
    left = other.sync().arranged.left
    kind = "what stands in its place is not a regular file"
    assert left == {
        "link.md": kind,
        "folder.md": kind,
        "pipe.md": kind,
        "away/plan.md": "`away` is no directory here",
    }
    assert other.read("MEMORY.md") == "- tea\n" and (other.root / "link.md").is_symlink()
