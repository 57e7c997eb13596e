"""A directory in memory for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import quick_directory, scratch


@pytest.fixture(scope="session")
def quick_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_directory(tmp_path_factory) as root:
        yield root


@pytest.fixture
def tmp_path(quick_root: Path) -> Iterator[Path]:
    """As pytest's own, but quick."""
    with scratch(quick_root) as path:
        yield path
