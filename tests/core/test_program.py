"""Goal: what a program prints is taken whole or not at all, and one that runs wild is ended.

Method: programs that end, that print without an end, that hang, that are not there.
"""

from __future__ import annotations

from subprocess import TimeoutExpired

import pytest

from antsmem.core.config import resolve
from antsmem.core.errors import ConfigError
from antsmem.core.plainyaml import MAX_BYTES
from antsmem.core.program import printed


def test_what_it_prints_is_given_with_its_status() -> None:
    assert printed(["sh", "-c", "echo yes; exit 3"], 600, 4) == (b"yes\n", 3)
    assert resolve("command:echo yes", {}) == "yes"


def test_more_than_is_allowed_is_not_read() -> None:
    data, status = printed(["cat", "/dev/zero"], 600, 100_000)
    assert (len(data), status) == (100_001, -9)
    with pytest.raises(ConfigError, match=f"command `cat` printed more than {MAX_BYTES >> 10} KiB"):
        resolve("command:cat /dev/zero", {})


def test_one_that_hangs_is_ended_though_its_output_is_held_open() -> None:
    for script in ("exec sleep 600", "sleep 60 & exit", "exec 1>&-; exec sleep 600"):
        with pytest.raises(TimeoutExpired):
            printed(["sh", "-c", script], 0.05, 100)


@pytest.mark.parametrize("command", ["", "false", "/nowhere/program", "'"])
def test_one_that_gives_nothing_is_a_fault_of_the_configuration(command: str) -> None:
    with pytest.raises(ConfigError, match="gave no value"):
        resolve(f"command:{command}", {})
