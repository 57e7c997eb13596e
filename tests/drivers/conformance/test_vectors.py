"""Every vector index finds what is nearest by cosine, at once. Method: one suite for each driver."""

from __future__ import annotations

import random
from array import array

import pytest
from roles import Backend, backend, drivers

from antsmem.memory.roles import VectorIndex, VectorRow

STREAM, DIMENSIONS = "tenant/agent", 8


@pytest.fixture(params=drivers("vectors"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("vectors", request)


def opened(made: Backend) -> VectorIndex:
    index: VectorIndex = made.open()
    index.create("test-model", DIMENSIONS)
    index.create("test-model", DIMENSIONS)
    return index


def axis(place: int, more: float = 0.0) -> array[float]:
    values = [0.0] * DIMENSIONS
    values[place] = 1.0
    values[(place + 1) % DIMENSIONS] = more
    return array("f", values)


def test_the_nearest_comes_first_and_a_write_is_seen_at_once(made: Backend) -> None:
    index = opened(made)
    assert index.search(STREAM, axis(0), 3) == [] and index.count(STREAM) == 0
    index.upsert([VectorRow(STREAM, f"v{place}", 1, axis(place)) for place in range(4)])
    index.upsert([VectorRow(STREAM, "near", 1, axis(0, 0.1), "local")])
    found = index.search(STREAM, axis(0), 2)
    assert [name for name, _ in found] == ["v0", "near"]
    assert found[0][1] == pytest.approx(1.0, abs=1e-3) and found[1][1] == pytest.approx(0.995, abs=1e-3)
    assert index.count(STREAM) == 5
    index.drop(STREAM)
    index.close()


def test_cosine_does_not_care_for_length(made: Backend) -> None:
    index = opened(made)
    index.upsert(
        [VectorRow(STREAM, "long", 1, array("f", [9.0] * DIMENSIONS)), VectorRow(STREAM, "x", 1, axis(2))]
    )
    ((name, score),) = index.search(STREAM, array("f", [0.1] * DIMENSIONS), 1)
    assert name == "long" and score == pytest.approx(1.0, abs=1e-3)
    index.drop(STREAM)
    index.close()


def test_a_newer_vector_replaces_and_an_older_one_does_not(made: Backend) -> None:
    index = opened(made)
    index.upsert([VectorRow(STREAM, "a", 2, axis(1))])
    index.upsert([VectorRow(STREAM, "a", 1, axis(5))])
    assert index.search(STREAM, axis(1), 1)[0][1] == pytest.approx(1.0, abs=1e-3)
    index.upsert([VectorRow(STREAM, "a", 3, axis(5))])
    assert index.search(STREAM, axis(5), 1)[0][1] == pytest.approx(1.0, abs=1e-3)
    assert index.count(STREAM) == 1
    index.drop(STREAM)
    index.close()


def test_what_is_deleted_or_of_another_stream_is_not_found(made: Backend) -> None:
    index = opened(made)
    index.upsert([VectorRow(STREAM, name, 1, axis(0)) for name in ("a", "b")])
    index.upsert([VectorRow("tenant/other", "a", 1, axis(0))])
    index.delete(STREAM, ["a", "none"])
    assert [name for name, _ in index.search(STREAM, axis(0), 9)] == ["b"]
    index.drop(STREAM)
    assert (index.count(STREAM), index.count("tenant/other")) == (0, 1)
    index.drop("tenant/other")
    index.close()


def test_five_hundred_vectors_are_searched_as_exactly_as_five(made: Backend) -> None:
    index, dice = opened(made), random.Random(7)
    rows = [
        VectorRow(STREAM, f"v{number}", 1, array("f", [dice.gauss(0, 1) for _ in range(DIMENSIONS)]))
        for number in range(500)
    ]
    index.upsert(rows)
    for wanted in rows[::100]:
        assert index.search(STREAM, wanted.vector, 3)[0][0] == wanted.id
    index.drop(STREAM)
    index.close()
