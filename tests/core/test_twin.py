"""Goal: a second process does its half, says what it found, and never outlives or outvotes the first.

Method: real forks: their values, errors and deaths; tickets taken by threads of two processes at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from antsmem.core.errors import DiskError, IntegrityError
from antsmem.core.twin import Tickets, Twin, may_fork


def test_its_value_comes_back_whatever_its_size() -> None:
    with Twin(lambda: {b"x" * 32: "y" * 3_000_000}) as twin:
        assert twin.result() == {b"x" * 32: "y" * 3_000_000}


def test_its_error_is_raised_with_its_hint() -> None:
    def job() -> object:
        raise IntegrityError("pack `a` is broken", hint="mend it")

    with Twin(job) as twin, pytest.raises(IntegrityError, match="pack `a` is broken") as caught:
        twin.result()
    assert caught.value.hint == "mend it"


def test_a_bug_in_it_is_shown_and_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    with Twin(lambda: 1 // 0) as twin, pytest.raises(DiskError, match="ended early"):
        twin.result()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_killed_one_is_no_result() -> None:
    def job() -> object:
        os.kill(os.getpid(), signal.SIGKILL)
        return 1

    with Twin(job) as twin, pytest.raises(DiskError, match="ended early"):
        twin.result()


def test_nothing_of_it_is_left_when_its_caller_gives_up(tmp_path: Path) -> None:
    def job() -> object:
        while True:
            (tmp_path / "alive").touch()
            time.sleep(0.001)

    class Stop(BaseException):
        pass

    with pytest.raises(Stop), Twin(job):
        while not (tmp_path / "alive").exists():
            time.sleep(0.001)
        raise Stop
    (tmp_path / "alive").unlink()
    time.sleep(0.05)
    assert not (tmp_path / "alive").exists()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from antsmem.core.twin import Twin\n"
        "def job():\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(600)\n"
        "with Twin(job) as twin: twin.result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        with suppress(OSError):  # nobody has that number any more
            while "Z" not in Path(f"/proc/{child}/stat").read_text().split(")")[1]:
                time.sleep(0.01)


@pytest.mark.parametrize("count", [0, 1, 5, 10_000])
def test_each_ticket_is_taken_once_by_whoever_asks(count: int) -> None:
    tickets = Tickets(count, shared=True)

    def all_of_it() -> list[int]:
        taken: list[int] = []

        def work() -> None:
            while (ticket := tickets.take()) is not None:
                taken.append(ticket)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return taken

    with Twin(all_of_it) as twin:
        here = all_of_it()
        there = twin.result()
    tickets.close()
    assert isinstance(there, list)
    assert sorted(here + there) == list(range(count))


def test_it_is_not_made_beside_other_threads() -> None:
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait)
    thread.start()
    try:
        assert not may_fork()
    finally:
        ending.set()
        thread.join()
