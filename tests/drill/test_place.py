"""Goal: what a killed test left is gone for good. Method: a process at home there makes its directory again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from antsmem.drill import place
from antsmem.drill.place import drill_place

AGAIN = """
import os, sys, time
print("there", flush=True)
while os.path.exists(sys.argv[1]):
    time.sleep(0.01)
time.sleep(0.3)
os.makedirs(sys.argv[1])
"""


def left_by_a_killed_test(base: Path) -> Path:
    old = base / "antsmem-drill-0123456789ab"
    (old / "home").mkdir(parents=True)
    (old / "lock").touch()
    return old


def living(home: Path, watched: Path) -> subprocess.Popen[bytes]:
    """A process at home in `home` that makes `watched` again when it is gone."""
    words = [sys.executable, "-S", "-c", AGAIN, str(watched)]
    process = subprocess.Popen(words, env={"HOME": str(home)}, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    process.stdout.close()
    return process


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux tells")
def test_what_lives_in_the_place_of_a_killed_test_is_ended_and_makes_nothing_again(tmp_path: Path) -> None:
    old = left_by_a_killed_test(tmp_path)
    process = living(old / "home", old / "home")
    with drill_place(tmp_path):
        pass
    assert process.wait() == -9 and list(tmp_path.iterdir()) == []


def test_control_what_is_not_ended_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_end", lambda _place: 0)
    old = left_by_a_killed_test(tmp_path)
    process = living(old / "home", old / "home")
    with drill_place(tmp_path):
        pass
    assert process.wait() == 0 and old.exists()


def test_who_only_looks_at_it_is_left_alone(tmp_path: Path) -> None:
    old = left_by_a_killed_test(tmp_path)
    process = living(tmp_path, old / "home")
    with drill_place(tmp_path):
        pass
    assert process.wait() == 0
