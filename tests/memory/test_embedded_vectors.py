"""Goal: the embedded vector index holds what was put into it, finds what is nearest among many, and is one or the
other after an interruption.

Method: a plain dictionary beside it through drawn calls, with blocks of four so that few vectors fill several;
clusters of vectors against the exact order. Control: with the signs of other vectors the candidates are wrong.
"""

from __future__ import annotations

import random
import sqlite3
from array import array
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_model import CALLS, Call, after

from antsmem.core.errors import ConfigError, DriverMissingError, IntegrityError, UsageError
from antsmem.memory.embedded import vectors
from antsmem.memory.embedded.vectors import FileVectors
from antsmem.memory.roles import VectorRow

STREAM, DIMENSIONS = "tenant/agent", 70  # more than one word of signs, the second not full


def opened(root: Path, model: str = "test-model") -> FileVectors:
    index = FileVectors(root)
    index.create(model, DIMENSIONS)
    return index


def drawn(dice: random.Random) -> array[float]:
    return array("f", [dice.gauss(0, 1) for _ in range(DIMENSIONS)])


@given(calls=CALLS, seed=st.integers(0, 1000))
def test_it_holds_what_was_put_whatever_the_order_of_calls(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Call], seed: int
) -> None:
    dice, index = random.Random(seed), opened(tmp_path_factory.mktemp("index"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_BLOCK_BITS", 2)
        patch.setattr(vectors, "_BLOCK", 4)
        model = after(index, calls, lambda _, *who: VectorRow(*who, drawn(dice)))
        for stream, mine in model.items():
            assert {name for name, _ in index.search(stream, drawn(dice), 99)} == mine.keys()
            for name, row in mine.items():
                assert index.search(stream, row.vector, 1)[0] == (name, pytest.approx(1.0, abs=1e-3))
        check_signs(index)
    index.close()


def check_signs(index: FileVectors) -> None:
    """The signs in each place are those of the vector there."""
    kept = vectors._Signs(index._db, 2, IntegrityError("damaged"))
    for place, halves in index._db.execute("SELECT place, halves FROM vectors"):
        vector = numpy.frombuffer(halves, numpy.float16)
        differing = numpy.bitwise_count(kept[place] ^ vectors._signs(vector)).sum()
        assert differing <= 1, place  # a value so small that half precision makes it zero


def test_among_many_the_nearest_are_found_by_their_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CANDIDATES", 300)
    dice, index = numpy.random.default_rng(5), opened(tmp_path)
    centres = dice.normal(size=(50, DIMENSIONS))
    many = centres[dice.integers(50, size=3000)] + 0.5 * dice.normal(size=(3000, DIMENSIONS))
    many /= numpy.linalg.norm(many, axis=1, keepdims=True)
    index.upsert([VectorRow(STREAM, f"v{n}", 1, [float(x) for x in vector]) for n, vector in enumerate(many)])

    def recall() -> float:
        found = 0
        for asked in many[::300]:
            exact = {f"v{n}" for n in numpy.argsort(-(many @ asked))[:5]}
            found += len(exact & {name for name, _ in index.search(STREAM, [float(x) for x in asked], 5)})
        return found / 50

    assert recall() > 0.95
    index._db.execute("UPDATE signs SET signs = randomblob(length(signs))")  # the control
    assert recall() < 0.5
    index.close()


def test_an_interrupted_change_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, other, dice = opened(tmp_path), opened(tmp_path), random.Random(1)
    index.upsert([VectorRow(STREAM, "a", 1, drawn(dice))])

    def interrupted(_signs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vectors._Signs, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.upsert([VectorRow(STREAM, "b", 1, drawn(dice))])
    with pytest.raises(KeyboardInterrupt):
        index.delete(STREAM, ["a"])
    monkeypatch.undo()
    assert [name for name, _ in other.search(STREAM, drawn(dice), 9)] == ["a"]
    other.upsert([VectorRow(STREAM, "c", 1, drawn(dice))])
    assert index.count(STREAM) == 2, "what another process writes is seen at once"
    for each in (index, other):
        each.close()


def test_each_model_has_a_file_of_its_own(tmp_path: Path) -> None:
    one, other, dice = opened(tmp_path), opened(tmp_path, "another-model"), random.Random(1)
    one.upsert([VectorRow(STREAM, "a", 1, drawn(dice))])
    assert (one.count(STREAM), other.count(STREAM)) == (1, 0)
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".db"]) == 2
    for each in (one, other):
        each.close()


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for wrong in ([0.0] * DIMENSIONS, [1.0] * 3, [float("nan")] * DIMENSIONS):
        with pytest.raises(UsageError):
            index.upsert([VectorRow(STREAM, "a", 1, wrong)])
        with pytest.raises(UsageError):
            index.search(STREAM, wrong, 1)
    index.close()
    with pytest.raises(UsageError, match="create"):
        index.count(STREAM)
    with pytest.raises(ConfigError):
        FileVectors.open("file://elsewhere/x", {})


@pytest.mark.parametrize(
    "harm", ["DELETE FROM signs", "UPDATE signs SET signs = x'00'", "UPDATE vectors SET halves = x'00'"]
)
def test_damage_is_an_error_and_no_answer(tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CANDIDATES", 2)
    monkeypatch.setattr(vectors, "_CANDIDATES_EACH", 1)
    index, dice = opened(tmp_path), random.Random(1)
    index.upsert([VectorRow(STREAM, f"v{n}", 1, drawn(dice)) for n in range(5)])
    index.close()
    (path,) = tmp_path.glob("*.db")
    with sqlite3.connect(path) as connection:
        connection.execute(harm)
    connection.close()
    index = opened(tmp_path)
    with pytest.raises(IntegrityError):
        index.search(STREAM, drawn(dice), 1)
    index.close()
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(IntegrityError):
        opened(tmp_path)


def test_without_numpy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(DriverMissingError) as caught:
        FileVectors(tmp_path).create("test-model", 4)
    assert "antsmem[vectors]" in caught.value.hint
