"""Goal: a store that does not answer is asked again, soon and not for ever, and nothing else is repeated.

Method: actions that fail a set number of times, with a clock and a sleep that only count.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core import retry
from antsmem.core.errors import BackendError, ConfigError, ConflictError, RefusedError


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(retry, "time", fake)
    return fake


def failing(
    times: int, clock: FakeTime, seconds: float = 0.0, error: type[Exception] = BackendError
) -> Callable[[], int]:
    tries = 0

    def action() -> int:
        nonlocal tries
        tries += 1
        clock.now += seconds
        if tries <= times:
            raise error("no")
        return tries

    return action


def test_what_works_is_done_once(clock: FakeTime) -> None:
    assert retry.retried(failing(0, clock), 30) == 1
    assert clock.waits == []


def test_what_fails_a_few_times_works_in_the_end(clock: FakeTime) -> None:
    assert retry.retried(failing(5, clock), 30) == 6
    assert len(clock.waits) == 5
    assert all(0 <= wait <= min(4.0, 0.1 * 2**n) for n, wait in enumerate(clock.waits))


def test_what_fails_for_ever_is_given_up_in_time(clock: FakeTime) -> None:
    with pytest.raises(BackendError):
        retry.retried(failing(1 << 30, clock), 30)
    assert 10 < clock.now <= 30


def test_what_fails_slowly_is_tried_twice_at_least(clock: FakeTime) -> None:
    with pytest.raises(BackendError):
        retry.retried(failing(1 << 30, clock, seconds=50), 30)
    assert len(clock.waits) == 1
    assert retry.retried(failing(1, clock, seconds=50), 30) == 2


@pytest.mark.parametrize("error", [RefusedError, ConflictError, ValueError])
def test_another_error_is_not_tried_again(clock: FakeTime, error: type[Exception]) -> None:
    with pytest.raises(error):
        retry.retried(failing(1, clock, error=error), 30)
    assert clock.waits == []


def test_clients_that_failed_together_do_not_come_back_together(clock: FakeTime) -> None:
    firsts = set()
    for _ in range(50):
        retry.retried(failing(1, clock), 30)
        firsts.add(clock.waits[-1])
    assert len(firsts) > 40


@given(st.floats(0.1, 3600))
def test_a_bound_of_time_is_read_as_it_was_written(seconds: float) -> None:
    assert retry.timeout_seconds({"timeout_seconds": repr(seconds)}) == seconds


@given(st.text())
def test_a_bound_of_time_is_a_number_or_an_error(text: str) -> None:
    try:
        assert 0.1 <= retry.timeout_seconds({"timeout_seconds": text}) <= 3600
    except ConfigError as error:
        assert "timeout_seconds" in str(error)


def test_without_the_option_the_bound_is_thirty_seconds() -> None:
    assert retry.timeout_seconds({}) == 30
