"""The specimens, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from specimens import Specimens


@pytest.fixture(scope="session")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> Specimens:
    return Specimens(Path(tmp_path_factory.mktemp("specimens")))
