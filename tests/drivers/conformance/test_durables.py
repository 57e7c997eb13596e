"""Every durable store changes rows, counter and outbox together, or not at all. Method: one suite for each driver,
and two writers who race for one row."""

from __future__ import annotations

import os
from functools import partial

import pytest
from racing import together
from roles import Backend, backend, drivers

from antsmem.core.errors import ConflictError, LockedError, UsageError
from antsmem.memory.roles import Change, DurableStore, LogRecord, Row, VersionConflict

STREAM = "tenant/agent"


@pytest.fixture(params=drivers("durable"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("durable", request)


def opened(made: Backend) -> DurableStore:
    store: DurableStore = made.open()
    store.create()
    return store


def record(name: str = "r", stream: str = STREAM) -> LogRecord:
    return LogRecord(stream, name, {"id": name, "subject": "ü"}, os.urandom(32))


def put(store: DurableStore, key: str, value: bytes, expected: int | None = None) -> int:
    return store.commit(STREAM, [Change(key, value, expected)], [record()])


def test_rows_have_the_sequence_of_their_commit_for_a_version(made: Backend) -> None:
    store = opened(made)
    assert (store.sequence(STREAM), store.get(STREAM, "a")) == (0, None)
    changes = [Change("a", b"1"), Change("b", b"2")]
    assert store.commit(STREAM, changes, [record("x"), record("y")]) == 2
    assert store.get(STREAM, "a") == Row(2, b"1") and store.get(STREAM, "b") == Row(2, b"2")
    assert put(store, "a", b"3") == 3
    assert (store.get(STREAM, "a"), store.get(STREAM, "b")) == (Row(3, b"3"), Row(2, b"2"))
    assert store.sequence(STREAM) == 3
    store.close()


def test_a_change_counts_only_where_the_row_is_as_expected(made: Backend) -> None:
    store = opened(made)
    assert put(store, "a", b"1", expected=0) == 1
    for wrong in (0, 2, 9):
        with pytest.raises(VersionConflict) as caught:
            put(store, "a", b"2", expected=wrong)
        assert (caught.value.key, caught.value.current) == ("a", 1)
    with pytest.raises(VersionConflict) as caught:
        put(store, "none", b"2", expected=7)
    assert caught.value.current == 0
    assert put(store, "a", b"2", expected=1) == 2
    store.close()


def test_a_refused_commit_leaves_nothing_behind(made: Backend) -> None:
    store = opened(made)
    put(store, "a", b"1")
    with pytest.raises(ConflictError):
        store.commit(STREAM, [Change("b", b"2"), Change("a", b"2", 9), Change("c", b"2")], [record(), record()])
    with pytest.raises(UsageError):
        store.commit(STREAM, [Change("b", b"2")], [])
    assert [key for key, _ in store.rows(STREAM, "", 10)] == ["a"]
    assert (store.sequence(STREAM), len(store.pending(STREAM, 10))) == (1, 1)
    store.close()


def test_a_deleted_row_is_gone_and_can_be_made_anew(made: Backend) -> None:
    store = opened(made)
    put(store, "a", b"1")
    assert store.commit(STREAM, [Change("a", None, 1)], [record()]) == 2
    assert store.get(STREAM, "a") is None
    with pytest.raises(VersionConflict):
        store.commit(STREAM, [Change("a", None, 1)], [record()])
    assert put(store, "a", b"2", expected=0) == 3
    store.close()


def test_rows_are_listed_by_key_page_by_page(made: Backend) -> None:
    store = opened(made)
    keys = sorted([f"k/{number:03d}" for number in range(30)] + ["a", "zß", "z€", "z\U0001f600"], key=str.encode)
    for place in range(0, len(keys), 10):
        batch = [Change(key, key.encode()) for key in reversed(keys[place : place + 10])]
        store.commit(STREAM, batch, [record()])
    found: list[str] = []
    while page := store.rows(STREAM, found[-1] if found else "", 7):
        assert len(page) <= 7 and all(row.value == key.encode() for key, row in page)
        found += [key for key, _ in page]
    assert found == keys
    store.close()


def test_the_outbox_keeps_every_record_until_it_is_relayed(made: Backend) -> None:
    store = opened(made)
    records = [record(f"r{number}") for number in range(5)]
    store.commit(STREAM, [], records[:2])
    store.commit(STREAM, [], records[2:])
    again = opened(made)
    assert again.pending(STREAM, 10) == list(enumerate(records, 1))
    assert again.pending(STREAM, 3) == list(enumerate(records, 1))[:3]
    again.relayed(STREAM, 3)
    again.relayed(STREAM, 2)
    assert store.pending(STREAM, 10) == list(enumerate(records, 1))[3:]
    store.relayed(STREAM, 5)
    assert store.pending(STREAM, 10) == [] and store.sequence(STREAM) == 5
    assert store.commit(STREAM, [], [record()]) == 6
    store.close()


def test_streams_do_not_see_one_another(made: Backend) -> None:
    store = opened(made)
    put(store, "a", b"1")
    assert store.commit("tenant/other", [Change("a", b"2", 0)], [record(stream="tenant/other")]) == 1
    assert store.get(STREAM, "a") == Row(1, b"1")
    assert [row.value for _, row in store.rows("tenant/other", "", 9)] == [b"2"]
    assert store.sequence("nobody/none") == 0 and store.pending("nobody/none", 9) == []
    store.close()


@pytest.mark.parametrize("value", [b"", b"\0\xff", os.urandom(100_000)], ids=len)
def test_any_value_survives(made: Backend, value: bytes) -> None:
    store = opened(made)
    put(store, "a", value)
    assert store.get(STREAM, "a") == Row(1, value)
    store.close()


def test_of_two_writers_one_wins_each_round_and_nothing_is_counted_twice(made: Backend) -> None:
    stores = [opened(made) for _ in range(2)]
    put(stores[0], "n", b"0")
    done = [0, 0]

    def count(place: int) -> None:
        while done[place] < 15:
            row = stores[place].get(STREAM, "n")
            assert row is not None
            try:
                put(stores[place], "n", str(int(row.value) + 1).encode(), row.version)
            except LockedError:  # a conflict, or a transaction that has to be tried again
                continue
            done[place] += 1

    together([partial(count, place) for place in range(2)])
    row = stores[0].get(STREAM, "n")
    assert row is not None and (row.value, row.version, stores[1].sequence(STREAM)) == (b"30", 31, 31)
    for store in stores:
        store.close()
