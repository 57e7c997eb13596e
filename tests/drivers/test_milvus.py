"""Goal: what Milvus acknowledged is found again when it was gone and is back; while it is gone, calls end in time.

Method: the real server, killed within a write and started again on its data. Control: an `insert` in the place of
our `upsert` leaves the old vector to be found.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from array import array
from typing import Any

import engines
import pymilvus
import pytest
from doomed import Doomed

from antsmem.core.errors import BackendError, ConfigError, NotFoundError, UsageError
from antsmem.drivers.milvus import MilvusIndex, _entity, _key
from antsmem.memory.roles import VectorRow

STREAM, DIMENSIONS = "tenant/agent", 4


def axis(place: int) -> array[float]:
    return array("f", [float(place == each) for each in range(DIMENSIONS)])


@pytest.mark.server
def test_gone_and_back_nothing_acknowledged_is_lost_and_nothing_doubled(
    milvus: engines.Server, request: pytest.FixtureRequest
) -> None:
    url = f"milvus://127.0.0.1:{milvus.port}/gone?tls=no"
    index, hasty = (
        MilvusIndex.open(url, {"timeout_seconds": "120"}),
        MilvusIndex.open(url, {"timeout_seconds": "1"}),
    )
    for each in (index, hasty):
        request.addfinalizer(each.close)
        each._collection = "gone"
    index.create("test-model", DIMENSIONS)
    hasty._collection = index._collection
    index.upsert([VectorRow(STREAM, f"v{place}", 1, axis(place)) for place in range(4)])
    index.upsert([VectorRow(STREAM, "v0", 2, axis(3), "local")])  # to the other partition
    index.delete(STREAM, ["v1"])
    rows = [VectorRow(STREAM, "v2", 2, axis(1)), VectorRow(STREAM, "x", 1, axis(0))]
    with pytest.raises(BackendError):
        Doomed(hasty, milvus, "upsert", 1).upsert(rows)
    with pytest.raises(BackendError):
        hasty.search(STREAM, axis(0), 1)
    milvus.restart()
    assert index.count(STREAM) == 3
    assert sorted(name for name, _ in index.search(STREAM, axis(3), 9)) == ["v0", "v2", "v3"]
    for _ in range(2):
        index.upsert(rows)
        assert index.count(STREAM) == 4
    assert index.search(STREAM, axis(1), 1)[0][0] == "v2"
    control(index)


def control(index: MilvusIndex) -> None:
    """Milvus keeps both rows of a key that is inserted twice, and counts them."""
    before = index.count(STREAM)
    entity = _entity(_key(STREAM, "v3"), VectorRow(STREAM, "v3", 9, axis(2)))
    index._run(lambda api: api.insert(index._collection, data=[entity], partition_name="shared"))
    assert index.count(STREAM) == before + 1


@pytest.mark.server
def test_what_the_server_says_is_told_by_our_error_alone(
    milvus: engines.Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """The library prints a traceback for each failure, in the server's words."""
    index = MilvusIndex.open(f"milvus://127.0.0.1:{milvus.port}?tls=no", {})
    index._collection = "nowhere"
    with pytest.raises(NotFoundError):
        index.count(STREAM)
    index.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.server
def test_a_collection_that_was_left_half_made_is_finished(
    milvus: engines.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = MilvusIndex.open(f"milvus://127.0.0.1:{milvus.port}/half?tls=no", {"timeout_seconds": "120"})
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(pymilvus.client.grpc_handler.GrpcHandler, "create_index", _die)
        index.create("test-model", DIMENSIONS)
    index.create("test-model", DIMENSIONS)
    index.upsert([VectorRow(STREAM, "v", 1, axis(0))])
    assert [name for name, _ in index.search(STREAM, axis(0), 1)] == ["v"]
    index.close()


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_the_library_is_kept_from_loading_a_dotenv_that_lies_above_it() -> None:
    """It looks upward from its own folder: into the workspace, where the environment lies there."""
    script = (
        "import dotenv.main, sys\n"
        "dotenv.main.find_dotenv = lambda *_, **__: sys.argv[1]\n"
        "from antsmem.core.errors import BackendError\n"
        "from antsmem.drivers.milvus import MilvusIndex\n"
        "try: MilvusIndex.open('milvus://127.0.0.1:1/x?tls=no', {'timeout_seconds': '1'}).count('s')\n"
        "except BackendError: pass\n"
        "import os; print(os.environ.get('OF_THE_AGENT'))"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write("OF_THE_AGENT=told\n")
        file.flush()
        run = subprocess.run([sys.executable, "-c", script, file.name], capture_output=True, text=True, check=True)
    assert run.stdout == "None\n"


def test_what_does_not_fit_is_refused_before_it_is_sent() -> None:
    index = MilvusIndex.open("milvus://host", {})
    with pytest.raises(UsageError):
        index.upsert([VectorRow(STREAM, "x" * 2000, 1, axis(0))])


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("milvus://", {}),
        ("milvus://user:secret@host/x", {}),
        ("milvus://host/two/parts", {}),
        ("milvus://host/x?token=secret", {}),
        ("milvus://host/x", {"username": "kim"}),
        ("milvus://host,other/x", {}),
        ("milvus://host/x?tls=no", {"token": "secret"}),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        MilvusIndex.open(url, options)
    assert "secret" not in str(caught.value)
