"""Goal: a folder of this machine is known by every spelling that its driver takes.

Method: each spelling of one folder, and what is none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from antsmem.core.config import local_folder
from antsmem.drivers.file import FileStore


@pytest.mark.parametrize(
    "spelled", ["{}", "file://{}", "file://localhost{}", "file:{}", "file://{}/", "{}/../a b"]
)
def test_a_folder_is_one_however_it_is_spelled(tmp_path: Path, spelled: str) -> None:
    (tmp_path / "a b").mkdir()
    place = tmp_path / "a b"
    url = spelled.format(str(place).replace(" ", "%20") if spelled.startswith("file") else place)
    assert local_folder(url) == str(place.resolve())
    assert Path(FileStore.open(url, {}).url).resolve() == place.resolve()


@pytest.mark.parametrize("url", ["s3://bucket/x", "sftp://me@there/x", "file:///a%00b", "https://[", "/a\0b"])
def test_what_is_no_folder_here_is_none(url: str) -> None:
    assert local_folder(url) is None
