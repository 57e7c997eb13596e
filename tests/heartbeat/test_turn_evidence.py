"""Goal: an agent's turn counts as done only where this very run says so, and where the world can be asked, it is.

Method: agents that are scripts: they forget to report, lie, quote an old nonce, ask, hang and die, under every
policy. Control: a runner that believes exit code 0 is fooled by the same liar.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from effect_worlds import World
from made_journals import FRIDAY

from antsmem.core import clock
from antsmem.core.errors import UsageError
from antsmem.core.record import replace
from antsmem.heartbeat.choice import state_body
from antsmem.heartbeat.evidence import MAX_NOTE, REPORT, agent_judge, judge, keep_report, read_report
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.once import Effect, Host, OnceResult, once
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import Ended, Kind
from antsmem.heartbeat.verdict import new_nonce, nonce_hash

SAYS_OK = 'echo "all done"; echo "HEARTBEAT_OK $ANTSMEM_NONCE"'
REPORTS = (
    """printf '{"key":"k","note":"%s","word":"%s"}' "$NOTE" "$WORD" > "$RUNS/${ANTSMEM_RUN##*:}/report.json"; """
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def turn(world: World, script: str, kind: Kind = "hold", **more: str) -> Effect:
    """A turn of the agent `script`, with a nonce of its own, planned as a wake does it."""
    nonce, slot, journal = new_nonce(), "2026-11-20T15:00:00Z", Journal(world.places)
    with journal.deciding(clock.now_ns()):
        if journal.last("k") is None:
            journal.append(clock.now_ns(), state_body("k", "PLANNED", "task", slot))
    environment = {**world.environment, "RUNS": str(world.places.runs), **more}
    verify = ("sh", "-c", 'grep -qxF "$ANTSMEM_KEY" "$WORLD"') if kind == "verify" else ()
    return Effect(
        "k", ("sh", "-c", script), kind, verify, 20.0, "task", slot, environment,
        judge=agent_judge("shell", "k", nonce), nonce=nonce, prompt=b"what to do\n",
    )  # fmt: skip


def patient(world: World, effect: Effect, now_ns: int = 0) -> OnceResult:
    """As a wake calls it."""
    now = (lambda: now_ns) if now_ns else clock.now_ns
    return once(Journal(world.places), effect, Host(now, world.rng.random, patient=True))


def states(world: World) -> list[str]:
    return [entry.state for entry in Journal(world.places).entries("k")]


def test_the_last_line_with_the_nonce_is_evidence(world: World) -> None:
    result = world.once(turn(world, SAYS_OK))
    assert (result.state, result.ran) == ("DONE", True)
    last = Journal(world.places).last("k")
    assert last is not None and last.text("how") == "nonce" and last.text("tell")


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "echo done",
        "echo HEARTBEAT_OK",
        "echo HEARTBEAT_OK 0123456789abcdef0123456789abcdef",
        'echo "HEARTBEAT_OK $ANTSMEM_NONCE, I think"',
        'echo "HEARTBEAT_OK $ANTSMEM_NONCE"; echo "but the post is not out"',
        'echo "HEARTBEAT_OK $ANTSMEM_NONCE" >&2',
    ],
)
@pytest.mark.parametrize("kind", ["hold", "retry", "pure"])
def test_exit_code_0_without_evidence_is_never_done(world: World, script: str, kind: Kind) -> None:
    result = world.once(turn(world, script, kind))
    assert (result.state, result.why) == ("HELD" if kind == "hold" else "UNKNOWN", "no-report")
    if kind != "hold":
        assert result.retry_at, "it is tried again, but not at once"


def test_control_who_believes_exit_codes_is_fooled(world: World) -> None:
    assert world.once(replace(turn(world, "echo done"), judge=None)).state == "DONE"


def test_where_the_world_can_be_asked_no_word_is_enough(world: World) -> None:
    liar = turn(world, SAYS_OK, "verify")
    result = world.once(liar)
    assert result.state == "PLANNED" and states(world) == ["PLANNED", "STARTED", "UNKNOWN", "PLANNED"]
    honest = world.once(turn(world, f'echo k >> "$WORLD"; {SAYS_OK}', "verify"))
    assert honest.state == "DONE" and world.count("k") == 1


def test_a_liar_is_not_started_for_ever(world: World) -> None:
    seen = [patient(world, turn(world, SAYS_OK, "verify")) for _ in range(5)]
    assert sum(result.ran for result in seen) == 3
    assert (seen[-1].state, seen[-1].why) == ("HELD", "attempts")


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("exit 1", 1), ("kill -9 $$", None)])
def test_a_report_counts_however_the_turn_ends(world: World, ending: str, code: int | None) -> None:
    result = world.once(turn(world, REPORTS + ending, WORD="done", NOTE="posted two"))
    assert (result.state, result.exit_code) == ("DONE", code)
    last = Journal(world.places).last("k")
    assert last is not None and last.text("note") == "posted two" and "retry_at" not in last.body


def test_a_question_waits_for_a_person_who_answers(world: World) -> None:
    effect = turn(world, REPORTS, WORD="blocked", NOTE="which account?")
    assert world.once(effect).state == "BLOCKED"
    assert world.once(turn(world, SAYS_OK)).ran is False, "nothing starts before the answer"
    journal = Journal(world.places)
    resolve_effect(journal, "k", "redo", clock.now_ns(), "the green\none")
    last = journal.last("k")
    assert last is not None and (last.state, last.text("note")) == ("PLANNED", "the green one")
    assert world.once(turn(world, SAYS_OK)).state == "DONE"


def test_a_report_survives_the_death_of_the_runner(world: World) -> None:
    effect = turn(world, REPORTS + "sleep 600", WORD="done", NOTE="posted")
    child = world.forked(effect)
    until = time.monotonic() + 120
    while not list(world.places.runs.glob(f"*/{REPORT}")) and time.monotonic() < until:
        time.sleep(0.01)
    last = Journal(world.places).last("k")
    assert last is not None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for process in Path("/proc").glob("[0-9]*"):
        with_run = last.text("run").encode()
        try:
            if with_run in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
    again = turn(world, "exit 9")
    seen = world.settle(again)
    assert seen[-1] == "DONE" and states(world) == ["PLANNED", "STARTED", "DONE"]


def started(world: World, nonce: str) -> Journal:
    """A journal in which a turn for `k` is under way."""
    journal = Journal(world.places)
    run = {"run": "ab" * 12, "nonce": nonce_hash(nonce)}
    with journal.deciding(FRIDAY):
        body = {"kind": "state", "key": "k", "state": "STARTED", **run}
        journal.append(FRIDAY, {"kind": "state", "key": "k", "state": "PLANNED"}, body)
    (world.places.runs / ("ab" * 12)).mkdir(parents=True)
    return journal


def test_a_stranger_cannot_report(world: World) -> None:
    nonce = new_nonce()
    journal = started(world, nonce)
    for key, given in (("k", ""), ("k", new_nonce()), ("k", nonce.upper()), ("other", nonce)):
        with pytest.raises(UsageError, match="no turn for"):
            keep_report(journal, key, "done", "", given)
    with pytest.raises(UsageError, match="question"):
        keep_report(journal, "k", "blocked", "  ", nonce)
    assert not list(world.places.runs.glob("*/*"))
    kept = keep_report(journal, "k", "done", "line\none\t\x1b[31m" + "x" * 900, nonce)
    assert len(kept.note) == MAX_NOTE and kept.note.startswith(r"line one \x1b[31mxxx")
    with journal.deciding(FRIDAY):
        journal.append(FRIDAY, {"kind": "state", "key": "k", "state": "DONE"})
    with pytest.raises(UsageError, match="no turn for"):
        keep_report(journal, "k", "done", "", nonce)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"key":"k","word":"done"}', b'{"key":"x","note":"","word":"done"}', b"\xff" * 99,
             b'{"key":"k","note":"","word":"finished"}', b"[" * 9000]
)  # fmt: skip
def test_a_damaged_report_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / REPORT).write_bytes(data)
    assert read_report(tmp_path, "k") is None


def test_what_only_ended_says_nothing() -> None:
    for ended in (None, Ended(1), Ended(None, 9), Ended(0, late=True), Ended(127, started=False)):
        assert judge(ended, "HEARTBEAT_OK n", "n", None).state == ""
    assert judge(Ended(0), "HEARTBEAT_OK n\n\n", "n", None).state == "DONE"
    assert judge(Ended(0), "HEARTBEAT_OK ", "", None).state == "UNKNOWN", "without a nonce nothing counts"
