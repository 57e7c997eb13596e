"""A fresh agent with an empty workspace and repository for each test, in memory where there is such a place.

Backups wait for the disk after every file; what that is good for is shown by tests/faults. Here it would only cost
time, so the tests use a tmpfs, if it has all that a workspace may hold.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from made_backups import Place

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def quick_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory, or else on the disk."""
    try:
        root = Path(mkdtemp(prefix="antsmem-test-", dir=MEMORY))
        os.setxattr(root, "user.antsmem", b"x")
    except OSError:
        yield tmp_path_factory.mktemp("quick")
        return
    yield root
    shutil.rmtree(root)


@pytest.fixture
def tmp_path(quick_root: Path) -> Iterator[Path]:
    """As pytest's own, but quick, and gone after the test."""
    path = Path(mkdtemp(dir=quick_root))
    yield path
    for folder, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(below := os.path.join(folder, name)):
                os.chmod(below, 0o700)
    shutil.rmtree(path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
