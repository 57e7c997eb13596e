"""The vector index without a server: one SQLite file a model, in which the signs of vectors find candidates.

The vectors of a stream lie in places without a gap. Of each the signs of its values are kept, packed in blocks of
1024 places, and the vector itself at unit length in half precision. A search compares all signs (the Hamming
distance grows with the angle), then the nearest of them exactly; a stream with few vectors is compared whole.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from antsmem.core.errors import DriverMissingError, IntegrityError, UsageError
from antsmem.memory.embedded.place import folder_of, open_database, our_errors, transaction
from antsmem.memory.indexing import check_vector, newest
from antsmem.memory.roles import Vector, VectorRow

if TYPE_CHECKING:
    import numpy

# A place is the number of the stream and, in the low 32 bits, which one of its vectors; a block is a place / 1024.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS streams (number INTEGER PRIMARY KEY, stream TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS vectors (place INTEGER PRIMARY KEY, stream INTEGER, id TEXT, version INTEGER,
  partition TEXT, halves BLOB);
CREATE UNIQUE INDEX IF NOT EXISTS by_id ON vectors (stream, id);
CREATE TABLE IF NOT EXISTS signs (block INTEGER PRIMARY KEY, signs BLOB);
"""
_STREAM_BITS: Final = 32
_BLOCK_BITS: Final = 10
_BLOCK: Final = 1 << _BLOCK_BITS
_MAP_BYTES: Final = 1 << 30
CANDIDATES: Final = 2000
"""How many are compared exactly, at least."""
_CANDIDATES_EACH: Final = 50  # for each one that is asked for


