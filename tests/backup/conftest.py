"""A fresh agent with an empty workspace and an empty repository for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_backups import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
