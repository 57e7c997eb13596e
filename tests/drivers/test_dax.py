"""Goal: rows go through a DAX cluster where there is one, no older one over a newer one, and errors are ours.

Method: Amazon's client with the nodes of its cluster played: what is asked passes its checks, is put into the
bytes of its protocol, and is then decided by moto; there is no server of DAX to be run. Then a cluster that is not
there, hangs or refuses; a node that answers old rows; no client installed. Control: the condition is taken away.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import engines
import pytest
from faultproxy import HttpProxy, Reply

from antsmem.core.errors import AntsmemError, BackendError, ConfigError, NotFoundError, RefusedError
from antsmem.drivers.dax import DaxCache
from antsmem.memory.roles import Row

pytestmark = pytest.mark.server
SCHEMA = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]


class Wire:
    """A socket that takes all."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        pass


class Nodes:
    """The nodes of a cluster: `wire` is what they were sent, `asked` what was meant, `rule` may answer first."""

    def __init__(self, api: Any) -> None:
        self.api, self.wire, self.asked = api, Wire(), []  # type: tuple[Any, Wire, list[tuple[str, Any]]]
        self.rule: Callable[[str, Any], Any] = lambda _name, _asked: None

    @contextmanager
    def get(self) -> Iterator[Any]:
        """A connection, as a client's pool gives it."""
        from amazondax.Tube import Tube
        from botocore.credentials import Credentials

        yield Tube(self.wire, None, lambda: Credentials("id", "key"), "us-east-1")

    def client(self) -> Any:
        """A client of one node."""
        from amazondax.DaxClient import DaxClient

        nodes = self

        class Fixed:
            def __init__(self, value: Any) -> None:
                self.value = value

            def get(self, *_: Any) -> Any:
                return self.value

        class Node(DaxClient):  # type: ignore[misc]
            def __init__(self, *_: Any, **_named: Any) -> None:
                super().__init__(nodes)
                self._key_cache, self._attr_list_id_cache = Fixed(SCHEMA), Fixed(1)

            def endpoints(self) -> list[dict[str, Any]]:
                if (told := nodes.rule("endpoints", {})) is not None:
                    return list(told)
                place = {"address": "127.0.0.1", "port": 8111, "ip_version": socket.AF_INET}
                return [{"node": 1, "hostname": "node", "role": 1, "az": "a", "leader_session_id": 1, **place}]

            def _decode_result(self, _name: str, _request: Any, _assembler: Any, _tube: Any) -> Any:
                return {}  # what came back is what `ask` gives

            def close(self) -> None:
                pass

            def get_item(self, **asked: Any) -> Any:
                return self.ask("get_item", asked)

            def put_item(self, **asked: Any) -> Any:
                return self.ask("put_item", asked)

            def delete_item(self, **asked: Any) -> Any:
                return self.ask("delete_item", asked)

            def ask(self, name: str, asked: Any) -> Any:
                getattr(super(), name)(**asked)
                nodes.asked.append((name, asked))
                told = nodes.rule(name, asked)
                return getattr(nodes.api, name)(**asked) if told is None else told

        return Node


@pytest.fixture
def query(moto: engines.Server, request: pytest.FixtureRequest) -> str:
    """A table that is there, and where it is."""
    text = f"table-{uuid.uuid4().hex[:8]}?tls=no&endpoint=http://127.0.0.1:{moto.port}&timeout_seconds=20"
    cache = opened(f"dax:///{text}", request)
    cache.create()
    return text


def opened(url: str, request: pytest.FixtureRequest) -> DaxCache:
    keys = {"access_key_id": uuid.uuid4().hex, "secret_access_key": uuid.uuid4().hex}
    cache = DaxCache.open(url, keys)
    request.addfinalizer(cache.close)
    return cache


