"""Goal: every store keeps the contract of `antsmem/backup/store.py`, so the engine need not know which it has.

Method: one suite, run for each driver against its real server (moto for S3, OpenSSH's sshd, rclone for WebDAV; a
folder is its own server). Where a driver says it cannot promise something, the test asks for what it does promise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from places import Place
from racing import patiently

from antsmem.core.clock import now_ns
from antsmem.core.errors import (
    BackendError,
    ConfigError,
    ConflictError,
    NotFoundError,
    UsageError,
    WouldOverwriteError,
)

BIG = os.urandom(20 << 20)


def test_bytes_come_back_as_they_were_put(place: Place) -> None:
    store = place.open()
    for name, parts in {
        "packs/empty.age": [],
        "packs/empty-parts.age": [b"", b""],
        "packs/one.age": [b"x"],
        "packs/kinds.age": [b"by", bytearray(b"te"), memoryview(b"_s_")[1:2]],
        "packs/big.age": [BIG[:1], memoryview(BIG)[1 : 17 << 20], BIG[17 << 20 :]],
    }.items():
        expected = b"".join(parts)
        store.put(name, parts)
        assert store.get(name) == expected
        assert b"".join(store.download(name)) == expected
        found = store.stat(name)
        assert found is not None
        assert (found.name, found.size_bytes) == (name, len(expected))
        assert abs(found.modified_ns - now_ns()) < 60_000_000_000


def test_an_object_that_need_not_be_durable_is_there_all_the_same(place: Place) -> None:
    store = place.open()
    store.put("index/1.age", [b"derived"], durable=False)
    assert store.get("index/1.age") == b"derived"


def test_a_stream_is_stored_whole(place: Place) -> None:
    store = place.open()
    for sizes in ([], [0], [1], [5, 0, 7], [1 << 20] * 3, [(16 << 20) + 1], [9 << 20, 1, 9 << 20]):
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        store.upload("cold/a.age", (BIG[at : at + size] for at, size in zip(starts, sizes, strict=True)))
        assert store.get("cold/a.age") == BIG[: sum(sizes)]
        assert place.leftovers() == 0


def test_a_stream_replaces_what_was_there(place: Place) -> None:
    store = place.open()
    store.put("cold/a", [b"old" * 100])
    store.upload("cold/a", iter([b"new"]))
    assert store.get("cold/a") == b"new"


def test_a_stream_that_fails_leaves_nothing_and_its_error_goes_on(place: Place) -> None:
    store = place.open()
    failures = [OSError(5, "their disk"), UsageError("theirs"), ZeroDivisionError(), KeyboardInterrupt()]
    for failure, after_bytes in [
        *((failure, 1000) for failure in failures),
        (failures[0], 0),
        (failures[1], 17 << 20),
    ]:

        def chunks(failure: BaseException = failure, after_bytes: int = after_bytes) -> Iterator[bytes]:
            if after_bytes:
                yield BIG[:after_bytes]
            raise failure

        with pytest.raises(type(failure)) as caught:
            store.upload("cold/a", chunks())
        assert caught.value is failure
        assert store.stat("cold/a") is None
        assert store.list("cold") == []
        if place.drops_at_once:
            assert place.leftovers() == 0
    store.put("cold/a", [b"still fit for use"])
    assert store.get("cold/a") == b"still fit for use"


def test_a_range_is_cut_at_its_borders(place: Place) -> None:
    store = place.open()
    for size in (1, 10, (31 << 10) * 3 + 5):
        data = BIG[:size]
        store.put("packs/a", [data])
        for start in {0, 1, size // 2, size - 1, size, size + 10_000}:
            for length in (None, 0, 1, size - 1, size, size + 1):
                expected = data[start:] if length is None else data[start : start + length]
                assert store.get("packs/a", start, length) == expected, (start, length)


def test_a_name_that_is_not_there_is_told_in_each_way(place: Place) -> None:
    store = place.open()
    store.put("packs/b", [b"another"])
    for name in ("packs/a", "nowhere/a", "a"):
        assert store.stat(name) is None
        assert store.read(name) is None
        store.delete(name)
        for call in (store.get, lambda n: store.get(n, 3, 0), lambda n: next(store.download(n))):
            with pytest.raises(NotFoundError):
                call(name)
    assert store.list("nowhere") == []


def test_a_place_without_a_repository_holds_nothing_and_takes_only_its_first_object(place: Place) -> None:
    store = place.open(made=False)
    assert store.stat("repository.json") is None
    assert store.read("repository.json") is None
    store.delete("packs/a")
    if place.has_folders:
        for call in (
            lambda: store.put("packs/a", [b"x"]),
            lambda: store.put("README", [b"x"]),
            lambda: store.upload("cold/a", iter([b"x"])),
            lambda: store.swap("anchors/a", b"x", None),
            lambda: store.list(""),
            lambda: store.list("packs"),
            lambda: store.sweep(0),
        ):
            with pytest.raises(NotFoundError, match="no repository at"):
                call()
    store.put("repository.json", [b"{}"], new=True)
    store.put("packs/a", [b"x"])
    assert store.get("packs/a") == b"x"


def test_a_name_that_no_object_may_have_reaches_no_store(place: Place) -> None:
    store = place.open()
    calls: list[Callable[[str], object]] = [
        lambda name: store.put(name, [b"x"]),
        lambda name: store.upload(name, iter([b"x"])),
        store.get,
        lambda name: store.get(name, 0, 0),
        lambda name: next(store.download(name)),
        store.stat,
        store.delete,
        store.read,
        lambda name: store.swap(name, b"x", None),
        lambda name: store.swap(name, b"x", "token"),
        lambda name: store.list(name or ".."),
    ]
    for name in (
        "", "/", "a/", "/a", "a//b", "a/b/c", ".", "..", "../a", "a/..", "a/.b", ".a", "-a", "a b", "a\n", "ä",
        "a" * 201, "a\0", "a\\b", "a?b", "a%2e",
    ):  # fmt: skip
        for call in calls:
            with pytest.raises(UsageError, match="cannot name an object"):
                call(name)


def test_every_name_that_an_object_may_have_works(place: Place) -> None:
    store = place.open()
    names = [
        "A",
        "z9.-_",
        "f/0",
        "f/" + "n" * 200,
        "Folder.with-all_9/Name.with-all_9",
        "f/a.tmp",
        "f/x~"[:-1] + "-",
    ]
    for name in names:
        store.put(name, [name.encode()])
    for name in names:
        assert store.get(name) == name.encode()
    assert {found.name for found in store.list("f")} == {name for name in names if name.startswith("f/")}
    assert {found.name for found in store.list("")} == {"repository.json", "A", "z9.-_"}


def test_a_listing_tells_size_and_time_of_what_is_directly_in_a_folder(place: Place) -> None:
    store = place.open()
    store.put("packs/a", [b"12345"])
    store.put("packs/b", [])
    store.put("packs-too/c", [b"1"])
    found = {item.name: item for item in store.list("packs")}
    assert {name: item.size_bytes for name, item in found.items()} == {"packs/a": 5, "packs/b": 0}
    assert all(abs(item.modified_ns - now_ns()) < 60_000_000_000 for item in found.values())
    assert [item.name for item in store.list("")] == ["repository.json"]
    assert sorted(store.names("packs")) == ["packs/a", "packs/b"]
    assert (list(store.names("")), list(store.names("snapshots"))) == (["repository.json"], [])


def test_a_listing_of_more_than_a_thousand_objects_is_complete(place: Place) -> None:
    store = place.open()
    names = [f"packs/{number:05d}.age" for number in range(1005)]
    place.seed(names, b"x")
    assert sorted(item.name for item in store.list("packs")) == sorted(store.names("packs")) == names


def test_half_written_objects_are_not_listed_and_swept_when_old(place: Place) -> None:
    store = place.open()
    store.put("packs/a", [b"x"])
    place.plant_leftover("packs/b")
    place.plant_leftover("c")
    assert [item.name for item in store.list("packs")] == ["packs/a"]
    assert [item.name for item in store.list("")] == ["repository.json"]
    if place.has_folders:  # moto dates every unfinished upload to 2010
        assert store.sweep(now_ns() - 3600 * 1_000_000_000) == 0
        assert place.leftovers() == 2
    assert store.sweep(now_ns() + 3600 * 1_000_000_000) == 2
    assert place.leftovers() == 0
    assert store.get("packs/a") == b"x"
    assert store.sweep(now_ns() + 3600 * 1_000_000_000) == 0


def test_delete_removes_and_may_be_said_twice(place: Place) -> None:
    store = place.open()
    store.put("packs/a", [b"x"])
    store.delete("packs/a")
    store.delete("packs/a")
    assert store.stat("packs/a") is None
    assert store.list("packs") == []


def test_new_refuses_a_name_that_exists_and_leaves_it(place: Place) -> None:
    store = place.open()
    store.put("packs/a", [b"first"], new=True)
    for data in (b"second", b"first"):
        with pytest.raises(WouldOverwriteError):
            store.put("packs/a", [data], new=True)
    assert store.get("packs/a") == b"first"
    assert place.leftovers() == 0


def test_swap_replaces_only_what_was_read(place: Place) -> None:
    store, other = place.open(), place.open()
    with pytest.raises(ConflictError):
        store.swap("anchors/head", b"x", "no such token")
    store.swap("anchors/head", b"1", None)
    with pytest.raises(ConflictError):
        store.swap("anchors/head", b"x", None)
    found = store.read("anchors/head")
    assert found is not None
    assert found[0] == b"1"
    other.swap("anchors/head", b"2", found[1])
    with pytest.raises(ConflictError):
        store.swap("anchors/head", b"3", found[1])
    assert store.get("anchors/head") == b"2"
    again = store.read("anchors/head")
    assert again is not None
    store.swap("anchors/head", bytearray(b"4"), again[1])
    assert other.get("anchors/head") == b"4"
    store.delete("anchors/head")
    with pytest.raises(ConflictError):
        store.swap("anchors/head", b"5", again[1])
    assert store.stat("anchors/head") is None


def test_a_download_that_is_given_up_leaves_the_store_fit_for_use(place: Place) -> None:
    store = place.open()
    store.put("packs/a", [BIG[: 3 << 20]])
    for _ in range(3):
        flow = store.download("packs/a")
        first = next(flow)
        assert 0 < len(first) <= 1 << 20
        flow.close()  # type: ignore[attr-defined]
    assert store.get("packs/a") == BIG[: 3 << 20]


def test_an_unknown_option_is_told_with_those_there_are(place: Place) -> None:
    with pytest.raises(ConfigError) as caught:
        place.open(made=False, pasword="x")
    assert "`pasword`" in str(caught.value)
    assert caught.value.hint.startswith("there are: ")


def test_a_bound_of_time_must_be_one(remote: Place) -> None:
    for value in ("", "soon", "-1", "0", "nan", "inf", "1e9"):
        with pytest.raises(ConfigError, match="timeout_seconds"):
            remote.open(made=False, timeout_seconds=value)


def test_its_url_tells_where_it_is_and_no_secret(place: Place) -> None:
    store = place.open()
    assert store.url
    assert not any(secret in store.url for secret in place.secrets)


def test_a_store_whose_server_is_gone_says_so_and_goes_on_when_it_is_back(remote: Place) -> None:
    server = type(remote.server)().start()  # type: ignore[misc]
    try:
        other = type(remote)(server)  # type: ignore[call-arg]
        store = other.hasty()
        store.put("packs/a", [b"x"])
        server.kill()
        for call in (
            lambda: store.put("packs/b", [b"x"], new=True),
            lambda: store.upload("packs/b", iter([b"x"])),
            lambda: next(store.download("packs/a")),
            lambda: store.list("packs"),
        ):
            with pytest.raises(BackendError):
                call()
        server.restart()
        if remote.has_folders:
            assert patiently(lambda: store.get("packs/a")) == b"x"
            patiently(lambda: store.put("packs/b", [b"y"]))
            assert patiently(lambda: store.get("packs/b")) == b"y"
        other.close()
    finally:
        server.close()
