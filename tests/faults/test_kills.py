"""Goal: a command that is killed anywhere leaves the old state or the new one, and the next run needs no help.

Method: SIGKILL at the entry of a system call, sent by strace: a kill at each call shows every state that the disk
can be left in. Afterwards `check --read-data`, every snapshot restored and compared, the agent's files compared,
the same command run again, and a prune that must leave nothing behind. Controls: guards are removed one at a time;
the same sweep must notice each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from sampling import Sampler
from scenarios import Scenario
from syscalls import Call


def swept(scenario: Scenario, calls: Sequence[Call], broken: str = "", enough: int = 20) -> list[str]:
    """Kill at each of `calls`; what was damaged, at most `enough` times. Calls that change the disk come in every
    run; of the others a few, as those of an allocator, belong to one order of the threads."""
    damage: list[str] = []
    missed = 0
    for call in calls:
        ran = scenario.strike(call, "signal=KILL", broken)
        if not call.changes and not call.is_hit_by(ran):
            missed += 1
            continue
        assert ran.code == -9 and call.is_hit_by(ran), f"not killed at {call}: {ran}"
        found = scenario.damage()
        if found:
            damage.append(f"{scenario.name} killed at {call}: {'; '.join(found)}")
        if len(damage) >= enough:
            break
    assert missed <= 1 + len(calls) // 10, f"{missed} of {len(calls)} calls never came again"
    return damage


def test_a_kill_at_a_call_that_changes_the_disk_loses_nothing(scenario: Scenario, sampler: Sampler) -> None:
    calls = sampler.some([call for call in scenario.calls if call.changes])
    sampler.count("kills at calls that change the disk", len(calls))
    assert swept(scenario, calls) == []


def test_a_kill_at_any_other_call_loses_nothing(scenario: Scenario, sampler: Sampler) -> None:
    calls = [call for call in scenario.calls if not call.changes and call.can_be_struck]
    calls = sampler.some(calls, 1 / 3)
    sampler.count("kills at other calls", len(calls))
    assert swept(scenario, calls) == []


def test_all_calls_that_change_the_disk_can_be_struck(scenario: Scenario) -> None:
    changing = [call for call in scenario.calls if call.changes]
    assert len(changing) >= 20
    assert all(call.can_be_struck for call in changing)


CONTROLS = [
    ("writing-in-place", "backup", "anchors/snapshots.json"),
    ("rename-first", "backup", "anchors/snapshots.json"),
    ("head-before-packs", "backup", "packs/"),
    ("lease-of-another", "backup", "packs/"),
    ("garbage-before-lists", "prune-at-once", ".packs"),
    ("plan-before-staging", "restore-in-place", "restoring/new"),
    ("writing-in-place", "restore-in-place", "plan.json"),
    ("forgotten-rows", "secret-revoke", "ledger.age"),
    ("writing-in-place", "secret-revoke", "keystore.age"),
]


@pytest.mark.parametrize(("broken", "name", "where"), CONTROLS)
def test_control_the_sweep_notices_a_guard_that_is_gone(
    broken: str, name: str, where: str, prepared: Callable[[str], Scenario]
) -> None:
    scenario = prepared(name)
    calls = [call for call in scenario.record(broken) if call.changes and where in call.text]
    assert swept(scenario, calls, broken, enough=1)
