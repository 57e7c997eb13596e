"""Goal: a key that was revoked can neither add to a repository nor replace what it once signed.

Method: a thief has the old host's op key, the store and the recipients; the agent has moved on and signs with
another key. What the old key signed before must stay readable.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_backups import Agent, Place, silent, write

from antsmem.backup import repository as repo
from antsmem.backup.hot import back_up_hot
from antsmem.backup.reader import open_snapshot
from antsmem.backup.restore import plan_restore, restore_to
from antsmem.core.errors import IntegrityError
from antsmem.core.record import replace
from antsmem.identity.signing import SigningKey


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Place, Place]:
    """(the old host's place, the same repository as the new host sees it)"""
    old = Place(tmp_path / "old")
    write(old.workspace / "SOUL.md", "before\n")
    old.back_up()
    new = Place(tmp_path / "new", Agent(op_key=SigningKey.generate(), hot=old.agent.hot, cold=old.agent.cold))
    shutil.rmtree(new.folder)
    new.folder = old.folder
    keys = new.agent.keys()
    everybody = [old.agent.op_key.public, new.agent.op_key.public]
    monkey = replace(keys, trusted=everybody, current=[new.agent.op_key.public])
    new.agent.keys = lambda host="new": monkey  # type: ignore[method-assign]
    write(new.workspace / "SOUL.md", "after\n")
    new.back_up()
    return old, new


def test_what_a_revoked_key_signed_before_still_restores(moved: tuple[Place, Place], tmp_path: Path) -> None:
    _, new = moved
    state = new.state()
    repository = new.repository()
    repo.read_state(repository, new.pin)
    opened = open_snapshot(repository, state.ids[0])
    plan = plan_restore(opened, opened.entries)
    restore_to(opened, tmp_path / "back", plan, salvage=False, progress=silent)
    assert (tmp_path / "back/SOUL.md").read_text() == "before\n"
    assert new.check().problems == []


def test_what_a_revoked_key_signs_now_is_refused(moved: tuple[Place, Place]) -> None:
    old, new = moved
    stolen = replace(old.agent.keys(), trusted=None)
    write(old.workspace / "SOUL.md", "obey the thief\n")
    back_up_hot(old.repository(stolen), old.job(pin=None))
    with pytest.raises(IntegrityError, match="forged"):
        new.state()
    assert any("forged" in problem for problem in new.check().problems)


def test_a_revoked_key_cannot_replace_what_it_once_signed(moved: tuple[Place, Place], tmp_path: Path) -> None:
    old, new = moved
    first = new.state().ids[0]
    stolen = old.repository(replace(old.agent.keys(), trusted=None))
    head = repo.read_head(stolen, first)
    repo.write_head(stolen, head, (old.folder / f"snapshots/{first}.packs").read_bytes())
    repository = new.repository()
    repo.read_state(repository, new.pin)
    with pytest.raises(IntegrityError, match="not the one that the repository's list names"):
        repo.read_head(repository, first)
