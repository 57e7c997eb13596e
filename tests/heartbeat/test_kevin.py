"""Goal: thirty posts are thirty posts, whatever Kevin forgets, whoever kills him, wherever he lives.

Method: two weeks of wakes every five minutes, 200 of them killed with SIGKILL at a moment drawn; contexts reset;
on day 7 a move to another machine from a copy of half an hour ago, while the old one stays alive and keeps waking;
a person who answers once a day. Without `once`, and without the gate, the same two weeks post twice (controls).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kevin import DAYS, HALF, MINUTES, Life, Machine, Moltbook
from seeds import SEED

from antsmem.heartbeat import locks, once, witness

KILLS = 200
A_DAY = 24 * 60 // MINUTES


@pytest.fixture
def place() -> Iterator[Moltbook]:
    made = Moltbook()
    yield made
    made.close()


def live(life: Life, days: int, put: pytest.MonkeyPatch, kills: int = KILLS) -> Machine | None:
    """So many days; the machine that was left behind."""
    put.setattr(once, "run_action", life.act)
    put.setattr(once, "survivors", lambda *_: ())
    put.setattr(locks, "_require_reliable", lambda _path: None)
    left: Machine | None = None
    for number in range(days * A_DAY):
        life.now += MINUTES * 60
        due = life.owner.next_at <= life.now
        if due or life.wakes % 12 == 0:
            kill = life.killed < kills and life.rng.random() < 0.55
            life.wake(life.owner, kill)
        else:
            life.wakes += 1  # what cron calls sees in its note of the last wake that nothing can be due
        if left is not None:
            life.wake(left, False)
            life.wakes -= 1
        if number % A_DAY == A_DAY - 1:
            life.person()
        if number == 7 * A_DAY:
            left = life.move()
    go_on(life, 30)
    return left


def go_on(life: Life, hours: int) -> None:
    """So many more hours of an undisturbed life."""
    for _ in range(hours):
        life.now += 3600
        life.person()
        life.wake(life.owner, False)


def test_thirty_posts_are_thirty_posts(place: Moltbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(tmp_path, SEED, place)
    left = live(life, DAYS, monkeypatch)
    assert left is not None
    for _ in range(20):  # a draft that he has not come to yet, because he forgets which he has seen, is not lost
        if len({text for text, _ in place.posts}) < 2 * HALF:
            go_on(life, 24)
    counts = Counter(text for text, _ in place.posts)
    assert len(counts) == 2 * HALF and set(counts.values()) == {1}, counts
    moved = [host for _, host in place.posts].index("newbox")
    assert {host for _, host in place.posts[moved:]} == {"newbox"}, "the fenced host posted"
    assert life.wakes >= DAYS * A_DAY and life.killed >= KILLS and left.retired >= 6 * A_DAY
    assert (life.owner.layout.root / "HEARTBEAT.md").read_bytes() == life.data
    told = life.marks()
    assert told and set(told.values()) == {1}, "the daily log tells of each key once"


def test_control_without_a_witness_the_machine_that_was_left_goes_on(
    place: Moltbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness.Gate, "_require_same", lambda *_: None)
    live(Life(tmp_path, 7, place), 9, monkeypatch, kills=0)
    assert max(Counter(text for text, _ in place.posts).values()) > 1


def test_control_without_once_kevin_posts_twice(
    place: Moltbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path, 7, place)
    monkeypatch.setattr(life, "once", lambda machine, text: place.post(text, machine.name))
    live(life, 3, monkeypatch, kills=0)
    assert max(Counter(text for text, _ in place.posts).values()) > 1