class FileVectors:
    """A folder with `vectors-<digest of the model>-<dimensions>.db`. Processes of one machine may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root
        self._dimensions = 0
        self._open: sqlite3.Connection | None = None

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The index in the folder that `url` names; it need not exist. No options."""
        return cls(folder_of(url, options))

    def create(self, model: str, dimensions: int) -> None:
        """Open the file for vectors of `model`, made if it is missing. `DriverMissingError`: without numpy."""
        try:
            import numpy  # noqa: F401
        except ImportError:
            raise DriverMissingError.library("numpy", "vectors") from None
        if dimensions < 1:
            raise UsageError(f"a vector has at least one dimension, not {dimensions}")
        self.close()
        digest = hashlib.sha256(model.encode()).hexdigest()[:12]
        self._path, self._dimensions = self._root / f"vectors-{digest}-{dimensions}.db", dimensions
        self._open = open_database(self._path, _SCHEMA)
        self._open.execute(f"PRAGMA mmap_size={_MAP_BYTES}")

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Put `rows`, see `VectorIndex.upsert`."""
        for row in rows:
            check_vector(row.vector, self._dimensions)
        with self._changing() as signs:
            for row in newest(rows).values():
                self._put(row, signs)

    def search(self, stream: str, vector: Vector, count: int) -> list[tuple[str, float]]:
        """The nearest of `stream`, see `VectorIndex.search`. Of more than 2000 those with the nearest signs are
        compared, 2000 or fifty times `count`."""
        import numpy

        check_vector(vector, self._dimensions)
        asked = _unit(vector)
        with our_errors(self._path):
            names, halves = self._candidates(stream, asked, max(CANDIDATES, _CANDIDATES_EACH * count))
        if len(halves) != len(names) * self._dimensions * 2:
            raise self._damaged()
        matrix = numpy.frombuffer(halves, numpy.float16).reshape(-1, self._dimensions).astype(numpy.float32)
        cosines = numpy.clip(matrix @ asked, -1.0, 1.0)
        best = numpy.argsort(-cosines, kind="stable")[: max(0, count)]
        return [(names[each], float(cosines[each])) for each in best]

    def delete(self, stream: str, ids: Sequence[str]) -> None:
        """Forget `ids`. The last vector of the stream takes the place of one that goes."""
        with self._changing() as signs:
            number = self._number(stream)
            for each in ids:
                row = self._db.execute("SELECT place FROM vectors WHERE stream = ? AND id = ?", (number, each))
                if (found := row.fetchone()) is None:
                    continue
                place, last = found[0], self._end(number) - 1
                self._db.execute("DELETE FROM vectors WHERE place = ?", (place,))
                if place != last:
                    self._db.execute("UPDATE vectors SET place = ? WHERE place = ?", (place, last))
                    signs[place] = signs[last]

    def count(self, stream: str) -> int:
        """How many vectors `stream` has."""
        with our_errors(self._path):
            number = self._number(stream)
            return self._end(number) - (number << _STREAM_BITS)

    def drop(self, stream: str) -> None:
        """Delete all vectors of `stream`."""
        with transaction(self._db, self._path) as db:
            number = self._number(stream)
            first, end = number << _STREAM_BITS, self._end(number)
            db.execute("DELETE FROM vectors WHERE place >= ? AND place < ?", (first, end))
            blocks = (first >> _BLOCK_BITS, (number + 1) << (_STREAM_BITS - _BLOCK_BITS))
            db.execute("DELETE FROM signs WHERE block >= ? AND block < ?", blocks)
            db.execute("DELETE FROM streams WHERE number = ?", (number,))

    def close(self) -> None:
        """Close the database."""
        if self._open is not None:
            self._open.close()
        self._open = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._open is None:
            raise UsageError("a vector index is opened by `create`")
        return self._open

    @contextmanager
    def _changing(self) -> Iterator[_Signs]:
        with transaction(self._db, self._path) as db:
            signs = _Signs(db, _words(self._dimensions), self._damaged())
            yield signs
            signs.write()

    def _put(self, row: VectorRow, signs: _Signs) -> None:
        import numpy

        self._db.execute("INSERT OR IGNORE INTO streams (stream) VALUES (?)", (row.stream,))
        number = self._number(row.stream)
        there = self._db.execute(
            "SELECT place, version FROM vectors WHERE stream = ? AND id = ?", (number, row.id)
        ).fetchone()
        if there is not None and there[1] > row.version:
            return
        place = self._end(number) if there is None else there[0]
        unit = _unit(row.vector)
        kept = (place, number, row.id, row.version, row.partition, unit.astype(numpy.float16).tobytes())
        self._db.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?)", kept)
        signs[place] = _signs(unit)

    def _number(self, stream: str) -> int:
        """The number of `stream`; 0, which none has, if nothing is kept of it."""
        found = self._db.execute("SELECT number FROM streams WHERE stream = ?", (stream,)).fetchone()
        return int(found[0]) if found else 0

    def _end(self, number: int) -> int:
        """The place behind the last one of a stream."""
        first = number << _STREAM_BITS
        found = self._db.execute(
            "SELECT max(place) FROM vectors WHERE place >= ? AND place < ?",
            (first, (number + 1) << _STREAM_BITS),
        ).fetchone()
        return first if found[0] is None else int(found[0]) + 1

    def _candidates(self, stream: str, asked: Any, wanted: int) -> tuple[list[str], bytes]:
        """The ids of those to compare and their vectors, as they are at one instant."""
        db = self._db
        db.execute("BEGIN")
        try:
            number = self._number(stream)
            first, end = number << _STREAM_BITS, self._end(number)
            if end - first <= wanted:
                rows = db.execute("SELECT id, halves FROM vectors WHERE place >= ? AND place < ?", (first, end))
            else:
                places = self._nearest_signs(first, end, asked, wanted)
                rows = db.execute(
                    "SELECT id, halves FROM vectors WHERE place IN (SELECT value FROM json_each(?))",
                    (json.dumps(places),),
                )
            found = rows.fetchall()
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        return [name for name, _ in found], b"".join(halves for _, halves in found)

    def _nearest_signs(self, first: int, end: int, asked: Any, wanted: int) -> list[int]:
        """The places with the `wanted` smallest Hamming distances to the signs of `asked`."""
        import numpy

        blocks = (first >> _BLOCK_BITS, (end - 1) >> _BLOCK_BITS)
        rows = self._db.execute("SELECT signs FROM signs WHERE block BETWEEN ? AND ? ORDER BY block", blocks)
        data, words = b"".join(row[0] for row in rows), _words(self._dimensions)
        if len(data) != (blocks[1] - blocks[0] + 1) * words * _BLOCK * 8:
            raise self._damaged()
        there = numpy.frombuffer(data, numpy.uint64).reshape(-1, words, _BLOCK)
        differing = numpy.bitwise_count(there ^ _signs(asked)[:, None])
        distances = differing.sum(axis=1, dtype=numpy.uint32).ravel()[: end - first]
        nearest = numpy.argpartition(distances, wanted)[:wanted]
        return [int(place) for place in numpy.sort(nearest) + first]

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"index `{self._path}` is damaged", hint="delete it: it is made again from the files"
        )


class _Signs:
    """Signs by place within one transaction: each block is read once and written once."""

    def __init__(self, db: sqlite3.Connection, words: int, damaged: IntegrityError) -> None:
        self._db, self._words, self._damaged = db, words, damaged
        self._blocks: dict[int, Any] = {}

    def __getitem__(self, place: int) -> Any:
        return self._block(place)[:, place % _BLOCK].copy()

    def __setitem__(self, place: int, signs: Any) -> None:
        self._block(place)[:, place % _BLOCK] = signs

    def write(self) -> None:
        """Write what was read."""
        kept = [(number, block.tobytes()) for number, block in self._blocks.items()]
        self._db.executemany("INSERT OR REPLACE INTO signs VALUES (?, ?)", kept)

    def _block(self, place: int) -> Any:
        import numpy

        number = place >> _BLOCK_BITS
        if number not in self._blocks:
            found = self._db.execute("SELECT signs FROM signs WHERE block = ?", (number,)).fetchone()
            data = found[0] if found else bytes(self._words * _BLOCK * 8)
            if len(data) != self._words * _BLOCK * 8:
                raise self._damaged
            self._blocks[number] = numpy.frombuffer(bytearray(data), numpy.uint64).reshape(self._words, _BLOCK)
        return self._blocks[number]


def _words(dimensions: int) -> int:
    """How many numbers of 64 bits hold the signs of a vector."""
    return -(-dimensions // 64)


def _unit(vector: Vector) -> numpy.ndarray[Any, Any]:
    import numpy

    values = numpy.asarray(vector, numpy.float64)
    return (values / numpy.linalg.norm(values)).astype(numpy.float32)


def _signs(vector: Any) -> numpy.ndarray[Any, Any]:
    """A bit for each value of `vector`: whether it is above zero."""
    import numpy

    packed = numpy.packbits(vector > 0.0)
    return numpy.frombuffer(packed.tobytes().ljust(_words(len(vector)) * 8, b"\0"), numpy.uint64)
