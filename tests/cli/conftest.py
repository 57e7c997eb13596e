"""An agent made once and copied for each test that wants one, in memory where there is such a place."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_homes import Home, copy_of
from memory import quick_root, tmp_path

__all__ = ["quick_root", "tmp_path"]


@pytest.fixture(scope="session")
def model(quick_root: Path) -> Path:
    """Where the first agent lies."""
    root = quick_root / "model"
    Home(root).init()
    return root


@pytest.fixture
def home(model: Path, tmp_path: Path) -> Home:
    """An agent without snapshots."""
    return copy_of(model, tmp_path)


@pytest.fixture(scope="session")
def shared(model: Path, quick_root: Path) -> Home:
    """One agent with one snapshot for all calls that change nothing."""
    home = copy_of(model, quick_root / "shared")
    home.must("backup")
    return home
