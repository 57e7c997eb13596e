"""Goal: a full or failing disk is never a success, never a crash of ours, and never costs what was there.

Method: one system call after the other fails with ENOSPC or EIO (strace), and a real disk that is too small by one
page more each time (tmpfs). What must hold is the same as after a kill; besides, the exit code says what happened.
Control: a program that does not listen to its disk must be noticed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sampling import SAMPLES, Sampler
from scenarios import Scenario
from syscalls import Call
from worlds import remove

READING = {"getdents64", "newfstatat", "openat", "pread64", "read", "readlink", "statx"}
PAGE = 4096


def swept(scenario: Scenario, calls: Sequence[tuple[Call, str]], broken: str = "", enough: int = 20) -> list[str]:
    """Let each of `calls` fail; what was damaged or badly told, at most `enough` times."""
    damage: list[str] = []
    for call, errno in calls:
        ran = scenario.strike(call, f"error={errno}", broken)
        assert call.is_hit_by(ran), f"{call} did not fail: {ran}"
        found = scenario.damage(ran)
        if found:
            damage.append(f"{scenario.name} {errno} at {call} (exit {ran.code}): {'; '.join(found)}")
        if len(damage) >= enough:
            break
    return damage


def writing(scenario: Scenario, calls: Sequence[Call]) -> list[Call]:
    """The calls that write, and those that open a directory to make its names durable."""
    inside = str(scenario.world.root)
    return [
        call
        for call in calls
        if call.changes or (call.name == "openat" and inside in call.text and "O_DIRECTORY" in call.text)
    ]


def test_a_write_that_fails_is_told_and_loses_nothing(scenario: Scenario, sampler: Sampler) -> None:
    faults = [(call, errno) for call in writing(scenario, scenario.calls) for errno in ("ENOSPC", "EIO")]
    faults = sampler.some(faults)
    sampler.count("writes that failed", len(faults))
    assert swept(scenario, faults) == []


def test_a_read_that_fails_is_told_and_loses_nothing(scenario: Scenario, sampler: Sampler) -> None:
    inside = str(scenario.world.root)
    calls = [call for call in scenario.calls if call.name in READING and not call.changes and inside in call.text]
    faults = sampler.some([(call, "EIO") for call in calls if call.can_be_struck], 1 / 3)
    sampler.count("reads that failed", len(faults))
    assert swept(scenario, faults) == []


@pytest.mark.parametrize(("name", "call", "what"), [
    ("backup", "readlink", "today"),
    ("backup", "getdents64", "memory>"),
    ("backup-cold", "getdents64", "memory>"),
])  # fmt: skip
def test_what_cannot_be_looked_at_is_named_and_nothing_else_is_missing(
    name: str, call: str, what: str, prepared: Callable[[str], Scenario]
) -> None:
    """A listing may break off after some names: those are not stored as if they were all."""
    scenario = prepared(name)
    calls = [found for found in scenario.calls if found.name == call and f"agent/{what}" in found.text]
    assert calls
    assert swept(scenario, [(found, "EIO") for found in calls]) == []


def test_control_the_sweep_notices_a_program_that_does_not_listen(prepared: Callable[[str], Scenario]) -> None:
    scenario = prepared("backup")
    calls = [
        call for call in scenario.record("deaf") if call.name in {"write", "writev"} and "packs/" in call.text
    ]
    assert swept(scenario, [(call, "ENOSPC") for call in calls], "deaf", enough=1)


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """An empty tmpfs at `place`."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def used(place: Path) -> tuple[int, int]:
    """Pages and inodes in use at `place`."""
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize // PAGE, status.f_files - status.f_ffree


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("name", ["backup", "backup-cold", "prune", "restore-in-place", "init"])
@pytest.mark.parametrize("part", ["repository", "everything"])
@pytest.mark.parametrize("scarce", ["pages", "inodes"])
def test_a_disk_that_is_too_small_costs_nothing(
    name: str, part: str, scarce: str, prepared: Callable[[str], Scenario], sampler: Sampler
) -> None:
    scenario = prepared(name)
    if part == "repository" and scenario.in_place:
        pytest.skip("it writes nothing there")
    with on_small_disk(scenario, part, "size=64m,nr_inodes=100000") as place:
        before = used(place)
        assert scenario.world.run(scenario.now_ns, *scenario.words).code == 0
        needed = [now - then for now, then in zip(used(place), before, strict=True)]
    missing = 0 if scarce == "pages" else 1
    damage, failed = [], 0
    steps = range(needed[missing] + 40)
    tried = steps if SAMPLES == "all" else sampler.some(steps[: max(2, needed[missing])], 1 / 2)
    for extra in tried:
        room = [before[0] + 10_000, before[1] + 10_000]
        room[missing] = max(before[missing] + extra, 1)  # none would be no limit
        with on_small_disk(scenario, part, f"size={room[0] * PAGE},nr_inodes={room[1]}") as place:
            ran = scenario.world.run(scenario.now_ns, *scenario.words)
            failed += ran.code != 0
            subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=100000", place], check=True)
            found = scenario.damage(ran)
        sampler.count("runs on a disk that was too small")
        damage += [f"{name} with {extra} {scarce} (exit {ran.code}): {'; '.join(found)}"] if found else []
    assert damage == []
    assert failed or min(tried) > max(0, needed[missing] - 6), "another run may need a little less than the first"


@contextmanager
def on_small_disk(scenario: Scenario, part: str, options: str) -> Iterator[Path]:
    """The world as it was saved, `part` of it on a tmpfs."""
    world = scenario.world
    world.reset()
    place, source = (
        (world.root, world.saved) if part == "everything" else (world.store, world.saved / "repository")
    )
    remove(place)
    with mounted(place, options):
        if source.exists():
            subprocess.run(["cp", "-a", f"{source}/.", place], check=True)
        yield place
