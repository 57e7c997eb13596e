"""Goal: what was told to be stored is stored when the power goes, and at no moment is anything lost.

Method: a run is recorded with all its bytes (strace) and played into a model of a disk that keeps only what was
fsynced (powerloss.py). After each call the worst states are written out and must pass what a kill has to pass.
Controls: a run without fsync, of files or of directories, must be noticed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from powerloss import MODES, Disk, Node, events, write_out
from sampling import SAMPLES, Sampler
from scenarios import Scenario
from syscalls import Ran, Tracer
from worlds import remove


def states(scenario: Scenario, broken: str = "", seeds: int = 1) -> list[tuple[str, Node]]:
    """What a disk may hold if the power goes during a run, after each call that changes it; the last one is what
    it holds at least when the run has ended."""
    scenario.world.reset()
    argv = scenario.world.argv(scenario.now_ns, *scenario.words, broken=broken)
    ran, lines = Tracer(scenario.world.environment).log(argv)
    assert ran.code == 0, ran
    disk, found = Disk(scenario.world.root, scenario.world.saved), []
    for event in events(lines):
        if disk.apply(event):
            for mode in MODES:
                for seed in range(seeds if mode == "mixed" else 1):
                    rng = random.Random(len(found))
                    found.append(
                        (f"{mode} {seed} after {event.name} {event.texts[-1:]}"[:200], disk.after(mode, rng))
                    )
    return [*found, ("the end", disk.after("least", random.Random(0)))]


def lost(scenario: Scenario, state: tuple[str, Node], done: bool = False) -> list[str]:
    """What is wrong after the power went in `state`; `done`: success had been told."""
    remove(scenario.world.root)
    write_out(state[1], scenario.world.root)
    found = scenario.damage(Ran(0, "", "") if done and not scenario.in_place else None, folder_times=False)
    return [f"{scenario.name}, {state[0]}: {'; '.join(found)}"] if found else []


def test_the_power_may_go_at_any_moment(scenario: Scenario, sampler: Sampler) -> None:
    *moments, _ = states(scenario, seeds=3 if SAMPLES == "all" else 1)
    chosen = sampler.some(moments, 2)
    sampler.count("states after the power went", len(chosen))
    assert [line for state in chosen for line in lost(scenario, state)] == []


def test_what_was_told_to_be_done_outlives_the_power(scenario: Scenario) -> None:
    assert lost(scenario, states(scenario)[-1], done=True) == []


@pytest.mark.parametrize("broken", ["no-fsync", "no-directory-fsync"])
@pytest.mark.parametrize("name", ["backup", "backup-cold", "init"])
def test_control_a_run_without_fsync_is_noticed(
    broken: str, name: str, prepared: Callable[[str], Scenario]
) -> None:
    scenario = prepared(name)
    assert lost(scenario, states(scenario, broken)[-1], done=True)


def test_control_a_restore_without_fsync_is_noticed(prepared: Callable[[str], Scenario]) -> None:
    scenario = prepared("restore-in-place")
    assert any(lost(scenario, state) for state in reversed(states(scenario, "no-fsync")))
