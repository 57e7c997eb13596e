"""A file system of its own, so small that a test fills it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """`place`, a new folder with room for 1 MiB. Where it may not be mounted the test is skipped."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if os.geteuid() != 0 or sys.platform != "linux" or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        yield place
    finally:
        while os.path.ismount(place):
            subprocess.run(["umount", "-l", str(place)], check=True)
