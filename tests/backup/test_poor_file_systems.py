"""Goal: what the place of a restore cannot hold is said, and the rest is restored.

Method: the calls of a file system that has no links, no owners, no modes, no extended attributes, no long names or
no difference between upper and lower case answer as such a file system does; then real ones where there are any.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_backups import Place, aged, tree_of, write


@pytest.fixture
def rich(place: Place) -> Place:
    """A workspace with everything that poor file systems do not know."""
    workspace = place.workspace
    write(workspace / "plain.md", "plain\n")
    write(workspace / "large.bin", os.urandom(3 << 20))
    os.setxattr(write(workspace / "attributes.md"), "user.note", b"value")
    os.symlink("plain.md", workspace / "link")
    os.link(write(workspace / "first.md", "shared\n"), workspace / "second.md")
    os.mkfifo(workspace / "fifo")
    write(workspace / "folder/inside.md", "inside\n")
    return place


def refuse(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, when: Callable[..., bool] = lambda *_: True
) -> None:
    real = getattr(os, name)

    def refusing(*given: Any, **how: Any) -> Any:
        if when(*given):
            raise OSError(number, os.strerror(number))
        return real(*given, **how)

    monkeypatch.setattr(os, name, refusing)


@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize(
    ("call", "number", "missing", "said"),
    [
        ("symlink", errno.EPERM, "link", "`link`: could not be made on this file system"),
        ("link", errno.EPERM, "second.md", "`second.md`: could not be made on this file system"),
        ("mkfifo", errno.EOPNOTSUPP, "fifo", "`fifo`: could not be made on this file system"),
        ("setxattr", errno.EOPNOTSUPP, "", "cannot give it its extended attribute 'user.note'"),
        ("fchmod", errno.EPERM, "", "cannot give it its mode"),
        ("utime", errno.EINVAL, "", "cannot give it its exact time"),
    ],
)
def test_what_is_refused_is_named_and_the_rest_comes_back(
    rich: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    missing: str,
    said: str,
    tier: str,
) -> None:
    snapshot = rich.back_up(tier).snapshot
    with monkeypatch.context() as patch:
        refuse(patch, call, number)
        result = (rich.restore if tier == "hot" else rich.thaw)(snapshot, tmp_path / "back")
    assert not result.complete and any(said in warning for warning in result.warnings), result.warnings
    there = {os.fsdecode(path) for path in tree_of(tmp_path / "back")}
    assert there == {os.fsdecode(path) for path in tree_of(rich.workspace)} - {missing} | {""}
    for name in ("plain.md", "large.bin", "folder/inside.md", "first.md"):
        assert (tmp_path / "back" / name).read_bytes() == (rich.workspace / name).read_bytes()


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_names_that_the_file_system_does_not_take_are_named(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    for name in ("good.md", "bad?.md", "bad? folder/inside.md", "bad? folder/deep/inside.md"):
        write(place.workspace / name)
    write(place.workspace / "bad?.bin", os.urandom(2 << 20))
    os.link(place.workspace / "bad?.md", place.workspace / "linked.md")
    snapshot = place.back_up(tier).snapshot

    def bad(name: Any, *_: Any) -> bool:
        return isinstance(name, bytes) and b"?" in name

    with monkeypatch.context() as patch:
        for call in ("open", "mkdir"):
            refuse(patch, call, errno.EINVAL, bad)
        result = (place.restore if tier == "hot" else place.thaw)(snapshot, tmp_path / "back")
    assert not result.complete
    assert "bad?" in " ".join(result.warnings)
    assert sorted(os.listdir(tmp_path / "back")) == ["good.md"]


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_twins_that_differ_in_case_only_never_mix_their_bytes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    """As on macOS: the second of the twins is refused by the kernel, and stays away."""
    for name, data in (
        ("Twin.bin", b"A" * (2 << 20)),
        ("twin.bin", b"b" * (2 << 20)),
        ("Note.md", b"N"),
        ("note.md", b"n"),
    ):
        write(place.workspace / name, data)
    os.link(place.workspace / "twin.bin", place.workspace / "z")
    os.link(place.workspace / "Twin.bin", place.workspace / "y")
    snapshot = place.back_up(tier).snapshot
    opened, linked = _case_insensitive(os.open), _case_insensitive_link(os.link)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)
        patch.setattr(os, "link", linked)
        result = (place.restore if tier == "hot" else place.thaw)(snapshot, tmp_path / "back")
    assert not result.complete and "file exists" in " ".join(result.warnings)
    names = set(os.listdir(tmp_path / "back"))
    assert len(names & {"Twin.bin", "twin.bin"}) == len(names & {"Note.md", "note.md"}) == 1
    for name in names:
        assert (tmp_path / "back" / name).read_bytes() == (place.workspace / name).read_bytes(), name
    assert len(names & {"y", "z"}) == 1, "the link of the twin that is not there must not lead to the other"


def _case_insensitive(real: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if isinstance(path, bytes) and dir_fd is not None and b"/" not in path:
            for there in map(os.fsencode, os.listdir(dir_fd)):
                if there.lower() == path.lower():
                    path = there
        return real(path, flags, mode, dir_fd=dir_fd)

    return opened


def _case_insensitive_link(real: Callable[..., None]) -> Callable[..., None]:
    def linked(source: bytes, target: bytes, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        for there in map(os.fsencode, os.listdir(src_dir_fd)):
            if there.lower() == source.lower():
                source = there
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    return linked


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_whose_owner_cannot_be_given_loses_its_rights_to_act_as_him(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(place.workspace / "helper")
    os.chown(path, 65534, 65534)
    path.chmod(0o6755)
    snapshot = place.back_up().snapshot
    place.restore(snapshot, tmp_path / "whole")
    assert (tmp_path / "whole/helper").stat().st_mode & 0o7777 == 0o6755
    with monkeypatch.context() as patch:
        refuse(patch, "fchown", errno.EPERM)
        result = place.restore(snapshot, tmp_path / "poor")
    assert any("cannot give it its owner" in warning for warning in result.warnings)
    assert (tmp_path / "poor/helper").stat().st_mode & 0o7777 == 0o755


def test_a_time_that_the_kernel_cuts_without_a_word_is_noticed(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """tmpfs keeps the year 2500, ext4 ends in 2446; where both keep it there is nothing to notice."""
    path = write(place.workspace / "future.md")
    os.utime(path, ns=(0, 16_725_225_600_000_000_007))
    snapshot = place.back_up().snapshot
    target = tmp_path_factory.mktemp("disk") / "back"
    result = place.restore(snapshot, target)
    assert result.complete is ((target / "future.md").stat().st_mtime_ns == path.stat().st_mtime_ns)


def test_a_warning_counts_instead_of_repeating_itself(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        aged(write(place.workspace / f"{number:02d}.md", f"{number}\n"))
    snapshot = place.back_up().snapshot
    with monkeypatch.context() as patch:
        refuse(patch, "fchmod", errno.EPERM)
        result = place.restore(snapshot, tmp_path / "back")
    assert (
        len(result.warnings) == 1 and "and 50 more: this file system cannot give it its mode" in result.warnings[0]
    )


def test_a_full_disk_is_an_error_and_leaves_nothing(
    rich: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antsmem.core.errors import DiskError

    snapshot, cold = rich.back_up().snapshot, rich.back_up("cold").snapshot
    for verb, which in ((rich.restore, snapshot), (rich.thaw, cold)):
        for call in ("write", "pwrite", "ftruncate", "mkdir"):
            if call == "write" and verb == rich.thaw:
                continue  # an archive is written by pwrite alone
            with monkeypatch.context() as patch:
                refuse(patch, call, errno.ENOSPC)
                with pytest.raises(DiskError):
                    verb(which, tmp_path / "there" / "back")
            assert not (tmp_path / "there").exists() or os.listdir(tmp_path / "there") == []
