"""The agents of the command tests, for tests that lose one."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_homes import Home, copy_of
from memory import quick_root, tmp_path

__all__ = ["quick_root", "tmp_path"]


@pytest.fixture(scope="session")
def model(quick_root: Path) -> Path:
    """Where the first agent lies."""
    root = quick_root / "drilled"
    home = Home(root)
    home.init()
    home.must("log", "Met Ada.")
    home.must("once", "letter", "--", "true")
    home.must("backup")
    return root


@pytest.fixture
def home(model: Path, tmp_path: Path) -> Home:
    """An agent with a backup and a piece of work that is done."""
    found = copy_of(model, tmp_path)
    (tmp_path / "scratch").mkdir()
    found.environment["TMPDIR"] = str(tmp_path / "scratch")
    return found
