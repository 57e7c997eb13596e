"""Goal: no order of wakes, calls, crashes, clock jumps, damage, copies, cuts and edits repeats an effect, loses
one, or lets a host work that another one has taken over from.

Method: the world of `simulated.py`, with invariants that it looks at on the way; seeds are told. Every guard of
the program is taken out once, and the same worlds must notice (controls).
"""

from __future__ import annotations

import inspect
import os
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import simulated
from memory import remove
from seeds import SEED
from simulated import World

from antsmem.heartbeat import (
    choice,
    due,
    epoch,
    fold,
    journal,
    line,
    locks,
    once,
    progress,
    states,
    takeover,
    wake,
    witness,
)

SOAK = os.environ.get("ANTSMEM_SOAK") == "1"
STEPS = 2_000_000 if SOAK else 200_000  # two minutes of one core
A_WORLD = 400
PLACES = (
    choice, choice.Chooser, due, epoch.Post, fold.Fold, journal.Journal, once, once._Work, progress, states,
    simulated, takeover, wake, wake._Wake, witness.Gate,
)  # fmt: skip


@lru_cache(1 << 10)
def _path(root: Path, month: str) -> Path:
    return root / "journal" / month


@contextmanager
def quick(world: World) -> Iterator[None]:
    """What touches the world is the world's; nothing waits for the disk; a line is verified once."""
    put = pytest.MonkeyPatch()
    decode = lru_cache(1 << 15)(line.decode)
    put.setattr(once, "run_action", world.act)
    put.setattr(once, "survivors", lambda *_: ())
    put.setattr(once, "this_process", lambda: {"pid": 0, "pid_since": "", "boot": ""})
    put.setattr(journal, "append_file", world.write)
    put.setattr(journal, "decode", decode)
    put.setattr(fold, "decode", decode)
    put.setattr(journal, "_INDEX_BYTES", 2000)
    put.setattr(journal.Journal, "_path", property(lambda self: _path(self.places.root, self._month)))
    put.setattr(locks, "_require_reliable", lambda _path: None)
    put.setattr(os, "fsync", lambda _fd: None)
    try:
        yield
    finally:
        put.undo()


def simulate(root: Path, seed: int, steps: int = A_WORLD) -> World:
    """One world to its end."""
    root.mkdir()
    world = World.__new__(World)
    with quick(world):
        world.__init__(root, seed)  # type: ignore[misc]
        while world.steps < steps:
            world.step()
            world.check()
        world.finish()
    remove(root)
    return world


def forked(work: Callable[[], int]) -> tuple[int, int]:
    """Do `work` in a process of its own: its number, and the end of a pipe with what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    code = 70
    try:
        os.write(writer, str(work()).encode())
        code = 0
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
    finally:
        os._exit(code)


def test_nothing_repeats_and_nothing_is_lost(tmp_path: Path) -> None:
    share = min(os.cpu_count() or 1, 4)

    def part(number: int) -> int:
        steps, place = 0, number
        while steps < STEPS // share + 1:
            print(f"world {SEED + place}", flush=True)
            steps += simulate(tmp_path / str(place), SEED + place).steps
            place += share
        return steps

    started = [forked(lambda number=number: part(number)) for number in range(share)]  # type: ignore[misc]
    done = 0
    for child, reader in started:
        with os.fdopen(reader, "rb") as told:
            done += int(told.read() or 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, (
            "the last world told is the one that failed"
        )
    assert done >= STEPS
    print(f"{done} steps")


MUTATIONS: list[tuple[Any, str, str]] = [
    (states.next_step, '"HELD" else "held"', '"HELD" else "start"'),
    (states.next_step, 'last.state == "PLANNED"', 'last.state in {"PLANNED", "STARTED"}'),
    (states.next_step, 'last.state == "FAILED"', 'last.state in {"FAILED", "UNKNOWN"}'),
    (states.next_step, "last.state in SETTLED", 'last.state == "DONE"'),
    (states.next_step, 'return "ask"\n    if kind', 'return "start"\n    if kind'),
    (states.next_step, 'return "hold"\n', 'return "start"\n'),
    (states._again, " <= utc_text(now_ns + LONGEST_SECONDS * 1_000_000_000)", ""),
    (states.outcome, 'return "UNKNOWN"\n    if ended.code == 0', 'return "FAILED"\n    if ended.code == 0'),
    (states.outcome, 'ended.code == TEMPORARY else "UNKNOWN"', 'ended.code else "UNKNOWN"'),
    (states.outcome, 'ended.code == TEMPORARY else "UNKNOWN"', 'ended.code == TEMPORARY else "DONE"'),
    (states.answered, '{0: "DONE", 1: "PLANNED"}', '{0: "PLANNED", 1: "DONE"}'),
    (states.answered, '"HELD")', '"PLANNED")'),
    (states.answered, '"HELD")', '"DONE")'),
    (
        fold.Fold._state,
        "self.keys[key] = (self.size, entry.number)",
        "self.keys.setdefault(key, (self.size, entry.number))",
    ),
    (journal.Journal._carried, 'entry.state in SETTLED and entry.text("task")', "entry.state in SETTLED"),
    (journal.Journal._carried, "entry.state in SETTLED and", "entry.state not in SETTLED and not"),
    (journal.Journal._close_end, "if not rest and not self._fold.trailing:", "if True:"),
    # Two hosts: no memory, no gate, no lease, no doubts; a copy that believes itself.
    (epoch.Post.require_active, 'if standing == "active":', "if True:"),
    (epoch.Post.standing, 'return "copy", 0\n    mine', 'return "active", 0\n    mine'),
    (epoch.Post.standing, "or journal.number < self._seen(journal.name)", ""),
    (witness.Gate._require_same, "if document and document == self.post.stated():", "if document:"),
    (witness.Gate.enter, 'if not everything and kind != "pure":', "if False:"),
    (takeover.doubts, "elif mark.slot < slot_text(now):", "elif False:"),
    (takeover.doubts, "if journal.last(key) is None and not was_over", "if False and not was_over"),
    (fold.Fold._take, 'elif entry.kind == "take-over":', 'elif entry.kind == "nothing":'),
    # A month begins: what is not carried into it was over.
    (once._Work._require_planned, "if self.effect.task and", "if False and"),
    # Slots: no high-water mark, a slot forgotten in the new month, work that is not planned before it is started.
    (fold.Fold._state, 'max(slot, entry.text("slot"))', 'entry.text("slot")'),
    (progress.high_of, "return parse_slot(slot) if slot else None", "return None"),
    (choice.records, "if journal.last(skip.key) is None:", "if False:"),
]


def mutated(function: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    """`function` with one thing changed in its source."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(before) == 1, f"`{before}` is not once in {function.__qualname__}"
    space: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source.replace(before, after)
    exec(compile(code, "mutated", "exec"), function.__globals__, space)
    changed: Callable[..., Any] = space[function.__name__]
    return changed


def install(put: pytest.MonkeyPatch, function: Callable[..., Any], changed: Callable[..., Any]) -> None:
    """Put `changed` wherever `function` is used."""
    name, found = function.__name__, False
    for place in PLACES:
        if vars(place).get(name) is function:
            put.setattr(place, name, changed)
            found = True
    assert found


@pytest.mark.parametrize(("function", "before", "after"), MUTATIONS, ids=range(len(MUTATIONS)))
def test_control_a_guard_that_is_gone_is_noticed(
    function: Callable[..., Any], before: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, function, mutated(function, before, after))
    for seed in range(60):
        try:
            simulate(tmp_path / str(seed), seed)
        except AssertionError:
            return
    pytest.fail(f"nobody noticed `{after}`")
