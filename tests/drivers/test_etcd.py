"""Goal: etcd names one owner at a time, and only with a majority; a lost answer never gives a second fence.

Method: a real cluster of three whose members are killed; one member behind a proxy that loses answers. Control: an
owner who looks at nothing but its own clock is told by the fence that it is none any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import engines
import engines_stores
import pytest
from faultproxy import HttpProxy, Reply

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, ConfigError, RefusedError
from antsmem.drivers.etcd import EtcdDirectory

pytestmark = pytest.mark.server
Opener = Callable[..., EtcdDirectory]
NAME = "tenant/agent"


@pytest.fixture
def opened(etcd: engines.Server, request: pytest.FixtureRequest) -> Opener:
    prefix = f"prefix-{now_ns()}"

    def made(port: int | None = None, **options: str) -> EtcdDirectory:
        directory = EtcdDirectory.open(f"etcd://127.0.0.1:{port or etcd.port}/{prefix}?tls=no", options)
        request.addfinalizer(directory.close)
        return directory

    return made


@pytest.fixture
def http(etcd: engines.Server) -> Iterator[HttpProxy]:
    proxy = HttpProxy(etcd.port)
    yield proxy
    proxy.close()


def lost_once(path: str) -> Callable[[str, str], Reply | None]:
    """The first answer to `path` is lost on the way back."""
    left = [Reply(502, b"{}")]
    return lambda _method, asked: left.pop() if asked.endswith(path) and left else None


def test_an_answer_lost_on_the_way_gives_no_second_owner_and_no_second_fence(
    opened: Opener, http: HttpProxy
) -> None:
    http.after = lost_once("kv/txn")
    lease = opened(http.port).acquire(NAME, "a", 60)
    there = opened().owner(NAME)
    assert lease is not None and there is not None and lease.fence == there.fence
    assert opened().acquire(NAME, "b", 60) is None
    http.after = lost_once("kv/txn")
    opened(http.port).release(lease)
    taken = opened().acquire(NAME, "b", 60)
    assert taken is not None and taken.fence > lease.fence


def test_an_expiry_is_never_told_later_than_it_is(opened: Opener) -> None:
    directory = opened()
    before = now_ns()
    lease = directory.acquire(NAME, "a", 30)
    assert lease is not None and before <= lease.expires_ns - 30_000_000_000 <= now_ns()
    owner = opened().owner(NAME)
    assert owner is not None and owner.expires_ns <= now_ns() + 30_000_000_000


def test_control_who_trusts_its_own_clock_is_found_out_by_the_fence(opened: Opener) -> None:
    directory, give_up = opened(), time.monotonic() + 120
    sleeper = directory.acquire(NAME, "a", 1)
    while (taken := opened().acquire(NAME, "b", 60)) is None:
        assert time.monotonic() < give_up
        time.sleep(0.2)
    assert sleeper is not None and taken.fence > sleeper.fence  # what it writes now is refused by who compares
    assert directory.renew(sleeper) is None
    directory.release(sleeper)
    assert opened().owner(NAME) is not None


def test_without_a_majority_nobody_becomes_owner_and_with_one_again_work_goes_on(
    request: pytest.FixtureRequest,
) -> None:
    members = engines_stores.etcd_cluster()
    for member in members:
        request.addfinalizer(member.close)
        engines.started(member)
    places = ",".join(f"127.0.0.1:{member.port}" for member in members)
    url = f"etcd://{places}/cluster?tls=no"
    patient = EtcdDirectory.open(url, {"timeout_seconds": "60"})
    request.addfinalizer(patient.close)
    lease = patient.acquire(NAME, "a", 300)
    assert lease is not None
    members[0].kill()  # a minority: asked again at the others
    renewed = patient.renew(lease)
    assert renewed is not None and renewed.fence == lease.fence
    members[1].kill()
    hasty = EtcdDirectory.open(url, {"timeout_seconds": "1"})
    request.addfinalizer(hasty.close)
    for ask in (lambda: hasty.acquire("other", "b", 60), lambda: hasty.owner(NAME), lambda: hasty.renew(lease)):
        with pytest.raises(BackendError):
            ask()
    members[0].restart()
    there = patient.owner(NAME)
    assert there is not None and (there.owner, there.fence) == ("a", lease.fence)
    assert patient.acquire(NAME, "b", 60) is None


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
