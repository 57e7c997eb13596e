"""The engine through every driver against its real server: what conformance of single calls cannot show.

A sample agent is backed up hot and cold, edited, backed up again, pruned with a repack, checked to the last
object, and restored; then once more with nothing but what the store holds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import corpora
import pytest
from places import Place

sys.path.insert(0, str(Path(__file__).parents[2] / "backup"))

from made_backups import Agent, silent, tree_of, write
from made_backups import Place as Made

from antsmem.backup.check import CheckJob, check
from antsmem.backup.cold import back_up_cold
from antsmem.backup.create import create_repository
from antsmem.backup.hot import back_up_hot
from antsmem.backup.prune import PruneJob, prune
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import open_repository, read_state
from antsmem.backup.restore import plan_restore, restore_to
from antsmem.backup.thaw import restore_cold
from antsmem.backup.verified import VerifiedStore
from antsmem.core import clock

_LEFT_OUT = (".env", "gateway.pid", "keys/relay.pem", "node_modules", "state/memory.db-shm")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path / "here")
    corpora.sample_agent(made.workspace, days=5)
    return made


@pytest.mark.parametrize("verify", ["hash", "read"])
def test_an_agent_goes_through_every_store_and_comes_back_exactly(
    place: Place, made: Made, tmp_path: Path, verify: str
) -> None:
    agent = Agent()
    store = VerifiedStore(place.open(made=False), verify)
    repository = create_repository(store, agent.keys(), clock.now_ns())
    first = back_up_hot(repository, made.job())
    write(made.workspace / "MEMORY.md", "another memory\n")
    second = back_up_hot(repository, made.job(pin=first.pin))
    frozen = back_up_cold(repository, made.job(pin=second.pin))

    state = read_state(repository, second.pin)
    job = PruneJob(
        {"hot": {"hourly": 1}, "cold": {"weekly": 1}}, clock.now_ns(), [first.snapshot], grace_seconds=0
    )
    pruned = prune(repository, state, job)

    assert pruned.forgotten == (first.snapshot,)
    assert check(repository, CheckJob(second.pin, 100)).problems == []
    fresh = open_repository(place.open(made=False), agent.kit())
    opened = open_snapshot(fresh, second.snapshot)
    restore_to(opened, tmp_path / "hot", plan_restore(opened, opened.entries), salvage=False, progress=silent)
    restore_cold(fresh, frozen.snapshot, tmp_path / "cold", silent)
    expected = tree_of(made.workspace, _LEFT_OUT)
    assert tree_of(tmp_path / "hot") == expected
    assert tree_of(tmp_path / "cold") == expected


def test_a_writer_that_was_killed_blocks_nobody_on_any_store(place: Place, made: Made) -> None:
    agent = Agent()
    repository = create_repository(place.open(made=False), agent.keys(), clock.now_ns())
    lease = b'{"boot":"","expires_ns":"1","host":"gone","pid":1,"schema":"antsmem.lease/1","token":"00"}'
    repository.store.put("anchors/lease.json", [lease])

    assert back_up_hot(repository, made.job()).complete
