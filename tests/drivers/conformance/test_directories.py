"""Every directory has one owner a name, and a fence that only grows. Method: one suite for each driver, leases
short enough to wait for."""

from __future__ import annotations

import os
import threading
import time

import pytest
from roles import Backend, backend, drivers

from antsmem.memory.roles import Directory, Lease

LONG, SHORT = 60.0, 1.2


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


def test_what_ended_is_lost_and_the_next_owner_has_a_higher_fence(made: Backend, name: str) -> None:
    directory: Directory = made.open()
    lease = directory.acquire(name, "a", SHORT)
    assert lease is not None
    give_up = time.monotonic() + 30
    taken: Lease | None = None
    while taken is None and time.monotonic() < give_up:
        time.sleep(0.1)
        taken = directory.acquire(name, "b", LONG)
    assert taken is not None and taken.fence > lease.fence
    assert directory.renew(lease) is None
    directory.release(lease)
    owner = directory.owner(name)
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

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [lease for lease in found if lease is not None]
    directories[0].release(won)
