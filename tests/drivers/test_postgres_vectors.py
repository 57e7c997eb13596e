"""Goal: pgvector finds all there is of a stream, however small its share, and after a kill what it acknowledged.

Method: the real server; a table in which the graph alone gives too little. Control: without the exact comparison
rows of the small stream are missing.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from threading import Thread

import engines
import engines_stores
import pytest

from antsmem.core.errors import AntsmemError, BackendError, ConfigError, RefusedError, UsageError
from antsmem.drivers import postgres_vectors as driver
from antsmem.drivers.postgres_vectors import PostgresVectors
from antsmem.memory.roles import VectorRow

pytestmark = pytest.mark.server
STREAM, DIMENSIONS = "tenant/agent", 4
Opener = Callable[..., PostgresVectors]


@pytest.fixture
def opened(pgvector: engines.Server, request: pytest.FixtureRequest) -> Opener:
    """Indexes in a new database, with no table made."""
    return opener(pgvector, request)


def opener(server: engines.Server, request: pytest.FixtureRequest) -> Opener:
    assert isinstance(server, engines_stores.Postgres)
    database = server.database()

    def made(**options: str) -> PostgresVectors:
        url = f"postgres://antsmem@127.0.0.1:{server.port}/{database}?tls=no"
        index = PostgresVectors.open(url, options)
        request.addfinalizer(index.close)
        return index

    return made


def drawn(dice: random.Random, place: float) -> array[float]:
    return array("f", [place, *(dice.gauss(0, 1) for _ in range(DIMENSIONS - 1))])


def test_a_stream_that_is_a_small_part_of_the_table_is_found_whole(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, dice = opened(), random.Random(3)
    index.create("test-model", DIMENSIONS)
    index.upsert([VectorRow("tenant/other", f"o{n}", 1, drawn(dice, 9.0)) for n in range(1000)])
    index.upsert([VectorRow(STREAM, f"v{n}", 1, drawn(dice, -9.0)) for n in range(5)])
    graph_only = "select set_config('hnsw.ef_search', %s, false), set_config('enable_sort', 'off', false)"
    monkeypatch.setattr(driver, "_BREADTH", graph_only)
    found = index.search(STREAM, drawn(dice, 9.0), 5)
    assert {name for name, _ in found} == {f"v{n}" for n in range(5)}
    assert found == sorted(found, key=lambda pair: -pair[1])
    monkeypatch.setattr(driver, "_EXACT", driver._NEAR)  # the control
    assert index.search(STREAM, drawn(dice, 9.0), 5) == []


def test_many_dimensions_are_kept_as_halves_and_more_are_refused(opened: Opener) -> None:
    index, dice = opened(), random.Random(5)
    index.create("large-model", 3000)
    rows = [VectorRow(STREAM, f"v{n}", 1, [dice.gauss(0, 1) for _ in range(3000)]) for n in range(3)]
    index.upsert(rows)
    ((name, cosine),) = index.search(STREAM, rows[1].vector, 1)
    assert name == "v1" and cosine == pytest.approx(1.0, abs=1e-3)
    index.upsert(
        [VectorRow(STREAM, "long", 1, [1e40, *[0.0] * 2999]), VectorRow(STREAM, "short", 1, [1e-40] * 3000)]
    )
    assert index.search(STREAM, [1.0, *[0.0] * 2999], 1)[0][0] == "long"
    assert index.search(STREAM, [1.0] * 3000, 1)[0][0] == "short"
    with pytest.raises(UsageError):
        index.create("larger-model", 5000)


def test_vectors_that_cannot_be_compared_are_refused_before_they_are_sent(opened: Opener) -> None:
    index = opened()
    index.create("test-model", DIMENSIONS)
    for wrong in ([0.0] * DIMENSIONS, [1.0] * 3, [float("nan")] * DIMENSIONS, [float("inf"), 1.0, 1.0, 1.0]):
        with pytest.raises(UsageError):
            index.upsert([VectorRow(STREAM, "a", 1, wrong)])
        with pytest.raises(UsageError):
            index.search(STREAM, wrong, 1)
    assert index.count(STREAM) == 0


def test_several_clients_make_the_table_at_once(opened: Opener) -> None:
    failures: list[AntsmemError] = []

    def make(index: PostgresVectors) -> None:
        try:
            index.create("test-model", DIMENSIONS)
        except AntsmemError as error:
            failures.append(error)

    threads = [Thread(target=make, args=(opened(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_gone_and_back_what_was_acknowledged_is_found(opened: Opener, pgvector: engines.Server) -> None:
    index, hasty = opened(timeout_seconds="120"), opened(timeout_seconds="3")
    for each in (index, hasty):
        each.create("test-model", DIMENSIONS)
    rows = [VectorRow(STREAM, f"v{n}", 1, [float(n == place) for place in range(DIMENSIONS)]) for n in range(4)]
    index.upsert(rows)
    index.delete(STREAM, ["v1"])
    pgvector.kill()
    with pytest.raises(BackendError):
        hasty.search(STREAM, rows[0].vector, 1)
    pgvector.restart()
    assert index.count(STREAM) == 3
    assert index.search(STREAM, rows[2].vector, 1)[0][0] == "v2"


def test_a_server_without_the_extension_says_so_at_once(
    postgres: engines.Server, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(RefusedError, match="no extension"):
        opener(postgres, request)().create("test-model", DIMENSIONS)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        PostgresVectors.open("postgres://user:secret@host/x", {})
    assert "secret" not in str(caught.value)
