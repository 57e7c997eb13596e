"""The specimens, made once, and a summary of what was tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fuzzed import TRIED
from specimens import Specimens


@pytest.fixture(scope="session")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> Specimens:
    return Specimens(Path(tmp_path_factory.mktemp("specimens")))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TRIED:
        mutants = sum(each["mutants"] for each in TRIED)
        peak = max(each.get("peak_mib", 0) for each in TRIED)
        terminalreporter.write_line(
            f"fuzz: {mutants} mutants of {len({each['target'] for each in TRIED})} kinds, at most {peak} MiB"
        )
