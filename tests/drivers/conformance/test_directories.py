"""Every directory has one owner a name, and a fence that only grows. Method: one suite for each driver, leases
short enough to wait for; those of several servers behind a proxy that loses answers, and with servers killed.
Control: an owner who looks at nothing but its own clock is told by the fence that it is none any more."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from typing import Any

import engines
import engines_stores
import pytest
from faultproxy import HttpProxy, Reply
from racing import together
from roles import Backend, backend, drivers

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError
from antsmem.drivers.consul import ConsulDirectory
from antsmem.drivers.etcd import EtcdDirectory
from antsmem.memory.roles import Directory, Lease

LONG, SHORT, SECOND = 60.0, 1.2, 1_000_000_000
SERVED: dict[str, Any] = {"consul": ConsulDirectory, "etcd": EtcdDirectory}
LOST = {
    "consul": ("/v1/txn$", "/v1/session/create$", "/v1/catalog/register$", "[?]consistent=$"),
    "etcd": ("kv/txn$",),
}
"""The requests that make a lease: one of them loses its answer."""
LOST_LATER = {"consul": ("session/renew/", "session/destroy/"), "etcd": ("lease/keepalive$", "kv/txn$")}
"""The request that renews it, and the one that ends it: their answers are lost too."""
CLUSTERS = {"consul": engines_stores.consul_cluster, "etcd": engines_stores.etcd_cluster}


@pytest.fixture(params=drivers("directory"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("directory", request)


@pytest.fixture
def name() -> str:
    return f"tenant/agent-{os.urandom(4).hex()}"


def test_one_owns_it_until_it_is_released(made: Backend, name: str) -> None:
    directory: Directory = made.open()
    other: Directory = made.open()
    assert directory.owner(name) is None
    lease = directory.acquire(name, "a", LONG)
    assert lease is not None and (lease.name, lease.owner) == (name, "a")
    assert other.acquire(name, "b", LONG) is None
    owner = other.owner(name)
    assert owner is not None and (owner.owner, owner.fence) == ("a", lease.fence)
    again = directory.acquire(name, "a", LONG)
    assert again is not None and again.fence == lease.fence
    directory.release(again)
    assert other.owner(name) is None
    next_ = other.acquire(name, "b", LONG)
    assert next_ is not None and next_.fence > lease.fence
    directory.release(again)  # it is not this one any more
    assert directory.owner(name) is not None
    other.release(next_)


def test_an_expiry_is_never_told_later_than_it_is(made: Backend, name: str) -> None:
    directory: Directory = made.open()
    before = now_ns()
    lease = directory.acquire(name, "a", 3)
    assert lease is not None and before <= lease.expires_ns - 3 * SECOND <= now_ns()
    owner = made.open().owner(name)
    assert owner is not None and owner.expires_ns <= now_ns() + 3 * SECOND
    before = now_ns()
    renewed = made.open().renew(lease)
    assert renewed is not None and before <= renewed.expires_ns - 3 * SECOND <= now_ns()


def test_what_ended_is_lost_and_the_next_owner_has_a_higher_fence(made: Backend, name: str) -> None:
    directory: Directory = made.open()
    other: Directory = made.open()
    lease = directory.acquire(name, "a", SHORT)
    assert lease is not None
    give_up = time.monotonic() + 30
    taken: Lease | None = None
    while taken is None and time.monotonic() < give_up:
        time.sleep(0.1)
        taken = other.acquire(name, "b", LONG)
    assert taken is not None and taken.fence > lease.fence  # what the first writes now is refused by who compares
    assert directory.renew(lease) is None
    directory.release(lease)
    owner = other.owner(name)
    assert owner is not None and owner.owner == "b"
    directory.release(taken)


def test_a_renewed_lease_outlives_its_first_end(made: Backend, name: str) -> None:
    directory: Directory = made.open()
    for seconds in (SHORT, 5 * SHORT, 25 * SHORT):  # a machine that comes too late to renew one gets a longer one
        lease: Lease | None = directory.acquire(f"{name}-{seconds}", "a", seconds)
        for _ in range(4):
            time.sleep(seconds / 3)
            lease = None if lease is None else directory.renew(lease)
        if lease is not None and directory.acquire(lease.name, "b", LONG) is None:
            directory.release(lease)
            return
    pytest.fail("no lease was renewed")


def test_of_many_who_ask_at_once_one_gets_it(made: Backend, name: str) -> None:
    directories: list[Directory] = [made.open() for _ in range(4)]
    found: list[Lease | None] = [None] * 4

    def ask(place: int) -> None:
        found[place] = directories[place].acquire(name, f"owner-{place}", LONG)

    together([partial(ask, place) for place in range(4)])
    (won,) = [lease for lease in found if lease is not None]
    directories[0].release(won)


@pytest.mark.server
@pytest.mark.parametrize(("kind", "lost"), [(kind, lost) for kind in LOST for lost in LOST[kind]])
def test_an_answer_lost_on_the_way_gives_no_second_owner_and_no_second_fence(
    kind: str, lost: str, name: str, request: pytest.FixtureRequest, closing: engines.Closing
) -> None:
    server = request.getfixturevalue(kind)
    http = closing(HttpProxy(server.port))

    def opened(port: int) -> Directory:
        return closing(SERVED[kind].open(f"{kind}://127.0.0.1:{port}/lost?tls=no", {}))

    def losing(pattern: str) -> Directory:
        """The first answer to such a path is lost on the way back."""
        left = [Reply(502, b"{}")]
        http.after = lambda _method, asked: left.pop() if left and re.search(pattern, asked) else None
        return opened(http.port)

    lease = losing(lost).acquire(name, "a", LONG)
    there = opened(server.port).owner(name)
    assert lease is not None and there is not None and lease.fence == there.fence
    assert opened(server.port).acquire(name, "b", LONG) is None
    at_renewal, at_release = LOST_LATER[kind]
    renewed = losing(at_renewal).renew(lease)
    assert renewed is not None and renewed.fence == lease.fence
    losing(at_release).release(lease)
    taken = opened(server.port).acquire(name, "b", LONG)
    assert taken is not None and taken.fence > lease.fence


@pytest.mark.server
@pytest.mark.parametrize("kind", CLUSTERS)
def test_without_a_majority_nobody_becomes_owner_and_a_lease_outlives_the_server_that_gave_it(
    kind: str, name: str, closing: engines.Closing
) -> None:
    if kind == "consul" and not engines_stores.CONSUL.exists():
        pytest.skip("Consul is not here: tests/consul.sh")
    servers = [engines.started(closing(server)) for server in CLUSTERS[kind]()]

    def at(*order: int, seconds: int) -> Directory:
        places = ",".join(f"127.0.0.1:{servers[place].port}" for place in order)
        return closing(SERVED[kind].open(f"{kind}://{places}/cluster?tls=no", {"timeout_seconds": str(seconds)}))

    patient = at(0, 1, 2, seconds=60)
    lease = patient.acquire(name, "a", 300)
    assert lease is not None
    servers[0].kill()  # a minority, and the one that was asked
    renewed = patient.renew(lease)
    assert renewed is not None and renewed.fence == lease.fence
    assert at(0, 1, 2, seconds=60).acquire(name, "b", LONG) is None
    servers[1].kill()
    hasty = at(2, 1, 0, seconds=2)
    for ask in (lambda: hasty.acquire("other", "b", LONG), lambda: hasty.owner(name), lambda: hasty.renew(lease)):
        with pytest.raises(BackendError):
            ask()
    servers[1].restart()
    there = patient.owner(name)
    assert there is not None and (there.owner, there.fence) == ("a", lease.fence)
    assert patient.acquire(name, "b", LONG) is None
