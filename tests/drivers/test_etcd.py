"""Goal: what etcd refuses is told with what to do, and who is logged in stays so.

Method: a real member behind a proxy that answers for it. What every directory must do is in `conformance/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import engines
import pytest
from faultproxy import HttpProxy, Reply

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, ConfigError, RefusedError
from antsmem.drivers.etcd import EtcdDirectory

pytestmark = pytest.mark.server
Opener = Callable[..., EtcdDirectory]
NAME = "tenant/agent"


@pytest.fixture
def opened(etcd: engines.Server, closing: engines.Closing) -> Opener:
    def made(port: int, **options: str) -> EtcdDirectory:
        return closing(EtcdDirectory.open(f"etcd://127.0.0.1:{port}/prefix-{now_ns()}?tls=no", options))

    return made


@pytest.fixture
def http(etcd: engines.Server, closing: engines.Closing) -> HttpProxy:
    return closing(HttpProxy(etcd.port))


def answer(told: object, status: int = 200) -> Callable[[str, str], Reply | None]:
    return lambda _method, _path: Reply(status, json.dumps(told).encode())


def test_an_error_says_what_to_do_and_shows_no_secret(opened: Opener, http: HttpProxy) -> None:
    secret = "pass" + "word-of-the-test"
    directory = opened(http.port, timeout_seconds="0.3", username="kim", password=secret)
    for rule, kind in [
        (answer({"error": secret, "code": 14}, 503), BackendError),
        (answer({"error": secret, "code": 3, "message": secret}, 400), RefusedError),
        (answer({"error": secret, "code": 7}, 403), RefusedError),
        (answer(["no object"]), BackendError),
        (lambda _method, _path: Reply(200, b"<html>"), BackendError),
    ]:
        http.rule = rule
        with pytest.raises(kind) as caught:
            directory.owner(NAME)
        assert secret not in f"{caught.value}{caught.value.hint}{directory!r}"
    with pytest.raises(BackendError):
        opened(engines.free_port(), timeout_seconds="0.2").owner(NAME)


def test_a_token_that_ended_is_fetched_again(opened: Opener, http: HttpProxy) -> None:
    tokens = iter("abc")
    used: list[str] = []

    def rule(_method: str, path: str) -> Reply | None:
        if path.endswith("auth/authenticate"):
            used.append(next(tokens))
            return Reply(200, json.dumps({"token": used[-1]}).encode())
        return Reply(401, b'{"code": 16, "error": "invalid auth token"}') if len(used) < 2 else None

    http.rule, http.without = rule, {"authorization"}
    assert opened(http.port, username="kim", password="any").owner(NAME) is None
    assert used == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("etcd://", {}),
        ("etcd://user:secret@host/x", {}),
        ("etcd://host/x?password=secret", {}),
        ("etcd://host/x", {"username": "kim"}),
        ("etcd://host/x", {"key_file": "x"}),
        ("etcd://host/x", {"ca_file": "/nowhere/ca"}),
        ("etcd://host/x?tls=no", {"username": "kim", "password": "secret"}),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        EtcdDirectory.open(url, options)
    assert "secret" not in str(caught.value)
