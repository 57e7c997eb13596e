"""Goal: the generated workspaces are what their descriptions promise, and the same each time.

Method: made twice and compared; sizes, compression and the hard parts are looked at. The large ones are left to
benchmarks.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import corpora
import pytest
import zstandard

from antsmem.workspace.classes import Classifier
from antsmem.workspace.survey import survey


def contents(root: Path) -> dict[str, bytes]:
    """Every file that a generator promises to make the same again."""
    salted = {".git", "memory.db-wal", "memory.db-shm"}
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and not salted & set(path.parts)
    }


@pytest.mark.parametrize("make", [corpora.sample_agent, corpora.corpus_s], ids=lambda make: make.__name__)
def test_a_generator_makes_the_same_each_time(tmp_path: Path, make: Callable[[Path], corpora.Corpus]) -> None:
    assert make(tmp_path / "a") == make(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_small_corpus_is_four_hundred_notes_that_compress_like_notes(tmp_path: Path) -> None:
    made = corpora.corpus_s(tmp_path)
    assert made.files == 400
    assert 2_800_000 < made.size_bytes < 3_200_000
    data = b"".join(contents(tmp_path).values())
    assert 2.2 < len(data) / len(zstandard.compress(data, 3)) < 3.2
    assert data.decode().isprintable() is False  # it has lines
    assert data.count(b"\n") > 20_000


def test_a_sample_agent_has_all_that_makes_backups_hard(tmp_path: Path) -> None:
    corpora.sample_agent(tmp_path, days=12)
    assert len(list((tmp_path / "memory").glob("2026-*.md"))) == 12
    found = survey(tmp_path, Classifier())
    assert {one.verdict.path_class for one in found.left_out} == {"secret", "machine-bound", "derived"}
    assert found.symlinks == 2
    assert [remark.path for remark in found.odd_names] == [b"notes/two\nlines.md"]
    log = subprocess.run(
        ["git", "log", "--oneline"], cwd=tmp_path / "memory", capture_output=True, check=True
    ).stdout
    assert log.count(b"\n") == 2


def test_the_database_of_a_sample_agent_has_rows_in_its_log_only(tmp_path: Path) -> None:
    corpora.sample_agent(tmp_path, days=1)
    database = tmp_path / "state/memory.db"
    alone = tmp_path / "alone.db"
    alone.write_bytes(database.read_bytes())
    counted = []
    for path in (database, alone):
        connection = sqlite3.connect(path)
        counted.append(connection.execute("SELECT count(*) FROM memories WHERE kind = 'new'").fetchone()[0])
        connection.close()
    assert counted == [20, 0]


def test_an_hour_of_work_changes_a_little_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        corpora.corpus_s(tmp_path / name)
        corpora.Writer(tmp_path / name, 1).database("state/memory.db", 500_000)
    before = contents(tmp_path / "a")
    made = [corpora.mutate(tmp_path / name, 0.1) for name in ("a", "b")]
    assert made[0] == made[1]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    after = contents(tmp_path / "a")
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    assert len(changed) == made[0].edited + 1
    assert "state/memory.db" in changed
    assert len(after.keys() - before.keys()) == made[0].created
    assert len(before.keys() - after.keys()) == made[0].deleted


def test_the_zoo_holds_the_hard_cases(tmp_path: Path) -> None:
    assert corpora.odd_zoo(tmp_path / "zoo") == ()
    zoo = tmp_path / "zoo"
    assert (zoo / "sparse").stat().st_size == 1 << 30
    assert (zoo / "sparse").stat().st_blocks < 100
    assert (zoo / "hard").stat().st_nlink == 3
    assert (zoo / "times/1931").stat().st_mtime_ns == -1_230_000_000 * 10**9 + 123_456_789
    assert (zoo / "times/2300").stat().st_mtime_ns == 10_413_792_000 * 10**9 + 123_456_789
    assert len(max(os.listdir(os.fsencode(zoo / "names")), key=len)) == 255
    assert len(list((zoo / "deep").rglob("down"))) == 59


def test_the_big_tree_has_fifteen_thousand_files_and_links_to_nowhere(tmp_path: Path) -> None:
    assert corpora.big_tree(tmp_path).files == 15_000
    assert survey(tmp_path, Classifier()).symlinks == 200
