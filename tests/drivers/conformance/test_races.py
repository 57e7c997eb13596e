"""Goal: many that use one place at once get what the contract of `antsmem/backup/store.py` promises, and no mix.

Method: threads that begin together, several stores at one place, against each driver's real server. Where a driver
says that it only looks first, the test asks for no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from places import FilePlace, Place
from racing import together

from antsmem.backup.store import Store
from antsmem.core.errors import ConflictError, NotFoundError, WouldOverwriteError


def test_of_many_that_put_the_same_new_name_one_wins(place: Place) -> None:
    stores = [place.open() for _ in range(2)]
    for turn in range(5):
        winners: list[int] = []

        def put(number: int, name: str, winners: list[int]) -> None:
            with_store = stores[number % 2]
            try:
                with_store.put(name, [b"%d" % number * 1000], new=True)
                winners.append(number)
            except WouldOverwriteError:
                pass

        together([lambda n=n, t=turn, w=winners: put(n, f"packs/{t}", w) for n in range(6)])
        assert len(winners) == 1 if place.new_is_atomic else winners
        assert stores[0].get(f"packs/{turn}") in [b"%d" % winner * 1000 for winner in winners]
    assert place.leftovers() == 0


def test_no_update_is_lost_where_the_store_decides(place: Place) -> None:
    stores = [place.open() for _ in range(4)]
    if not stores[0].capabilities.conditional:
        pytest.skip("this store only looks first")
    stores[0].swap("anchors/count", b"0", None)

    def add(store: Store) -> None:
        for _ in range(5):
            while True:
                found = store.read("anchors/count")
                assert found is not None
                try:
                    store.swap("anchors/count", b"%d" % (int(found[0]) + 1), found[1])
                    break
                except ConflictError:
                    continue

    together([lambda s=store: add(s) for store in stores])
    assert stores[0].get("anchors/count") == b"20"


def test_a_reader_never_sees_a_mix_of_an_old_and_a_new_object(place: Place) -> None:
    versions = [b"a" * 300_000, b"b" * 200_000, b"c" * 400_000]
    writer, reader = place.open(), place.open()
    writer.put("anchors/a", [versions[0]])
    done = threading.Event()
    seen: list[bytes] = []

    def write() -> None:
        try:
            for turn in range(30):
                writer.put("anchors/a", [versions[turn % 3]])
        finally:
            done.set()

    def read(how: Callable[[], bytes]) -> None:
        while not done.is_set():
            try:
                seen.append(how())
            except NotFoundError:
                assert not place.replaces_in_one_step
            except ConflictError:
                pass  # a download may say that it cannot go on

    together(
        [
            write,
            lambda: read(lambda: reader.get("anchors/a")),
            lambda: read(lambda: b"".join(reader.download("anchors/a"))),
            lambda: read(lambda: (reader.read("anchors/a") or (versions[0], ""))[0]),
        ]
    )
    assert seen
    assert all(data in versions for data in seen)


def test_control_a_file_written_in_place_is_seen_as_a_mix(tmp_path: Path) -> None:
    place = FilePlace(tmp_path)
    store = place.open()
    store.put("anchors/a", [b"a" * 1000])
    with (place.root / "anchors" / "a").open("r+b") as file:
        file.write(b"b" * 500)
        file.flush()
        assert store.get("anchors/a") not in (b"a" * 1000, b"b" * 1000)


def test_control_two_that_put_instead_of_swap_lose_an_update(tmp_path: Path) -> None:
    stores = [FilePlace(tmp_path).open() for _ in range(2)]
    stores[0].put("anchors/count", [b"0"])
    gate = threading.Barrier(2)

    def add(store: Store) -> None:
        count = int(store.get("anchors/count"))
        gate.wait()
        store.put("anchors/count", [b"%d" % (count + 1)])

    together([lambda s=store: add(s) for store in stores])
    assert stores[0].get("anchors/count") == b"1"


def test_many_threads_may_use_one_store(place: Place) -> None:
    store = place.open()

    def work(number: int) -> None:
        for turn in range(3):
            data = b"%d-%d" % (number, turn) * 20_000
            store.put(f"packs/{number}-{turn}", [data])
            assert store.get(f"packs/{number}-{turn}") == data

    together([lambda n=n: work(n) for n in range(6)])
    assert len(store.list("packs")) == 18