@pytest.fixture
def nodes(query: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    from amazondax.Cluster import Cluster

    played = Nodes(opened(f"dax:///{query}", request)._client.api)
    node = played.client()
    monkeypatch.setattr(Cluster, "_new_client", lambda _self, *_words, **_named: node())
    return played


@pytest.fixture
def cache(query: str, nodes: Nodes, request: pytest.FixtureRequest) -> DaxCache:
    return opened(f"dax://127.0.0.1:8111/{query}", request)


def test_rows_go_through_the_cluster_and_none_over_a_newer_one(cache: DaxCache, nodes: Nodes) -> None:
    before = threading.active_count()
    assert cache.get("tenant/agent") is None
    assert cache.set_if_newer("tenant/agent", Row(5, b"sealed" * 9)) and b"sealed" * 9 in nodes.wire.sent
    for version in (4, 5):
        assert not cache.set_if_newer("tenant/agent", Row(version, b"other"))
    assert cache.set_if_newer("tenant/agent", Row(10, b""))
    assert cache.get("tenant/agent") == Row(10, b"")
    cache.delete("tenant/agent")
    assert cache.get("tenant/agent") is None
    assert [name.partition("_")[0] for name, _ in nodes.asked] == "get put put put put get delete get".split()
    assert not any(asked["ConsistentRead"] for name, asked in nodes.asked if name == "get_item")
    assert b"tenant" not in nodes.wire.sent
    assert cache.inspect().facts == {"through": "DAX"}
    cache.close()
    give_up = time.monotonic() + 120
    while threading.active_count() > before:  # the client's own, which end when they wake
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_an_old_row_from_a_node_says_so_by_its_version_and_puts_nothing_back(
    cache: DaxCache, nodes: Nodes
) -> None:
    cache.set_if_newer("key", Row(7, b"new"))
    _, put = nodes.asked[-1]
    old = {**put["Item"], "version": {"N": "3"}, "value": {"B": b"old"}}
    nodes.rule = lambda name, _asked: {"Item": old} if name == "get_item" else None
    assert cache.get("key") == Row(3, b"old")
    assert not cache.set_if_newer("key", Row(6, b"between"))  # the table decides, not what a node remembers
    nodes.rule = lambda _name, _asked: None
    assert cache.get("key") == Row(7, b"new")


def test_control_without_the_condition_an_older_row_takes_the_place(cache: DaxCache, nodes: Nodes) -> None:
    def unconditional(name: str, asked: Any) -> Any:
        bare = {part: asked[part] for part in ("TableName", "Item") if part in asked}
        return nodes.api.put_item(**bare) if name == "put_item" else None

    nodes.rule = unconditional
    assert cache.set_if_newer("key", Row(7, b"new")) and cache.set_if_newer("key", Row(3, b"old"))
    assert cache.get("key") == Row(3, b"old")


def test_an_error_of_the_cluster_is_ours_and_repeats_nothing_of_it(
    query: str, nodes: Nodes, request: pytest.FixtureRequest
) -> None:
    from amazondax.DaxError import DaxClientError, DaxErrorCode, DaxServiceError

    secret = "said by " + "the cluster"
    failures: list[tuple[Exception, type[AntsmemError]]] = [
        (DaxClientError(secret, DaxErrorCode.NoRoute), BackendError),
        (DaxServiceError("PutItem", secret, [4, 37, 38, 39, 50], "id", None, 400), BackendError),
        (DaxServiceError("PutItem", secret, [4, 37, 38, 39, 40], "id", None, 400), BackendError),
        (DaxServiceError("PutItem", secret, [3, 37, 54], "id", None, 500), BackendError),
        (DaxServiceError.from_no_more_data_exception("PutItem", EOFError(secret)), BackendError),
        (TimeoutError(secret), BackendError),
        (DaxServiceError("PutItem", secret, [4, 37, 38, 39, 41], "id", None, 400), NotFoundError),
        (DaxServiceError("PutItem", secret, [4, 37, 38, 39, 46], "id", None, 400), RefusedError),
        (DaxServiceError("PutItem", secret, [4, 37, 38, 42], "id", None, 400), RefusedError),
        (DaxServiceError("PutItem", secret, [4, 37, 38, 44], "id", None, 400), RefusedError),
    ]
    cache = opened(f"dax://127.0.0.1:8111/{query.replace('seconds=20', 'seconds=0.3')}", request)
    cache.get("key")
    for failure, kind in failures:

        def fail(name: str, _asked: Any, failure: Exception = failure) -> Any:
            if name == "put_item":
                raise failure

        nodes.rule = fail
        with pytest.raises(kind) as caught:
            cache.set_if_newer("key", Row(1, b"1"))
        assert secret not in f"{caught.value}{caught.value.hint}"
    nodes.rule = lambda _name, _asked: None
    assert cache.set_if_newer("key", Row(1, b"1"))


def test_a_cluster_that_is_not_there_or_hangs_is_an_error_in_time(
    query: str, request: pytest.FixtureRequest
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (engines.free_port(), silent.getsockname()[1]):
            cache = opened(f"dax://127.0.0.1:{port}/{query.replace('seconds=20', 'seconds=0.5')}", request)
            with pytest.raises(BackendError):
                cache.get("key")


def test_without_the_client_the_table_itself_is_asked(
    query: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("antsmem.drivers.dax.find_spec", lambda _name: None)
    cache = opened(f"dax://cluster.invalid/{query}", request)
    assert cache.set_if_newer("key", Row(1, b"1")) and cache.get("key") == Row(1, b"1")
    assert cache.inspect().facts == {"through": "DynamoDB itself"}


def test_a_lost_answer_puts_a_row_once(moto: engines.Server, query: str, request: pytest.FixtureRequest) -> None:
    proxy = HttpProxy(moto.port)
    request.addfinalizer(proxy.close)
    cache = opened(f"dax:///{query.replace(str(moto.port), str(proxy.port))}", request)
    left = [Reply(503, b"{}")]
    proxy.after = lambda _method, _path: left.pop() if left else None
    cache.set_if_newer("key", Row(2, b"2"))
    assert cache.get("key") == Row(2, b"2") and not cache.set_if_newer("key", Row(1, b"1"))


def test_a_row_ends_by_itself(cache: DaxCache, nodes: Nodes) -> None:
    from antsmem.core.clock import now_ns

    before = now_ns() // 1_000_000_000
    cache.set_if_newer("key", Row(1, b"1"))
    expires = int(nodes.asked[-1][1]["Item"]["expires"]["N"])
    assert before <= expires - 7 * 86400 <= now_ns() // 1_000_000_000


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("dax://", {}),
        ("dax:///", {}),
        ("dax://cluster", {}),
        ("dax://cluster/no/table", {}),
        ("dax://user:secret@cluster/table", {}),
        ("dax:///secret@table", {}),
        ("dax:///table?secret_access_key=secret", {}),
        ("dax:///table", {"access_key_id": "secret"}),
        ("dax:///table?keep_days=0", {}),
        ("dax:///table?endpoint=nowhere", {}),
        ("dax:///table", {"password": "secret"}),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        DaxCache.open(url, options)
    assert "secret" not in str(caught.value).replace("secret_access_key", "")
