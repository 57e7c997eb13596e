"""Goal: files of an identity that change together are all old or all new, whatever happens.

Method: a change killed and failing at each step, then finished; two at once; journals that are damaged or name
other files. Control: the same change without its journal leaves a mixture.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from made_agents import Agent, all_files, failing_at, killed_at_every_step, new_agent

from antsmem.core import canonical
from antsmem.core.disk import locked, write_file
from antsmem.core.errors import AntsmemError, ConflictError, IntegrityError, LockedError
from antsmem.core.record import replace
from antsmem.identity import change
from antsmem.identity.change import finish_change, is_unfinished, save_change
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.files import CHANGE, IdentityFiles
from antsmem.identity.keystore import open_keystore, save_keystore


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    files, made = new_agent(tmp_path)
    files = replace(files, escrow=tmp_path / "escrow")
    write_file(files.epochs / "hot-20200106.age", [b"old"])
    return files, made


CHANGED: dict[str, bytes | None] = {
    "epochs/hot-20200106.age": None,
    "epochs/hot-20200113.age": b"new",
    "guardians/guardians-1-1.sealed": b"new",
    "escrow/new-keystore-escrow.age": b"new",
    "destroyed": b"new",
}


def contents(files: IdentityFiles) -> dict[str, bytes]:
    """All files of the identity; the keystore, which is sealed anew each time, by what it says."""
    found = all_files(files.host_key.parents[1])
    return {name: data for name, data in found.items() if not name.endswith(("keystore.age", CHANGE))}


def state(files: IdentityFiles, made: CreatedIdentity) -> tuple[str, dict[str, bytes]]:
    return open_keystore(files.keystore, [made.host_key]).log_head, contents(files)


def apply(files: IdentityFiles, made: CreatedIdentity) -> None:
    now = open_keystore(files.keystore, [made.host_key])
    save_change(files, replace(now, log_head=f"2{made.log.head[1:]}"), made.host_key, CHANGED)


def test_all_files_change_and_no_journal_is_left(agent: Agent) -> None:
    files, made = agent
    apply(files, made)
    assert not (files.epochs / "hot-20200106.age").exists()
    for path in (files.epochs / "hot-20200113.age", files.guardians / "guardians-1-1.sealed", files.destroyed):
        assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600
    assert files.escrow and (files.escrow / "new-keystore-escrow.age").exists()
    assert not is_unfinished(files) and not finish_change(files)


def killed_states(files: IdentityFiles, made: CreatedIdentity, heal: bool) -> list[tuple[str, dict[str, bytes]]]:
    """Every state that a kill can leave, after healing."""
    saved = all_files(files.host_key.parents[1])
    root = files.host_key.parents[1]
    seen = []

    def check() -> None:
        if heal:
            finish_change(files)
        seen.append(state(files, made))
        for name in all_files(root).keys() - saved.keys():
            (root / name).unlink()
        for name, data in saved.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)

    assert killed_at_every_step(lambda: apply(files, made), check) > 20
    return seen


def ignoring_temps(found: tuple[str, dict[str, bytes]]) -> tuple[str, dict[str, bytes]]:
    return found[0], {name: data for name, data in found[1].items() if ".antsmem-tmp-" not in name}


def test_a_kill_anywhere_leaves_the_old_state_or_the_new_one(agent: Agent) -> None:
    files, made = agent
    old = state(files, made)
    seen = [ignoring_temps(each) for each in killed_states(files, made, heal=True)]
    apply(files, made)
    new = state(files, made)
    assert all(each in (old, new) for each in seen)
    assert old in seen and new in seen


def test_control_without_its_journal_a_kill_leaves_a_mixture(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, made = agent
    old = state(files, made)
    monkeypatch.setattr(change, "read_file", lambda path, limit: _last(path))
    monkeypatch.setattr(change, "write_file", _keeping(change.write_file))
    seen = [ignoring_temps(each) for each in killed_states(files, made, heal=False)]
    monkeypatch.undo()
    apply(files, made)
    assert any(each not in (old, state(files, made)) for each in seen)


HELD: list[bytes] = []


def _keeping(write: object) -> object:
    """A disk door that keeps the journal in memory."""

    def keep(path: Path, parts: list[bytes]) -> None:
        if path.name == CHANGE:
            HELD[:] = [b"".join(parts)]
            path.touch()
            return
        write(path, parts)  # type: ignore[operator]

    return keep


def _last(path: Path) -> bytes:
    if not path.exists():
        raise change.NotFoundError("none")
    return HELD[0]


@pytest.mark.parametrize("call", ["fsync", "rename", "unlink", "write"])
def test_a_disk_that_fails_leaves_the_old_state_or_one_that_the_next_run_completes(
    agent: Agent, call: str
) -> None:
    files, made = agent
    old, step = state(files, made), 0
    while True:
        try:
            with failing_at(call, step, OSError(28, "No space left on device")):
                apply(files, made)
            break
        except AntsmemError:
            committed = is_unfinished(files)
        if committed or open_keystore(files.keystore, [made.host_key]).log_head != old[0]:
            finish_change(files)
            break
        assert ignoring_temps(state(files, made)) == old
        step += 1
    assert open_keystore(files.keystore, [made.host_key]).log_head != old[0]
    assert (files.epochs / "hot-20200113.age").exists() and not (files.epochs / "hot-20200106.age").exists()


def test_a_keystore_that_changed_meanwhile_is_not_overwritten(
    agent: Agent,
) -> None:
    files, made = agent
    save_keystore(files.keystore, made.keystore, made.host_key)
    before = contents(files)
    with pytest.raises(ConflictError):
        save_change(files, made.keystore, made.host_key, CHANGED)
    assert contents(files) == before and not is_unfinished(files)


def test_nobody_saves_a_keystore_over_a_change_that_was_cut_off(
    agent: Agent,
) -> None:
    """What is in the journal would come over it."""
    files, made = agent
    files.keystore.with_name(CHANGE).write_bytes(b"{}")
    with pytest.raises(ConflictError, match="finished first"):
        save_keystore(files.keystore, made.keystore, made.host_key)


def test_two_at_once_do_not_meet(agent: Agent) -> None:
    files, made = agent
    with locked(files.keystore.with_suffix(".lock"), "held"), pytest.raises(LockedError):
        apply(files, made)
    with locked(files.keystore.with_suffix(".lock"), "held"), pytest.raises(LockedError):
        finish_change(files)


@pytest.mark.parametrize(
    "name", ["../x", "epochs/../x", "epochs/", "epochs/.x", "other/x", "", "epochs/a/b", "host_key"]
)
def test_a_journal_that_names_other_files_writes_nothing(agent: Agent, name: str) -> None:
    files, made = agent
    body = {"schema": "antsmem.change/1", "written": [{"name": name, "data": "eA=="}], "removed": []}
    files.keystore.with_name(CHANGE).write_bytes(canonical.dumps(body))
    before = contents(files)
    with pytest.raises(IntegrityError, match="no file of it"):
        finish_change(files)
    assert contents(files) == before
    files.keystore.with_name(CHANGE).unlink()
    with pytest.raises(IntegrityError):
        save_change(files, made.keystore, made.host_key, {name: b"x"})
    assert not is_unfinished(files)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"schema":"antsmem.change/2","written":[],"removed":[]}'])
def test_a_journal_that_is_damaged_is_said(agent: Agent, text: bytes) -> None:
    files, _ = agent
    files.keystore.with_name(CHANGE).write_bytes(text)
    with pytest.raises(IntegrityError):
        finish_change(files)
