"""Every cache keeps the newest version it was shown, or nothing. Method: one suite for each driver."""

from __future__ import annotations

import os
from functools import partial

import pytest
from racing import together
from roles import Backend, backend, drivers

from antsmem.memory.embedded.caches import MemoryCache
from antsmem.memory.roles import Cache, Row


@pytest.fixture(params=drivers("cache"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("cache", request)


def test_an_older_row_never_takes_the_place_of_a_newer_one(made: Backend) -> None:
    cache: Cache = made.open()
    key = f"k/{os.urandom(4).hex()}"
    assert cache.get(key) is None
    assert cache.set_if_newer(key, Row(5, b"five"))
    for version in (4, 5):
        assert not cache.set_if_newer(key, Row(version, b"other"))
    assert cache.get(key) == Row(5, b"five")
    assert cache.set_if_newer(key, Row(10, b""))
    assert cache.get(key) == Row(10, b"")
    cache.delete(key)
    cache.delete(key)
    assert cache.get(key) is None and cache.set_if_newer(key, Row(1, b"\0\xff\r\n"))
    assert cache.get(key) == Row(1, b"\0\xff\r\n")
    cache.close()


@pytest.mark.parametrize("key", ["tenant/agent/ü €", "x" * 400, "a b\r\nget x\r\n", "{slot}"])
def test_a_key_may_be_any_text(made: Backend, key: str) -> None:
    cache: Cache = made.open()
    other = key + "2"
    assert cache.set_if_newer(key, Row(1, b"1")) and cache.set_if_newer(other, Row(2**52, b"2"))
    assert (cache.get(key), cache.get(other)) == (Row(1, b"1"), Row(2**52, b"2"))
    cache.delete(key)
    cache.delete(other)
    cache.close()


def test_writers_in_any_order_leave_the_newest(made: Backend) -> None:
    caches: list[Cache] = [made.open() for _ in range(4)]
    key = f"k/{os.urandom(4).hex()}"

    def write(place: int) -> None:
        for version in range(place + 1, 101, 4):
            caches[place].set_if_newer(key, Row(version, str(version).encode()))

    together([partial(write, place) for place in range(4)])
    assert caches[0].get(key) == Row(100, b"100")


def test_the_embedded_cache_drops_what_was_not_used_for_longest() -> None:
    cache = MemoryCache(max_bytes=30)
    for name in "abc":
        cache.set_if_newer(name, Row(1, bytes(10)))
    cache.get("a")
    cache.set_if_newer("d", Row(1, bytes(10)))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
