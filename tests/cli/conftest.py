"""An agent made once and copied for each test that wants one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_homes import Home


@pytest.fixture(scope="session")
def _model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    Home(root).init()
    return root


@pytest.fixture
def home(_model: Path, tmp_path: Path) -> Home:
    """An agent without snapshots. The copy lies elsewhere, so the paths in its configuration are put right."""
    shutil.copytree(_model, tmp_path, dirs_exist_ok=True, symlinks=True)
    for path in (tmp_path / "home/.config/antsmem/agents").iterdir():
        path.write_text(path.read_text().replace(str(_model), str(tmp_path)))
    return Home(tmp_path)
