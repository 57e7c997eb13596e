"""What the fault tests of every durable store do: count in one row from several threads, and look at the end."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from racing import together
from register import Recorder

from antsmem.core.errors import AntsmemError, BackendError, LockedError
from antsmem.memory.roles import Change, DurableStore, LogRecord, Row, VersionConflict

STREAM = "tenant/agent"


def record() -> LogRecord:
    return LogRecord(STREAM, uuid.uuid4().hex, {"type": "kv.set"}, b"sealed")


def count(store: DurableStore, times: int, *, compared: bool = True) -> int:
    """Add 1 to the row `n`, `times` times, trying each again until it is acknowledged; returns how often."""
    done = 0
    while done < times:
        row = store.get(STREAM, "n")
        value = 0 if row is None else int(row.value)
        expected = 0 if row is None else row.version
        change = Change("n", str(value + 1).encode(), expected if compared else None)
        try:
            store.commit(STREAM, [change], [record()])
        except LockedError:
            continue
        done += 1
    return done


def count_together(opened: Callable[[], DurableStore], threads: int, times: int) -> int:
    """`count` in `threads` threads, each with a store of its own; how many were acknowledged."""
    done: list[int] = []

    def work() -> None:
        store = opened()
        try:
            done.append(count(store, times))
        finally:
            store.close()

    together([work] * threads)
    return sum(done)


def look(store: DurableStore, acknowledged: int) -> None:
    """Acknowledged writes lost: 0. Applied twice: 0. Sequence and outbox: without a hole."""
    row = store.get(STREAM, "n")
    assert row is not None and (int(row.value), row.version) == (acknowledged, acknowledged)
    assert store.sequence(STREAM) == acknowledged
    assert [number for number, _ in store.pending(STREAM, 10_000)] == list(range(1, acknowledged + 1))


def count_without_comparing(opened: Callable[[], DurableStore]) -> Row | None:
    """The row `n` after two have read it and each has added 1 to what it read."""
    gate = threading.Barrier(2)

    def add() -> None:
        store = opened()
        row = store.get(STREAM, "n")
        gate.wait()
        store.commit(STREAM, [Change("n", b"%d" % (1 if row is None else int(row.value) + 1))], [record()])

    together([add, add])
    return opened().get(STREAM, "n")


def record_history(opened: Callable[[], DurableStore], turns: int, *, compared: bool = True) -> Recorder:
    """Six threads read a register and set it to values of their own, each where it is as they read it."""
    recorder = Recorder()

    def work(thread: int) -> None:
        store = opened()
        for turn in range(turns):
            start = time.monotonic()
            try:
                row = store.get(STREAM, "register")
            except BackendError:
                continue
            old = None if row is None else row.value
            recorder.note("read", None, old, start)
            new = f"{thread}.{turn}".encode()
            expected = (0 if row is None else row.version) if compared else None
            start = time.monotonic()
            try:
                store.commit(STREAM, [Change("register", new, expected)], [record()])
            except VersionConflict:
                recorder.note("refused", old, new, start)
            except AntsmemError:
                recorder.note("write", old, new, start, float("inf"))
            else:
                recorder.note("write", old, new, start)
        store.close()

    together([lambda thread=thread: work(thread) for thread in range(6)])  # type: ignore[misc]
    return recorder
