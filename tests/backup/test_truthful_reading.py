"""Goal: a backup says what it could not read, or could not read at rest; nothing is missing in silence.

Method: files change, vanish, turn into something else or refuse to be read at chosen moments, by hooks in the
calls that read them; what needs a user without privileges runs as one.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import corpora
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_backups import Place, aged, tree_of, write

from antsmem.backup import cold, hot
from antsmem.backup.intake import WINDOW
from antsmem.backup.walk import Walk, is_racy
from antsmem.core.errors import NotFoundError

NOBODY = 65534


def unprivileged(action: Callable[[Path], None]) -> None:
    """Run `action` as a user whom file modes stop, in a directory of his own."""
    if os.geteuid() != 0:
        folder = Path(mkdtemp())
        try:
            action(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = Path(mkdtemp())
    os.chown(folder, NOBODY, NOBODY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action(folder)
            status = 0
        except BaseException:  # noqa: BLE001 - shown, and the parent sees the status
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder)
    assert os.waitstatus_to_exitcode(status) == 0


@contextmanager
def between_walk_and_read(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Do `act` once the workspace was listed and before any file of it is opened."""
    real = hot.walk

    def walk(*given: Any) -> Walk:
        found = real(*given)
        act()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(hot, "walk", walk)
        patch.setattr(cold, "walk", walk)
        yield


