"""Goal: an effect happens once, whatever is called, killed, or called at the same time.

Method: effects are lines in a file and can be counted. Callers are killed at random moments, twice in a row, and
called again at once; where antsmem asks, it gets a true answer. Controls: a runner that tries again blindly, and
one that keeps the lock to itself, are noticed by the same sweeps.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path

import pytest
from effect_worlds import POLICIES, World
from made_journals import FRIDAY

from antsmem.core import clock
from antsmem.core.errors import BusyError, NotFoundError, RetiredError, UsageError
from antsmem.core.record import replace
from antsmem.heartbeat import action, once
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.locks import lock_path
from antsmem.heartbeat.once import Host, clean_key, content_key, fence
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import Kind


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def states(world: World, key: str) -> list[str]:
    return [entry.state for entry in Journal(world.places).entries(key)]


@pytest.mark.parametrize("kind", [*POLICIES, "retry"])
def test_a_second_call_replays_the_first(world: World, kind: Kind) -> None:
    first, second = world.once(world.effect("k", kind)), world.once(world.effect("k", kind))
    assert (first.ran, first.state, first.stdout, first.exit_code) == (True, "DONE", b"done\n", 0)
    assert (second.ran, second.state, second.stdout, second.exit_code) == (False, "DONE", b"done\n", 0)
    assert world.count("k") == 1 and states(world, "k") == ["PLANNED", "STARTED", "DONE"]


def test_a_replay_writes_nothing_and_takes_no_lock(world: World) -> None:
    world.once(world.effect("k", "hold"))
    before = {path: path.stat().st_mtime_ns for path in world.root.rglob("*")}
    lock = lock_path(world.places.locks, "k")
    lock.touch()
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert world.once(world.effect("k", "hold")).state == "DONE"
    lock.unlink()
    after = {path: path.stat().st_mtime_ns for path in world.root.rglob("*")}
    assert {k: v for k, v in after.items() if k.name != "locks"} == {
        k: v for k, v in before.items() if k.name != "locks"
    }


def test_another_command_line_under_the_same_key_is_told(world: World) -> None:
    world.once(world.effect("k", "hold"))
    again = world.once(replace(world.effect("k", "hold"), argv=("echo", "other")))
    assert again.stdout == b"done\n" and not again.same_command


@pytest.mark.parametrize(
    ("ending", "kind", "expected"),
    [
        ("exit 1", "hold", "HELD"),
        ("exit 1", "verify", "DONE"),
        ("exit 1", "idempotent", "FAILED"),
        ("exit 75", "hold", "FAILED"),
        ("kill -9 $$", "hold", "HELD"),
        ("kill -9 $$", "verify", "DONE"),
        ("kill -9 $$", "pure", "UNKNOWN"),
        ("sleep 9", "hold", "HELD"),
        ("sleep 9", "verify", "DONE"),
        ("sleep 9", "idempotent", "UNKNOWN"),
    ],
)
def test_what_is_not_known_is_asked_held_or_tried_again(
    world: World, ending: str, kind: Kind, expected: str
) -> None:
    result = world.once(world.effect("k", kind, ending, timeout_seconds=2 if ending == "sleep 9" else 60))
    assert result.state == expected
    assert world.count("k") == 1


@pytest.mark.parametrize(("answer", "expected"), [(0, "DONE"), (1, "PLANNED"), (2, "HELD"), (127, "HELD")])
def test_verify_says_yes_no_or_nothing(world: World, answer: int, expected: str) -> None:
    effect = replace(world.effect("k", "verify", "exit 9"), verify=("sh", "-c", f"exit {answer}"))
    assert world.once(effect).state == expected
    assert states(world, "k")[:4] == ["PLANNED", "STARTED", "UNKNOWN", expected]


def test_a_verify_that_cannot_start_says_nothing(world: World) -> None:
    effect = replace(world.effect("k", "verify", "exit 9"), verify=("/nowhere",))
    assert world.once(effect).state == "HELD"
    assert world.once(world.effect("k", "verify")).state == "DONE", "it is asked again once it can answer"
    assert world.count("k") == 1


def test_what_never_started_may_be_tried_again(world: World) -> None:
    effect = world.effect("k", "hold")
    assert world.once(replace(effect, argv=("/nowhere",))).state == "FAILED"
    script = world.root / "script"
    script.write_text("#!/bin/sh\n")
    assert world.once(replace(effect, argv=(str(script),))).exit_code == 126
    assert world.once(effect).state == "DONE" and world.count("k") == 1


def test_a_caller_may_be_more_careful_than_before_but_not_less(world: World) -> None:
    world.once(world.effect("k", "hold", "kill -9 $$"))
    for kind in ("pure", "idempotent", "retry"):
        assert world.once(world.effect("k", kind)).state == "HELD"
    assert world.once(world.effect("k", "verify")).state == "DONE"
    assert world.count("k") == 1


def test_twenty_callers_at_once_have_one_effect(world: World) -> None:
    for key in ("a", "b"):
        callers = [world.forked(world.effect(key, "hold")) for _ in range(20)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in callers]
        assert set(codes) <= {0, 75} and 0 in codes
        assert world.count(key) == 1
    assert Journal(world.places).health.bad == 0


def test_twenty_keys_at_once_are_all_recorded(world: World) -> None:
    callers = [world.forked(world.effect(f"k{number}", "hold")) for number in range(20)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in callers] == [0] * 20
    journal = Journal(world.places)
    assert journal.health.bad == journal.health.missing == 0 and journal.number == 1 + 3 * 20
    assert all(world.count(f"k{number}") == 1 for number in range(20))


def test_a_person_settles_what_is_held(world: World) -> None:
    for word, count in (("done", 1), ("redo", 2), ("drop", 1)):
        effect = world.effect(word, "hold", "exit 1")
        assert world.once(effect).state == "HELD"
        resolve_effect(Journal(world.places), word, word, clock.now_ns())  # type: ignore[arg-type]
        world.once(world.effect(word, "hold"))
        assert world.count(word) == count
        with pytest.raises(UsageError):
            resolve_effect(Journal(world.places), word, "redo", clock.now_ns())
    with pytest.raises(NotFoundError):
        resolve_effect(Journal(world.places), "never", "done", clock.now_ns())


def test_what_runs_cannot_be_resolved(world: World) -> None:
    go = world.root / "go"
    caller = world.forked(world.effect("k", "hold", f"until [ -e {go} ]; do sleep 0.02; done"))
    while "STARTED" not in states(world, "k"):
        time.sleep(0.005)
    with pytest.raises(BusyError):
        resolve_effect(Journal(world.places), "k", "redo", clock.now_ns())
    with pytest.raises(BusyError):
        world.once(world.effect("k", "retry"))
    go.touch()
    os.waitpid(caller, 0)
    assert world.count("k") == 1


def test_an_action_gets_its_key_and_a_growing_fence(world: World) -> None:
    fences = []
    for key in ("a", "b"):
        effect = replace(world.effect(key, "hold"), argv=("sh", "-c", "echo $ANTSMEM_KEY $ANTSMEM_FENCE"))
        said, number = world.once(effect).stdout.split()
        fences.append(int(number))
        assert said.decode() == key
    assert 0 < fences[0] < fences[1] < fence(1, 1) < fence(2, 1) < 2**53


def test_a_host_that_may_not_start_can_still_replay(world: World) -> None:
    def refuse(_kind: str) -> int:
        raise RetiredError("retired")

    world.once(world.effect("old", "hold"))
    host = Host(clock.now_ns, random.random, refuse)
    assert once.once(Journal(world.places), world.effect("old", "hold"), host).state == "DONE"
    with pytest.raises(RetiredError):
        once.once(Journal(world.places), world.effect("new", "hold"), host)
    assert world.count("new") == 0 and not list(world.places.runs.glob("*/new"))


def test_a_patient_caller_waits_and_gives_up(world: World) -> None:
    now = [FRIDAY]
    host = Host(lambda: now[0], lambda: 1.0, patient=True)
    effect = world.effect("k", "idempotent", "exit 1")
    seen = []
    for _ in range(8):
        result = once.once(Journal(world.places), effect, host)
        seen.append((result.state, result.ran))
        now[0] += 61_000_000_000
    assert seen == [("FAILED", True)] * 2 + [("FAILED", False), ("FAILED", True)] + [("HELD", False)] * 4


def test_a_patient_caller_does_not_try_for_ever_what_runs_out_of_time(world: World) -> None:
    now = [FRIDAY]
    host = Host(lambda: now[0], lambda: 0.0, patient=True)
    seen = []
    for _ in range(5):
        seen.append(once.once(Journal(world.places), world.effect("k", "pure", "kill -9 $$"), host).state)
        now[0] += 61_000_000_000
    assert seen == ["UNKNOWN"] * 2 + ["HELD"] * 3 and world.count("k") == 3


def test_an_output_that_is_gone_is_told_and_nothing_runs_again(world: World) -> None:
    world.once(world.effect("k", "hold"))
    for path in world.places.runs.glob("*/stdout"):
        path.write_bytes(b"other")
    result = world.once(world.effect("k", "hold"))
    assert (result.state, result.stdout, result.stdout_whole) == ("DONE", b"", False)


@pytest.mark.parametrize("key", ["", "a b", "a\n", "x" * 201, "a\x00", "\u2028"])
def test_a_key_is_one_printable_word(key: str) -> None:
    with pytest.raises(UsageError):
        clean_key(key)


def test_the_same_text_has_the_same_key() -> None:
    assert clean_key("caf\u0065\u0301") == clean_key("caf\u00e9")
    one = content_key("moltbook", b"Hello,\r\n  world! ")
    assert one == content_key("moltbook", b"\nHello, world!") != content_key("twitter", b"Hello, world!")
    assert one != content_key("moltbook", b"hello, world!")
    assert content_key("x", b"\xff") != content_key("x", b"\xfe")


def test_the_last_lock_is_no_litter(world: World) -> None:
    world.once(world.effect("k", "hold"))
    assert [path.name for path in world.places.locks.iterdir()] == ["journal.lock"]
    assert action.survivors("no-such-run") == ()
