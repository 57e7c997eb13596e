"""Goal: `make demo` shows the main job and would notice if it failed. Method: run it; spoil what it compares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import demo
import pytest


def test_the_demo_brings_the_agent_back() -> None:
    program = [sys.executable, str(Path(demo.__file__))]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The agent is back, the same to the last byte." in done.stdout
    assert ".env" in done.stdout.partition("Never in a backup")[2]


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def relink(path: Path) -> None:
    status = path.lstat()
    path.unlink()
    path.symlink_to("elsewhere")
    os.utime(path, ns=(0, status.st_mtime_ns), follow_symlinks=False)


@pytest.mark.parametrize(
    ("path", "spoil", "complaint"),
    [
        ("note.md", lambda path: path.write_bytes(b"other"), "note.md: other bytes"),
        ("note.md", lambda path: path.chmod(0o600), "note.md: other mode"),
        ("note.md", touch, "note.md: other time"),
        ("note.md", lambda path: path.unlink(), "note.md: is missing"),
        ("more.md", lambda path: path.write_bytes(b"more"), "more.md: is new"),
        ("folder", touch, "folder: other time"),
        ("folder", lambda path: path.chmod(0o700), "folder: other mode"),
        ("link", relink, "link: other bytes"),
        ("secret", lambda path: path.write_bytes(b"secret"), "secret: is back although it was left out"),
    ],
)
def test_the_demo_notices(path: str, spoil: Callable[[Path], object], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o755)
    (tmp_path / "note.md").write_bytes(b"note")
    (tmp_path / "note.md").chmod(0o644)
    (tmp_path / "link").symlink_to("note.md")
    before = demo.look(tmp_path)
    assert demo.compare(before, demo.look(tmp_path), ["secret"]) == 3
    spoil(tmp_path / path)
    with pytest.raises(demo.DifferenceError, match=complaint):
        demo.compare(before, demo.look(tmp_path), ["secret"])