@contextmanager
def after_each_read(
    monkeypatch: pytest.MonkeyPatch, path: Path, act: Callable[[int], object]
) -> Iterator[list[int]]:
    """Do `act(n)` after the n-th look at the content of `path`."""
    inode, looks = path.stat().st_ino, list[int]()

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int, *rest: Any) -> Any:
            got = real(fd, *rest)
            if os.fstat(fd).st_ino == inode:
                looks.append(len(looks))
                act(len(looks))
            return got

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", watched(os.preadv))
        patch.setattr(os, "pread", watched(os.pread))
        yield looks


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_file_that_changes_once_while_it_is_read_is_read_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    path = write(place.workspace / "log.md", "first\n")

    def append(look: int) -> None:
        if look == 1:
            with path.open("a") as file:
                file.write("second\n")

    with after_each_read(monkeypatch, path, append):
        result = place.back_up(tier)
    assert result.complete
    (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    assert (tmp_path / "back/log.md").read_text() == "first\nsecond\n"
    assert tree_of(tmp_path / "back") == tree_of(place.workspace)


@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize("size", [10, 3 << 20, 9 << 20], ids=["small", "chunked", "many windows"])
def test_a_file_that_keeps_changing_is_stored_with_a_warning_and_read_again_next_time(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str, size: int
) -> None:
    path = write(place.workspace / "log.md", b"0" * size)

    def overwrite(look: int) -> None:
        with path.open("r+b") as file:
            file.write(b"%d" % (look % 10))
        os.utime(path, ns=(look, look))  # even a time long ago that is another one tells

    with after_each_read(monkeypatch, path, overwrite):
        result = place.back_up(tier)
    assert result.warnings == ("`log.md` kept changing while it was read: stored as read",)
    (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    assert (tmp_path / "back/log.md").stat().st_size == size
    if tier == "hot":
        again = place.back_up()
        assert again.complete and again.read_bytes == size
        place.restore(again.snapshot, tmp_path / "again")
        assert (tmp_path / "again/log.md").read_bytes() == path.read_bytes()


def test_a_file_that_grows_past_what_fits_in_memory_while_it_is_archived_keeps_the_archive_whole(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(place.workspace / "log.md", bytes(WINDOW - 2))

    def append(look: int) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    with after_each_read(monkeypatch, path, append):
        result = place.back_up("cold")
    place.thaw(result.snapshot, tmp_path / "back")
    assert (tmp_path / "back/log.md").stat().st_size >= WINDOW - 2


@given(st.integers(-(10**18), 10**18))
def test_a_time_from_just_before_the_run_or_after_its_start_is_never_relied_on(age_ns: int) -> None:
    """A file touched then may change again within the clock's tick, without another time to show for it."""
    now = 1_795_188_211_000_000_000
    status = os.stat_result((0o100644, 1, 2, 1, 0, 0, 5, 0, 0, 0, 0.0, 0.0, 0.0, 0, now - age_ns, now - age_ns))
    assert status.st_mtime_ns == now - age_ns
    young = (
        -86_400 * 10**9 < age_ns < 2 * 10**9
    )  # no run lasts longer than a day; more than that was set on purpose
    if young:
        assert is_racy(status, now)
    elif age_ns > 2 * 10**9 or age_ns < -3 * 86_400 * 10**9:
        assert not is_racy(status, now)


def test_an_unchanged_file_is_not_read_and_rehash_reads_it_all_the_same(place: Place) -> None:
    aged(write(place.workspace / "a.md", "resting\n"))
    assert place.back_up().read_bytes == 8
    assert place.back_up().read_bytes == 0
    assert place.back_up(rehash=True).read_bytes == 8


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_file_that_vanishes_after_the_listing_is_as_if_it_had_never_been(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    write(place.workspace / "stays.md")
    going = write(place.workspace / "goes.md")
    with between_walk_and_read(monkeypatch, going.unlink):
        result = place.back_up(tier)
    assert result.complete
    (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    assert os.listdir(tmp_path / "back") == ["stays.md"]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    os.symlink("/etc/passwd", path)


@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize("become", [_fifo, _folder, _link])
def test_a_file_that_became_something_else_is_named_and_never_followed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str, become: Callable[[Path], None]
) -> None:
    path = write(place.workspace / "a.md", b"x" * 512)  # as long as a page: its first bytes are looked at too
    write(place.workspace / "b.md")

    def swap() -> None:
        path.unlink()
        become(path)

    with between_walk_and_read(monkeypatch, swap):
        result = place.back_up(tier)
    assert len(result.warnings) == 1 and "could not read `a.md`" in result.warnings[0]
    back = (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    assert back.left_out == (("a.md", "unreadable"),)
    assert os.listdir(tmp_path / "back") == ["b.md"]


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_failing_disk_is_named_and_the_rest_is_kept(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    bad = write(place.workspace / "bad.bin", os.urandom(20 << 20))
    write(place.workspace / "good.md", "good\n")
    inode, real = bad.stat().st_ino, os.preadv

    def preadv(fd: int, buffers: Any, offset: int, *rest: Any) -> int:
        if offset and os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, buffers, offset, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", preadv)
        result = place.back_up(tier)
    assert len(result.warnings) == 1 and "could not read `bad.bin`" in result.warnings[0]
    back = (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    assert back.left_out == (("bad.bin", "unreadable"),)
    assert (tmp_path / "back/good.md").read_text() == "good\n"
    assert os.listdir(tmp_path / "back") == ["good.md"]


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_hard_links_survive_the_loss_of_the_path_that_was_to_be_the_file(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    first = write(place.workspace / "a.md", "shared\n")
    for name in ("b.md", "c.md"):
        os.link(first, place.workspace / name)
    with between_walk_and_read(monkeypatch, first.unlink):
        result = place.back_up(tier)
    (place.restore if tier == "hot" else place.thaw)(result.snapshot, tmp_path / "back")
    after, there = tree_of(tmp_path / "back"), tree_of(place.workspace)
    assert [(path, after[path]) for path in sorted(after)][1:] == [(path, there[path]) for path in sorted(there)][
        1:
    ]
    assert (tmp_path / "back/b.md").samefile(tmp_path / "back/c.md")


def test_what_a_user_may_not_read_is_named_and_the_rest_comes_back() -> None:
    def action(folder: Path) -> None:
        place = Place(folder)
        corpora.odd_zoo(place.workspace, 1 << 20)
        closed = write(place.workspace / "links to closed/one", "cannot be read\n")
        os.link(closed, place.workspace / "links to closed/two")
        closed.chmod(0)
        for tier in ("hot", "cold"):
            result = place.back_up(tier)
            said = "\n".join(result.warnings)
            for name in ("modes/0000", "modes/0200", "links to closed/one", "links to closed/two"):
                assert f"could not read `{name}`" in said
            assert "could not list `closed`" in said
            back = (place.restore if tier == "hot" else place.thaw)(result.snapshot, folder / tier)
            assert ("closed", "unreadable") in back.left_out
            assert ("links to closed/two", "unreadable") in back.left_out
            assert (folder / tier / "modes/0400").read_text() == "mode\n"
            assert stat.S_IMODE((folder / tier / "modes/shared").stat().st_mode) == 0o2775

    unprivileged(action)


def test_a_user_brings_back_in_place_what_is_closed_to_writing() -> None:
    def action(folder: Path) -> None:
        place = Place(folder)
        write(place.workspace / ".antsmem/agent.yaml", 'name: "kevin"\n')
        write(place.workspace / "closed/a.md", "old\n")
        write(place.workspace / "write-only", "old\n").chmod(0o600)
        write(place.workspace / "extra/kept.md", "stays\n")
        (place.workspace / "closed").chmod(0o500)
        (place.workspace / "extra").chmod(0o555)
        before = tree_of(place.workspace, (".antsmem",))
        snapshot = place.back_up().snapshot
        for name in ("closed", "extra"):
            (place.workspace / name).chmod(0o700)
        write(place.workspace / "closed/a.md", "new\n")
        (place.workspace / "write-only").chmod(0o200)
        write(place.workspace / "extra/new.md", "goes\n")
        write(place.workspace / "new/deep/new.md", "goes\n")
        (place.workspace / "closed").chmod(0o500)
        (place.workspace / "extra").chmod(0o555)
        (place.workspace / "new/deep").chmod(0o555)
        place.bring_back(snapshot)
        assert tree_of(place.workspace, (".antsmem",)) == before

    unprivileged(action)


def test_a_workspace_that_is_gone_is_an_error_and_no_empty_snapshot(place: Place) -> None:
    write(place.workspace / "a.md")
    place.back_up()
    shutil.rmtree(place.workspace)
    for tier in ("hot", "cold"):
        with pytest.raises(NotFoundError, match="is gone: nothing backed up"):
            place.back_up(tier)
    assert len(place.state().ids) == 1 and place.state().anchor.cold == ()
    assert place.check().problems == []


def test_a_file_system_without_extended_attributes_is_backed_up_like_any_other(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place.workspace / "a.md")

    def listxattr(_path: object) -> list[str]:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with monkeypatch.context() as patch:
        patch.setattr(os, "listxattr", listxattr)
        result = place.back_up()
    assert result.complete
    place.restore(result.snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == tree_of(place.workspace)


def test_extended_attributes_that_are_too_large_to_keep_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(place.workspace / "a.md")
    os.setxattr(path, "user.small", b"x")
    monkeypatch.setattr("antsmem.backup.intake._XATTR_BYTES", 0)
    assert place.back_up().warnings == ("the extended attributes of `a.md` are too large or oddly named",)


def test_a_log_beside_something_else_than_a_database_changes_nothing(place: Place, tmp_path: Path) -> None:
    """`x-wal` beside `x` is read with it only where both are files that are backed up at all."""
    os.symlink("nowhere", place.workspace / "link")
    os.mkfifo(place.workspace / "fifo")
    (place.workspace / "folder").mkdir()
    for name in ("link", "fifo", "folder", "missing", "text"):
        write(place.workspace / f"{name}-journal", "just a name\n")
    write(place.workspace / "text")
    before = tree_of(place.workspace)
    for _ in range(2):
        result = place.back_up()
        assert result.complete, result.warnings
    place.restore(result.snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == before


def test_a_left_out_database_stays_out_though_its_log_is_read(place: Place, tmp_path: Path) -> None:
    """A rule of the agent names the database only; its log is no reason to read it, nor the other way round."""
    place.classes = {"secret": ("vault.db", "other.db-wal"), "derived": ("index.db",)}
    for name in ("vault", "index", "other"):
        write(place.workspace / f"{name}.db", f"{name} itself\n")
        write(place.workspace / f"{name}.db-wal", f"{name}'s log\n")
    for _ in range(2):
        result = place.back_up()
        write(place.workspace / "vault.db-wal", "changed log\n")
        write(place.workspace / "other.db", "changed\n")
    place.restore(result.snapshot, tmp_path / "back")
    assert sorted(os.listdir(tmp_path / "back")) == ["index.db-wal", "other.db", "vault.db-wal"]
