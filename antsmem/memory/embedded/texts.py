"""The text index without a server: a SQLite file with FTS5, English words by their stems, ranked by BM25."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from antsmem.core.errors import DriverMissingError
from antsmem.memory.embedded.place import folder_of, open_database, our_errors, transaction
from antsmem.memory.indexing import check_text, newest
from antsmem.memory.roles import TextRow
from antsmem.memory.words import STOP_WORDS, asked_words, words

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS texts (number INTEGER PRIMARY KEY, stream TEXT, id TEXT, version INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS by_id ON texts (stream, id);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(kept, tokenize = 'porter unicode61');
"""
_HAS_FTS5: Final = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
# CROSS JOIN: SQLite keeps this order, which begins with what matches and not with all texts of the stream.
_SEARCH: Final = (
    "SELECT texts.id, -bm25(words) FROM words CROSS JOIN texts ON texts.number = words.rowid"
    " WHERE words MATCH ? AND texts.stream = ? ORDER BY bm25(words), texts.id LIMIT ?"
)
_FORGET: Final = (
    "DELETE FROM words WHERE rowid IN (SELECT number FROM texts WHERE stream = ? AND id = ?)",
    "DELETE FROM texts WHERE stream = ? AND id = ?",
)
_DROP: Final = (
    "DELETE FROM words WHERE rowid IN (SELECT number FROM texts WHERE stream = ?)",
    "DELETE FROM texts WHERE stream = ?",
)


class FileTexts:
    """A folder with `texts.db`. Processes of one machine may share it."""

    def __init__(self, root: Path) -> None:
        self._path = root / "texts.db"
        self._db = open_database(self._path, "")
        with our_errors(self._path):
            if self._db.execute(_HAS_FTS5).fetchone() is None:
                raise DriverMissingError("this Python's SQLite has no FTS5", hint="use another build of Python")
            self._db.executescript(_SCHEMA)

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The index in the folder that `url` names; it need not exist. No options."""
        return cls(folder_of(url, options))

    def create(self) -> None:
        """Nothing to do: opening makes it."""

    def upsert(self, rows: Sequence[TextRow]) -> None:
        """Put `rows`, see `TextIndex.upsert`."""
        for row in rows:
            check_text(row)
        with transaction(self._db, self._path) as db:
            for row in newest(rows).values():
                _put(db, row)

    def search(self, stream: str, query: str, count: int) -> list[tuple[str, float]]:
        """What fits best, see `TextIndex.search`; the score is that of BM25."""
        if not (asked := expression(query)):
            return []
        with our_errors(self._path):
            found = self._db.execute(_SEARCH, (asked, stream, max(0, count))).fetchall()
        return [(name, float(score)) for name, score in found]

    def delete(self, stream: str, ids: Sequence[str]) -> None:
        """Forget `ids`."""
        with transaction(self._db, self._path) as db:
            for statement in _FORGET:
                db.executemany(statement, [(stream, each) for each in ids])

    def count(self, stream: str) -> int:
        """How many texts `stream` has."""
        with our_errors(self._path):
            found = self._db.execute("SELECT count(*) FROM texts WHERE stream = ?", (stream,)).fetchone()
        return int(found[0])

    def drop(self, stream: str) -> None:
        """Delete all texts of `stream`."""
        with transaction(self._db, self._path) as db:
            for statement in _DROP:
                db.execute(statement, (stream,))

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def expression(query: str) -> str:
    """What FTS5 is asked for a person's `query`: any of its words, each quoted; empty if it has none."""
    return " OR ".join(f'"{word}"' for word in asked_words(query) if word not in STOP_WORDS)


def _put(db: sqlite3.Connection, row: TextRow) -> None:
    kept = " ".join(word for word in words(row.text) if word not in STOP_WORDS)
    there = db.execute("SELECT number, version FROM texts WHERE stream = ? AND id = ?", (row.stream, row.id))
    if (found := there.fetchone()) is None:
        told = (row.stream, row.id, row.version)
        number = db.execute("INSERT INTO texts (stream, id, version) VALUES (?, ?, ?)", told).lastrowid
        db.execute("INSERT INTO words (rowid, kept) VALUES (?, ?)", (number, kept))
    elif found[1] <= row.version:
        db.execute("UPDATE texts SET version = ? WHERE number = ?", (row.version, found[0]))
        db.execute("UPDATE words SET kept = ? WHERE rowid = ?", (kept, found[0]))
