"""A fresh agent with an empty workspace and repository for each test, in memory where there is such a place."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_backups import Place
from memory import quick_root, tmp_path

__all__ = ["quick_root", "tmp_path"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
