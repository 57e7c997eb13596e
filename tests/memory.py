"""Directories of tests: in memory where what is tested waits for the disk after every file, to no purpose here.

What the waiting is good for is shown by tests/faults. Where there is no tmpfs, or one that does not have all that
a workspace may hold, pytest's own directories do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

TMPFS = Path("/dev/shm")


@contextmanager
def quick_directory(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory, if that is possible."""
    try:
        root = Path(mkdtemp(prefix="antsmem-test-", dir=TMPFS))
        os.setxattr(root, "user.antsmem", b"x")
    except (AttributeError, OSError):
        yield factory.mktemp("quick")
        return
    try:
        yield root
    finally:
        remove(root)


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A directory below `root` for one test, gone after it: memory is not for keeping."""
    path = Path(mkdtemp(dir=root))
    try:
        yield path
    finally:
        remove(path)


def open_to_all(path: Path) -> None:
    """Let every user reach `path`, one of pytest's own directories."""
    path.chmod(0o755)
    for parent in path.parents:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)


def remove(path: Path) -> None:
    """Remove a directory with all that a test has closed in it."""
    for folder, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(below := os.path.join(folder, name)):
                os.chmod(below, 0o700)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def quick_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For a conftest to import, with `tmp_path`."""
    with quick_directory(tmp_path_factory) as root:
        yield root


@pytest.fixture
def tmp_path(quick_root: Path) -> Iterator[Path]:
    """As pytest's own, but quick."""
    with scratch(quick_root) as path:
        yield path
