"""Goal: a workspace is found from anywhere below it, and never one that a stranger planted.

Method: real directories; another owner is real too where the tests run as root.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory import open_to_all

from antsmem.core.errors import NotFoundError, UsageError
from antsmem.workspace.layout import Layout, find_workspace


def workspace(root: Path) -> Path:
    (root / ".antsmem").mkdir(parents=True)
    (root / ".antsmem/agent.yaml").write_text('name: "kevin"\n')
    return root


def test_the_nearest_workspace_above_is_found(tmp_path: Path) -> None:
    outer = workspace(tmp_path / "outer")
    inner = workspace(outer / "agents/kevin")
    deep = inner / "memory/2026"
    deep.mkdir(parents=True)
    assert find_workspace(deep) == inner
    assert find_workspace(inner) == inner
    assert find_workspace(outer / "agents") == outer


def test_a_relative_start_gives_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = workspace(tmp_path / "home")
    (root / "notes").mkdir()
    monkeypatch.chdir(root / "notes")
    assert find_workspace(Path(".")) == root


def test_no_workspace_names_the_command_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / ".antsmem").mkdir()
    with pytest.raises(NotFoundError, match="no workspace at or above") as caught:
        find_workspace(tmp_path)
    assert "antsmem init" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_a_workspace_of_another_user_above_is_refused_and_used_when_named(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    root = workspace(tmp_path / "planted")
    below = root / "victim"
    below.mkdir()
    assert find_workspace(below) == root  # root itself may use any
    os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match="belongs to another user"):
            find_workspace(below)
        assert find_workspace(root) == root
    finally:
        os.seteuid(0)


def test_every_path_of_antsmem_is_below_its_own_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    own = (
        layout.settings,
        layout.identity_log,
        layout.keystore,
        layout.journal,
        layout.events,
        layout.cache,
        layout.replaced,
    )
    assert all(path.is_relative_to(layout.home) for path in own)
    assert len(set(own)) == len(own)
    assert layout.daily_log("2026-11-20") == tmp_path / "memory" / "2026-11-20.md"
