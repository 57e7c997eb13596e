"""Every event log keeps what it was given, in order, for every reader. Method: one suite, run for each driver."""

from __future__ import annotations

import os
import threading
import time

import pytest
from roles import Backend, backend, drivers

from antsmem.memory.roles import EventLog, LogRecord

STREAM = "tenant/agent"


@pytest.fixture(params=drivers("log"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("log", request)


def opened(made: Backend) -> EventLog:
    log: EventLog = made.open()
    log.create()
    return log


def record(number: int, stream: str = STREAM, data: bytes | None = None) -> LogRecord:
    headers = {"id": f"id-{number}", "source": f"ants://{stream}/dev/a", "sequence": f"{number:016d}"}
    return LogRecord(stream, f"id-{number}", headers, data if data is not None else os.urandom(64))


def everything(log: EventLog, stream: str = STREAM, page: int = 100) -> list[LogRecord]:
    found: list[LogRecord] = []
    after = None
    while got := log.read(stream, after, page):
        assert len(got) <= page
        found += [item for _, item in got]
        after = got[-1][0]
    return found


def test_records_come_back_whole_and_in_order(made: Backend) -> None:
    log = opened(made)
    records = [record(number) for number in range(250)]
    log.append(records[:3])
    log.append(records[3:])
    assert everything(log) == records
    assert everything(opened(made), page=7) == records
    log.close()


def test_reading_goes_on_behind_a_position(made: Backend) -> None:
    log = opened(made)
    records = [record(number) for number in range(10)]
    log.append(records)
    pairs = log.read(STREAM, None, 10)
    assert log.read(STREAM, pairs[-1][0], 10) == []
    assert [item for _, item in log.read(STREAM, pairs[3][0], 10)] == records[4:]
    more = record(11)
    log.append([more])
    assert [item for _, item in log.read(STREAM, pairs[-1][0], 10)] == [more]
    log.close()


def test_streams_do_not_see_one_another(made: Backend) -> None:
    log = opened(made)
    mine, theirs = record(1), record(1, "tenant/other")
    log.append([mine, theirs])
    assert everything(log) == [mine]
    assert everything(log, "tenant/other") == [theirs]
    assert everything(log, "nobody/none") == []
    log.close()


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\n\r\n{}\0", os.urandom(200_000)], ids=len)
def test_any_bytes_and_any_header_text_survive(made: Backend, data: bytes) -> None:
    log = opened(made)
    headers = {"id": "x", "time": "2026-11-20T12:00:00.000Z", "subject": "ünïcode “text” \u2028 x", "empty": ""}
    sent = LogRecord(STREAM, "x", headers, data)
    log.append([sent])
    assert everything(log) == [sent]
    log.close()


def test_tail_returns_when_something_arrives_and_when_nothing_does(made: Backend) -> None:
    log, writer = opened(made), opened(made)
    log.append([record(1)])
    after = log.read(STREAM, None, 1)[-1][0]
    assert log.tail(STREAM, after, 0.2) == []
    sent = record(2)

    def write() -> None:
        time.sleep(0.3)
        writer.append([sent])

    thread = threading.Thread(target=write)
    thread.start()
    found = log.tail(STREAM, after, 120.0)
    thread.join()
    assert [item for _, item in found] == [sent]
    log.close()
    if not made.forgets:
        writer.close()


def test_making_it_twice_and_appending_nothing_change_nothing(made: Backend) -> None:
    log = opened(made)
    log.append([record(1)])
    log.create()
    log.append([])
    assert len(everything(log)) == 1
    log.close()


def test_two_writers_lose_nothing(made: Backend) -> None:
    writers = [opened(made) for _ in range(2)]

    def write(place: int) -> None:
        for number in range(20):
            writers[place].append([record(100 * place + number)])

    threads = [threading.Thread(target=write, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [item.id for item in everything(writers[0])]
    for place in range(2):
        own = [f"id-{100 * place + number}" for number in range(20)]
        assert [each for each in found if each in own] == own
    assert len(found) == 40
