"""Goal: what was told to be stored is stored when the power goes, and at no moment is anything lost.

Method: a run is recorded with all its bytes (strace) and played into a model of a disk that keeps only what was
fsynced (powerloss.py). After each call the worst states are written out and must pass what a kill has to pass.
Controls: a run without fsync, of files or of directories, must be noticed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from powerloss import MODES, Disk, Event, events, write_out
from sampling import SAMPLES, Sampler
from scenarios import Scenario
from syscalls import Ran, Tracer
from worlds import remove


@dataclass(frozen=True)
class Moment:
    """When the power goes, `after` so many events of a run, and which of the worst states is found then."""

    after: int
    mode: str
    seed: int = 0


def recorded(scenario: Scenario, broken: str = "") -> list[Event]:
    """What an undisturbed run does to its disk."""
    scenario.world.reset()
    argv = scenario.world.argv(scenario.now_ns, *scenario.words, broken=broken)
    ran, lines = Tracer(scenario.world.environment).log(argv)
    assert ran.code == 0, ran
    disk = Disk(scenario.world.root, scenario.world.saved)
    return [event for event in events(lines) if disk.apply(event)]


def moments(run: list[Event], seeds: int = 1) -> list[Moment]:
    """All there are, `seeds` of each mixed one."""
    modes = [(mode, seed) for mode in MODES for seed in range(seeds if mode == "mixed" else 1)]
    return [Moment(after, *mode) for after in range(1, len(run) + 1) for mode in modes]


def lost(scenario: Scenario, run: list[Event], moment: Moment, done: bool = False) -> list[str]:
    """What is wrong after the power went at `moment`; `done`: success had been told."""
    disk = Disk(scenario.world.root, scenario.world.saved)
    for event in run[: moment.after]:
        disk.apply(event)
    tree = disk.after(moment.mode, random.Random(f"{moment.after} {moment.seed}"))
    remove(scenario.world.root)
    write_out(tree, scenario.world.root)
    found = scenario.damage(Ran(0, "", "") if done and not scenario.in_place else None, folder_times=False)
    at = run[moment.after - 1]
    return (
        [f"{scenario.name}, {moment} ({at.name} {at.places} {at.texts[-1:]}): {'; '.join(found)}"] if found else []
    )


def test_the_power_may_go_at_any_moment(scenario: Scenario, sampler: Sampler) -> None:
    run = recorded(scenario)
    chosen = sampler.some(moments(run, 3 if SAMPLES == "all" else 1), 2)
    sampler.count("states after the power went", len(chosen))
    assert [line for moment in chosen for line in lost(scenario, run, moment)] == []
    assert lost(scenario, run, Moment(len(run), "least"), done=True) == []


@pytest.mark.parametrize("broken", ["no-fsync", "no-directory-fsync"])
@pytest.mark.parametrize("name", ["backup", "backup-cold", "init"])
def test_control_success_without_fsync_is_noticed(
    broken: str, name: str, prepared: Callable[[str], Scenario]
) -> None:
    scenario = prepared(name)
    run = recorded(scenario, broken)
    assert lost(scenario, run, Moment(len(run), "least"), done=True)


def test_control_a_restore_without_fsync_is_noticed(prepared: Callable[[str], Scenario]) -> None:
    scenario = prepared("restore-in-place")
    run = recorded(scenario, "no-fsync")
    assert any(lost(scenario, run, moment) for moment in reversed(moments(run)))
