"""Goal: a SQLite database that is written to while it is backed up comes back in one committed state.

Method: accounts between which money moves, so that their sum never changes in a committed state. First a writer
process without pause; then writers that strike exactly between two reads of the database file, where a copy that
nobody holds still must come out torn: the control.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_backups import Place, aged, tree_of

from antsmem.backup import intake
from antsmem.core import clock

TOTAL = 1_000_000
WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("PRAGMA synchronous = OFF")
print("ready", flush=True)
for turn in range(1 << 40):
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE first SET amount = amount - 1, note = ? WHERE id = ?", (str(turn) * 90, turn % 50))
    connection.execute("UPDATE second SET amount = amount + 1, note = ? WHERE id = ?", (str(turn) * 90, turn % 50))
    connection.execute("COMMIT")
    time.sleep(0.002)  # or nobody else would ever get a lock
"""


def make(path: Path, mode: str, padding: int = 0) -> Path:
    """Two tables whose amounts add up to `TOTAL`, far apart in the file if there is `padding` between them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE first (id INTEGER PRIMARY KEY, amount INTEGER, note TEXT)")
    connection.executemany("INSERT INTO first VALUES (?, ?, '')", [(row, TOTAL // 50) for row in range(50)])
    connection.execute("CREATE TABLE between_them (body BLOB)")
    connection.execute("INSERT INTO between_them VALUES (zeroblob(?))", (padding,))
    connection.execute("CREATE TABLE second (id INTEGER PRIMARY KEY, amount INTEGER, note TEXT)")
    connection.executemany("INSERT INTO second VALUES (?, 0, '')", [(row,) for row in range(50)])
    connection.execute("COMMIT")
    connection.close()
    return path


def state_of(path: Path) -> tuple[str, int]:
    """(what the integrity check says, the sum of all amounts) of a restored database."""
    connection = sqlite3.connect(path)
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        query = "SELECT (SELECT sum(amount) FROM first) + (SELECT sum(amount) FROM second)"
        return verdict, connection.execute(query).fetchone()[0]
    except sqlite3.DatabaseError as error:
        return str(error), -1
    finally:
        connection.close()


@pytest.mark.parametrize("mode", ["WAL", "DELETE", "TRUNCATE"])
def test_a_database_that_is_written_to_all_the_time_comes_back_whole(
    place: Place, tmp_path: Path, mode: str
) -> None:
    path = make(place.workspace / "memory.db", mode, 3 << 20)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        taken = [(tier, place.back_up(tier)) for tier in ("hot", "cold", "hot", "hot")]
    finally:
        writer.kill()
        writer.communicate()
    for number, (tier, result) in enumerate(taken):
        target = tmp_path / f"back{number}"
        (place.restore if tier == "hot" else place.thaw)(result.snapshot, target)
        assert state_of(target / "memory.db") == ("ok", TOTAL), (number, result.warnings)
        if mode == "WAL":
            assert result.warnings == (), (
                "a log that grows is no reason to warn: what is appended later is ignored"
            )


@contextmanager
def striking(monkeypatch: pytest.MonkeyPatch, path: Path, strike: Callable[[], object]) -> Iterator[list[str]]:
    """Call `strike` each time after the first window of the file at `path` was read."""
    real, struck = os.preadv, list[str]()
    inode = path.stat().st_ino

    def preadv(fd: int, buffers: Any, offset: int, *rest: Any) -> int:
        count = real(fd, buffers, offset, *rest)
        if offset == 0 and count > 100 and os.fstat(fd).st_ino == inode:
            try:
                strike()
                struck.append("")
            except sqlite3.OperationalError as error:
                struck.append(str(error))
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", preadv)
        yield struck


def moving(connection: sqlite3.Connection, checkpoint: bool) -> Callable[[], None]:
    """Moves all the money from the front of the file to its back, or back again, in one transaction."""

    def strike() -> None:
        full = connection.execute("SELECT sum(amount) FROM first").fetchone()[0]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("UPDATE first SET amount = ?", (0 if full else TOTAL // 50,))
            connection.execute("UPDATE second SET amount = ?", (TOTAL // 50 if full else 0,))
            connection.execute("COMMIT")
        except sqlite3.OperationalError:
            connection.execute("ROLLBACK")
            raise
        if checkpoint:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    return strike


@contextmanager
def nobody_holds(_path: bytes) -> Iterator[str]:
    yield ""


@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("hold", [True, False], ids=["held", "control"])
def test_a_commit_between_two_reads_cannot_tear_a_held_database(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, hold: bool, tier: str
) -> None:
    path = make(place.workspace / "memory.db", mode, 20 << 20)
    other = sqlite3.connect(path)  # as an agent does: it has the database open all the time
    other.execute("SELECT count(*) FROM first").fetchone()
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    strike = moving(writer, checkpoint=mode == "WAL")
    strike()
    if not hold:
        monkeypatch.setattr(intake, "held", nobody_holds)
    with striking(monkeypatch, path, strike) as struck:
        result = place.back_up(tier)
    writer.close()
    other.close()
    assert struck, "the writer never got its chance"
    (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    whole = state_of(tmp_path / "back/memory.db") == ("ok", TOTAL)
    assert whole is hold, (struck, result.warnings)
    if hold and mode == "DELETE":
        assert struck == ["database is locked"]
    if hold:
        assert result.complete, result.warnings


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_log_that_grows_under_the_reading_is_no_reason_to_warn(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    path = make(place.workspace / "memory.db", "WAL")
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute("UPDATE first SET note = note || 'x'")
    log = path.with_name("memory.db-wal")
    with striking(monkeypatch, log, lambda: writer.execute("UPDATE second SET note = note || 'x'")) as struck:
        monkeypatch.setattr(os, "pread", _pread)
        result = place.back_up(tier)
    writer.close()
    assert struck and result.complete, result.warnings
    (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    assert state_of(tmp_path / "back/memory.db") == ("ok", TOTAL)


def _pread(fd: int, size: int, offset: int) -> bytes:
    """As `os.pread`, by the call that `striking` watches."""
    room = bytearray(size)
    return bytes(room[: os.preadv(fd, [room], offset)])


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_backing_up_leaves_no_trace_beside_a_database(place: Place, mode: str) -> None:
    at_rest = make(place.workspace / "rest.db", mode)
    open_elsewhere = make(place.workspace / "open.db", mode)
    connection = sqlite3.connect(open_elsewhere)
    connection.execute("UPDATE first SET note = note || 'x'")
    connection.commit()
    aged(at_rest)
    shared = ("open.db-shm",)  # where those who have it open, readers too, tell each other where they are
    before = tree_of(place.workspace, shared)
    for tier in ("hot", "hot", "cold"):
        assert place.back_up(tier, rehash=True).complete
        assert tree_of(place.workspace, shared) == before
    connection.close()


def test_the_shared_memory_that_a_killed_writer_left_is_not_touched(place: Place, tmp_path: Path) -> None:
    path = make(place.workspace / "memory.db", "WAL")
    crash = "import sqlite3,os,sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('PRAGMA wal_autocheckpoint = 0')\n"
    crash += "c.execute('UPDATE first SET note = id')\nc.commit()\nos._exit(9)\n"
    subprocess.run([sys.executable, "-c", crash, path], check=False)
    assert path.with_name("memory.db-shm").exists()
    before = tree_of(place.workspace)
    result = place.back_up()
    assert result.complete and tree_of(place.workspace) == before
    place.restore(result.snapshot, tmp_path / "back")
    assert state_of(tmp_path / "back/memory.db") == ("ok", TOTAL)


def test_a_database_that_cannot_be_held_is_copied_with_its_log_and_a_warning(place: Place, tmp_path: Path) -> None:
    write = b"SQLite format 3\0" + bytes([16, 0, 1, 1]) + b"but the rest is no database" * 1000
    (place.workspace / "broken.db").write_bytes(write.ljust(1 << 15, b"\0"))
    (place.workspace / "broken.db-journal").write_bytes(b"its journal")
    result = place.back_up()
    assert not result.complete
    assert any("`broken.db` was copied as it stood" in warning for warning in result.warnings)
    before = tree_of(place.workspace)
    place.restore(result.snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == before


def test_an_unchanged_database_is_read_again_with_its_log_when_only_the_log_changed(
    place: Place, tmp_path: Path
) -> None:
    path = make(place.workspace / "memory.db", "WAL")
    aged(path)
    place.back_up()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE first SET amount = 0")
    connection.execute("UPDATE second SET amount = ?", (TOTAL // 50,))
    connection.commit()
    snapshot = place.back_up().snapshot
    place.restore(snapshot, tmp_path / "open")
    connection.close()
    assert state_of(tmp_path / "open/memory.db") == ("ok", TOTAL)
    checkpointed = place.back_up().snapshot
    place.restore(checkpointed, tmp_path / "closed")
    assert not (tmp_path / "closed/memory.db-wal").exists()
    restored = sqlite3.connect(tmp_path / "closed/memory.db")
    assert restored.execute("SELECT sum(amount) FROM second").fetchone() == (TOTAL,)
    restored.close()


def test_a_checkpoint_after_the_read_is_seen_by_the_next_backup(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main file may change under a hold without its log: the next backup must not take it as known."""
    path = make(place.workspace / "memory.db", "WAL", 20 << 20)
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE second SET amount = amount + 1")
    writer.execute("UPDATE first SET amount = amount - 1")
    with striking(monkeypatch, path, lambda: writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()):
        place.back_up(now_ns=clock.now_ns() + 10**13)  # nothing is as young as that it is read again anyway
    writer.close()
    assert not path.with_name("memory.db-wal").exists()
    place.restore(place.back_up(now_ns=os.stat(path).st_mtime_ns + 10**12).snapshot, tmp_path / "back")
    assert (tmp_path / "back/memory.db").read_bytes() == path.read_bytes()
