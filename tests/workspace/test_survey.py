"""Goal: every path of a workspace is accounted for once, with its size, and looking changes nothing.

Method: generated workspaces are counted a second way; trees with oddities made for the purpose; what a user may
not read is tried as a user who may not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import corpora
import pytest
from memory import open_to_all
from trees import fingerprint

from antsmem.core.errors import NotFoundError
from antsmem.workspace import survey as module
from antsmem.workspace.classes import Classifier
from antsmem.workspace.survey import LeftOut, Remark, Survey, survey


def left_out(found: Survey) -> dict[bytes, tuple[str, bool, int, int]]:
    return {
        one.path: (one.verdict.path_class, one.is_directory, one.files, one.size_bytes) for one in found.left_out
    }


def counted(root: Path) -> tuple[int, int, int]:
    """Files, directories and bytes below `root`, by another walk than the survey's."""
    files = directories = size = 0
    for folder, below, names in os.walk(os.fsencode(root)):
        real = [name for name in below if not os.path.islink(os.path.join(folder, name))]
        directories += len(real)
        others = [*names, *(name for name in below if name not in real)]
        files += len(others)
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in others)
    return files, directories, size


def small_zoo(root: Path) -> object:
    return corpora.odd_zoo(root, sparse_bytes=1 << 20)


@pytest.mark.parametrize(
    "make", [corpora.sample_agent, corpora.corpus_s, small_zoo], ids=lambda make: make.__name__
)
def test_every_path_of_a_workspace_is_counted_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "agent")
    found = survey(tmp_path / "agent", Classifier())
    totals = found.totals.values()
    summed = tuple(
        sum(getattr(total, unit) for total in totals) for unit in ("files", "directories", "size_bytes")
    )
    assert summed == counted(tmp_path / "agent")
    assert found.unlisted == 0


def test_what_is_not_portable_is_listed_with_class_and_size(tmp_path: Path) -> None:
    root = tmp_path / "agent"
    corpora.sample_agent(root)
    assert left_out(survey(root, Classifier())) == {
        b".env": ("secret", False, 1, (root / ".env").stat().st_size),
        b"keys/relay.pem": ("secret", False, 1, (root / "keys/relay.pem").stat().st_size),
        b"gateway.pid": ("machine-bound", False, 1, 5),
        b"state/memory.db-shm": ("machine-bound", False, 1, (root / "state/memory.db-shm").stat().st_size),
        b"node_modules": ("derived", True, 2, 45),
    }


def test_a_directory_that_is_left_out_is_listed_once_and_counted_whole(tmp_path: Path) -> None:
    for path in ("a/node_modules/x/y/z.js", "a/node_modules/x/.env", "a/node_modules/node_modules/w.js"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("12345")
    found = survey(tmp_path, Classifier())
    assert left_out(found) == {b"a/node_modules": ("derived", True, 3, 15)}
    assert (found.totals["derived"].files, found.totals["derived"].directories) == (3, 4)
    assert found.totals["secret"].files == 0


def test_rules_of_the_agent_are_asked_too(tmp_path: Path) -> None:
    (tmp_path / "renders").mkdir()
    (tmp_path / "renders/film.mp4").write_text("film")
    assert left_out(survey(tmp_path, Classifier({"derived": ["renders/"]}))) == {
        b"renders": ("derived", True, 1, 4)
    }


def test_special_files_and_odd_names_are_remarked(tmp_path: Path) -> None:
    root = tmp_path / "zoo"
    refused = small_zoo(root)
    found = survey(root, Classifier())
    assert {remark.what for remark in found.special} == {"fifo", "socket"}
    odd = {remark.path: remark.what for remark in found.odd_names}
    assert refused == ()
    assert odd[b"names/two\nlines"] == "holds control characters"
    assert odd[b"names/not-utf8-\xff\xfe"] == "is not UTF-8"
    twins = {
        path for path, what in odd.items() if what == "would be one with another name on a disk that ignores case"
    }
    assert len(twins & {b"names/Twin.md", b"names/twin.md", b"names/TWIN.md"}) == 2
    assert len(twins & {"names/é-composed".encode(), "names/e\u0301-composed".encode()}) == 1
    assert len(twins & {"names/ß".encode(), b"names/SS"}) == 1
    assert found.symlinks == 11


@pytest.mark.parametrize("make", [corpora.sample_agent, small_zoo], ids=lambda make: make.__name__)
def test_looking_changes_no_byte_time_or_mode(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "agent")
    before = fingerprint(tmp_path / "agent")
    survey(tmp_path / "agent", Classifier())
    assert fingerprint(tmp_path / "agent") == before


@pytest.fixture
def stranger(tmp_path: Path) -> object:
    """Becomes a user who may not read everything, where the tests' own user may."""
    if os.geteuid() != 0:
        return id
    open_to_all(tmp_path)
    return os.seteuid


def test_what_may_not_be_read_is_named(tmp_path: Path, stranger: Callable[[int], None]) -> None:
    root = tmp_path / "agent"
    for path in ("open/readable.md", "open/closed.md", "shut/inside.md", "names only/inside.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    (root / "open/closed.md").chmod(0)
    (root / ".env").write_text("secret")
    (root / ".env").chmod(0)
    (root / "shut").chmod(0)
    (root / "names only").chmod(0o444)
    stranger(65534)
    try:
        found = survey(root, Classifier())
    finally:
        stranger(0)
        for path in ("shut", "names only"):
            (root / path).chmod(0o755)
    assert sorted(found.unreadable, key=lambda remark: remark.path) == [
        Remark(b"names only/inside.md", "cannot be looked at: permission denied"),
        Remark(b"open/closed.md", "cannot be read: permission denied"),
        Remark(b"shut", "cannot be listed: permission denied"),
    ]
    assert found.totals["portable"].directories == 3


def test_lists_have_an_end_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTED", 3)
    for number in range(10):
        (tmp_path / f"{number}.pid").write_text("1")
    found = survey(tmp_path, Classifier())
    assert len(found.left_out) == 3
    assert found.unlisted == 7
    assert found.totals["machine-bound"].files == 10
    assert all(isinstance(one, LeftOut) for one in found.left_out)


def test_a_link_to_a_directory_is_one_path_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file.md").write_text("x")
    for name in ("link", "node_modules", "up"):
        (tmp_path / "agent" / name).symlink_to(tmp_path if name == "up" else tmp_path / "outside")
    found = survey(tmp_path / "agent", Classifier())
    assert (found.symlinks, found.totals["portable"].files, found.totals["portable"].directories) == (3, 3, 0)
    assert found.left_out == ()


def test_no_directory_is_no_survey(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(NotFoundError, match="could not list"):
            survey(path, Classifier())


def test_a_directory_that_goes_away_meanwhile_is_named(tmp_path: Path) -> None:
    class Deleting(Classifier):
        def classify_dir(self, name: bytes, relative: bytes) -> None:
            if stat.S_ISDIR((tmp_path / "gone").stat().st_mode):
                (tmp_path / "gone").rmdir()

    (tmp_path / "gone").mkdir()
    found = survey(tmp_path, Deleting())
    assert found.unreadable == (Remark(b"gone", "cannot be listed: no such file or directory"),)
