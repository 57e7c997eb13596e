"""Goal: what is restored is what was backed up, to the last bit of metadata.

Method: workspaces with everything that a file system can hold go through the real file store and come back hot,
cold, in part and in place; the whole tree is compared: kinds, modes, owners, times in nanoseconds, contents, links
and extended attributes.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import corpora
import pytest
from made_backups import Place, Tree, aged, tree_of, write

from antsmem.backup.manifest import unescape
from antsmem.core.errors import UsageError

SECOND = 1_000_000_000


def portable(tree: Tree, left_out: tuple[tuple[str, str], ...]) -> Tree:
    """`tree` without what was left out of the backup, and all that is below it."""
    gone = [unescape(path.encode()) for path, _ in left_out]
    return {
        path: what
        for path, what in tree.items()
        if not any(path == each or path.startswith(each + b"/") for each in gone)
    }


def test_an_agent_comes_back_exactly_from_both_tiers(place: Place, tmp_path: Path) -> None:
    corpora.sample_agent(place.workspace)
    os.utime(place.workspace, ns=(SECOND, 1_600_000_000_123_456_789))
    before = tree_of(place.workspace)
    hot, cold = place.back_up(), place.back_up("cold")
    assert hot.complete and cold.complete, (hot.warnings, cold.warnings)
    restored = place.restore(hot.snapshot, tmp_path / "hot")
    thawed = place.thaw(cold.snapshot, tmp_path / "cold")
    assert restored.complete and thawed.complete
    assert dict(restored.left_out)[".env"] == "secret"
    assert tree_of(tmp_path / "hot") == portable(before, restored.left_out)
    assert tree_of(tmp_path / "cold") == portable(before, thawed.left_out)
    assert tree_of(place.workspace) == before, "backing up changed the workspace"
    assert place.check().problems == []


def test_the_odd_zoo_comes_back_exactly_from_both_tiers(place: Place, tmp_path: Path) -> None:
    corpora.odd_zoo(place.workspace, 1 << 26)
    before = tree_of(place.workspace)
    for tier in ("hot", "cold"):
        taken = place.back_up(tier)
        target = tmp_path / tier
        back = place.restore(taken.snapshot, target) if tier == "hot" else place.thaw(taken.snapshot, target)
        assert tree_of(target) == portable(before, back.left_out)
        assert dict(back.left_out)["unix-socket"] == "socket"
        assert stat.S_ISFIFO((target / "fifo").lstat().st_mode)
        assert (target / "sparse").stat().st_blocks < 5000, "the hole was filled"
        if os.geteuid() == 0:
            assert back.complete and taken.complete, (taken.warnings, back.warnings)


def test_the_odd_zoo_comes_back_in_place(place: Place) -> None:
    corpora.odd_zoo(place.workspace, 1 << 24)
    write(place.workspace / ".antsmem/agent.yaml", 'name: "kevin"\n')
    skip = (".antsmem", "unix-socket", "closed")
    before = tree_of(place.workspace, skip)
    snapshot = place.back_up().snapshot
    (place.workspace / "closed").chmod(0o700)
    for name in ("names", "links", "times", "deep"):
        shutil.rmtree(place.workspace / name)
    for name in ("modes/0444", "hard", "fifo", "attributes", "sparse"):
        (place.workspace / name).unlink()
    (place.workspace / "modes/0700").chmod(0o711)
    os.utime(place.workspace / "empty/file", ns=(0, 5))
    write(place.workspace / "names/not mine", "made since\n")
    write(place.workspace / "fifo", "not a FIFO any more\n")
    result = place.bring_back(snapshot)
    (place.workspace / "closed").chmod(0)
    assert tree_of(place.workspace, skip) == before
    kept = Path(result.replaced)
    assert (kept / "names/not mine").read_text() == "made since\n"
    assert (kept / "fifo").read_text() == "not a FIFO any more\n"


def test_fifteen_thousand_files_with_foreign_names_come_back(place: Place, tmp_path: Path) -> None:
    corpora.big_tree(place.workspace)
    before = tree_of(place.workspace)
    result = place.back_up()
    place.restore(result.snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == before
    assert place.back_up().read_bytes == 0, "nothing changed, and something was read"


def test_a_path_is_restored_with_the_directories_above_it_and_nothing_else(place: Place, tmp_path: Path) -> None:
    for name in ("a/b/wanted.md", "a/b/more/deep.md", "a/other.md", "top.md", "ab/c.md"):
        write(place.workspace / name, name)
    (place.workspace / "a").chmod(0o750)
    os.link(place.workspace / "top.md", place.workspace / "a/b/link.md")
    before = tree_of(place.workspace)
    snapshot = place.back_up().snapshot
    place.restore(snapshot, tmp_path / "back", [b"/a/b/"])
    after = tree_of(tmp_path / "back")
    assert sorted(after) == [b"", b"a", b"a/b", b"a/b/link.md", b"a/b/more", b"a/b/more/deep.md", b"a/b/wanted.md"]
    assert (tmp_path / "back/a/b/link.md").read_text() == "top.md", "a link to what is not restored is a file"
    assert all(after[path] == before[path] for path in after if path not in {b"a/b/link.md"})
    place.restore(snapshot, tmp_path / "all", [b"."])
    assert tree_of(tmp_path / "all") == before


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (8 << 20) + 3])
def test_a_file_of_any_size_comes_back(place: Place, tmp_path: Path, size: int) -> None:
    data = os.urandom(min(size, 1000)) * (size // 1000 + 1)
    write(place.workspace / "file", data[:size])
    database = b"SQLite format 3\0" + data
    write(place.workspace / "not-quite.db", database[:size])
    before = tree_of(place.workspace)
    place.restore(place.back_up().snapshot, tmp_path / "hot")
    place.thaw(place.back_up("cold").snapshot, tmp_path / "cold")
    assert tree_of(tmp_path / "hot") == tree_of(tmp_path / "cold") == before


def test_what_only_says_that_it_is_a_database_in_wal_mode_is_left_without_companions(place: Place) -> None:
    for versions in (b"\x01\x02", b"\x02\x01", b"\x02\x02"):
        write(place.workspace / f"{versions.hex()}.db", b"SQLite format 3\0\x02\0" + versions + bytes(492))
    before = tree_of(place.workspace)
    place.back_up()
    assert tree_of(place.workspace) == before


@pytest.mark.parametrize("holes", [[], [0], [1 << 20], [(9 << 20) + 5], [0, (30 << 20) - 1], [3 << 20, 20 << 20]])
def test_a_sparse_file_comes_back_with_its_bytes_and_its_holes(
    place: Place, tmp_path: Path, holes: list[int]
) -> None:
    path = place.workspace / "sparse"
    with path.open("wb") as file:
        for at in holes:
            file.seek(at)
            file.write(b"data")
        file.truncate(30 << 20)
    before = tree_of(place.workspace)
    place.restore(place.back_up().snapshot, tmp_path / "hot")
    place.thaw(place.back_up("cold").snapshot, tmp_path / "cold")
    assert tree_of(tmp_path / "hot") == tree_of(tmp_path / "cold") == before
    assert (tmp_path / "hot/sparse").stat().st_blocks <= path.stat().st_blocks + 4096 * len(holes)


def test_hard_links_across_hundreds_of_directories_land_where_they_belong(place: Place, tmp_path: Path) -> None:
    """More directories than a restore keeps open at once: a descriptor that was closed must not be used."""
    for number in range(180):
        write(place.workspace / f"dir{number:03d}/file", f"{number}\n")
    for number in range(180):
        other = (number * 77 + 7) % 180
        os.link(place.workspace / f"dir{number:03d}/file", place.workspace / f"dir{other:03d}/link-{number}")
    skip = (".antsmem",)
    before = tree_of(place.workspace, skip)
    snapshot = place.back_up().snapshot
    place.restore(snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == before
    for number in range(180):
        (place.workspace / f"dir{number:03d}/file").unlink()
        aged(write(place.workspace / f"dir{number:03d}/file", "changed\n"))
    place.bring_back(snapshot)
    assert tree_of(place.workspace, skip) == before


def test_hard_links_between_deep_branches_land_where_they_belong(place: Place, tmp_path: Path) -> None:
    """Each branch alone is deeper than the number of directories that stay open."""
    one, other = (place.workspace / Path(*[name] * 150) for name in ("a", "b"))
    write(one / "file", "deep\n")
    other.mkdir(parents=True)
    os.link(one / "file", other / "link")
    skip = (".antsmem",)
    before = tree_of(place.workspace, skip)
    snapshot = place.back_up().snapshot
    place.restore(snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == before
    (one / "file").unlink()
    write(one / "file", "changed\n")
    place.bring_back(snapshot)
    assert tree_of(place.workspace, skip) == before


def test_an_object_that_two_packs_hold_is_written_once(place: Place, tmp_path: Path) -> None:
    """Both are in the list of the snapshot, and two threads come across it."""
    for number in range(40):
        write(place.workspace / f"{number}.md", f"{number}\n")
    first = place.back_up().snapshot
    place.cache.unlink()
    for path in place.files("index"):
        path.unlink()
    packs = place.folder / "packs"
    packs.rename(place.folder / "aside")
    packs.mkdir()
    second = place.back_up().snapshot  # all of it once more, in another pack
    for path in (place.folder / "aside").iterdir():
        path.rename(packs / path.name)
    both = "".join(sorted({*_lines(place, first), *_lines(place, second)}))
    (place.folder / f"snapshots/{second}.packs").write_text(both)
    for number in range(10):
        place.restore(second, tmp_path / f"{number}")
        assert tree_of(tmp_path / f"{number}") == tree_of(place.workspace)
    assert place.check().problems == []


def _lines(place: Place, snapshot: str) -> list[str]:
    return (place.folder / f"snapshots/{snapshot}.packs").read_text().splitlines(keepends=True)


def test_in_place_only_the_path_asked_for_is_touched(place: Place) -> None:
    for name in ("notes/a.md", "notes/b.md", "c.md"):
        write(place.workspace / name, "old\n")
    snapshot = place.back_up().snapshot
    for name in ("notes/a.md", "notes/b.md", "c.md", "notes/new.md"):
        write(place.workspace / name, "new\n")
    place.bring_back(snapshot, [b"notes/a.md"])
    texts = [(place.workspace / name).read_text() for name in ("notes/a.md", "notes/b.md", "c.md", "notes/new.md")]
    assert texts == ["old\n", "new\n", "new\n", "new\n"]


def test_in_place_kinds_that_changed_are_put_right_and_the_others_kept(place: Place) -> None:
    write(place.workspace / "was-file", "file\n")
    write(place.workspace / "was-folder/inside", "inside\n")
    os.symlink("was-file", place.workspace / "was-link")
    skip = (".antsmem",)
    before = tree_of(place.workspace, skip)
    snapshot = place.back_up().snapshot
    (place.workspace / "was-file").unlink()
    write(place.workspace / "was-file/now/folder", "deep\n")
    shutil.rmtree(place.workspace / "was-folder")
    write(place.workspace / "was-folder", "now a file\n")
    (place.workspace / "was-link").unlink()
    write(place.workspace / "was-link/below", "below\n")
    result = place.bring_back(snapshot)
    assert tree_of(place.workspace, skip) == before
    kept = Path(result.replaced)
    assert sorted(path.read_text() for path in kept.rglob("*") if path.is_file()) == [
        "below\n", "deep\n", "now a file\n",
    ]  # fmt: skip


def test_in_place_secrets_and_caches_stay_as_they_are(place: Place) -> None:
    write(place.workspace / "a.md", "old\n")
    write(place.workspace / ".env", "unlike the backup: not in it\n")
    write(place.workspace / "gone/.env", "kept, though its directory is not in the snapshot\n")
    snapshot = place.back_up().snapshot
    write(place.workspace / ".env", "newer\n")
    write(place.workspace / "node_modules/x/index.js", "made since\n")
    write(place.workspace / "later/keys/my.pem", "made since\n")
    write(place.workspace / "later/notes.md", "made since\n")
    place.bring_back(snapshot)
    assert (place.workspace / ".env").read_text() == "newer\n"
    assert (place.workspace / "node_modules/x/index.js").exists()
    assert (place.workspace / "later/keys/my.pem").exists()
    assert not (place.workspace / "later/notes.md").exists()


def test_in_place_the_identity_log_never_goes_back(place: Place) -> None:
    log = write(place.workspace / ".antsmem/identity/did.jsonl", "version 1\n")
    write(place.workspace / "a.md", "old\n")
    snapshot = place.back_up().snapshot
    log.write_text("version 1\nversion 2\n")
    write(place.workspace / "a.md", "new\n")
    place.bring_back(snapshot)
    assert (place.workspace / "a.md").read_text() == "old\n"
    assert log.read_text() == "version 1\nversion 2\n", "this host's own key would be unknown"


def test_in_place_metadata_alone_counts_as_a_difference(place: Place) -> None:
    path = write(place.workspace / "a.md", "same\n")
    os.setxattr(path, "user.note", b"old")
    os.symlink("a.md", place.workspace / "link")
    skip = (".antsmem",)
    before = tree_of(place.workspace, skip)
    snapshot = place.back_up().snapshot
    os.setxattr(path, "user.note", b"new")
    os.utime(place.workspace / "link", ns=(1, 1), follow_symlinks=False)
    assert place.bring_back(snapshot).changed == 2
    assert tree_of(place.workspace, skip) == before
    assert place.bring_back(snapshot).changed == 0


def test_a_target_that_is_not_empty_is_refused_and_left_alone(place: Place, tmp_path: Path) -> None:
    from antsmem.core.errors import WouldOverwriteError

    write(place.workspace / "a.md")
    hot, cold = place.back_up().snapshot, place.back_up("cold").snapshot
    occupied = write(tmp_path / "target/mine", "mine\n").parent
    file = write(tmp_path / "file", "mine\n")
    link = tmp_path / "link"
    os.symlink(tmp_path / "elsewhere", link)
    for target in (occupied, file, link):
        for verb, snapshot in ((place.restore, hot), (place.thaw, cold)):
            with pytest.raises(WouldOverwriteError):
                verb(snapshot, target)
    assert (occupied / "mine").read_text() == file.read_text() == "mine\n"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".antsmem")) == []
    (tmp_path / "empty").mkdir()
    place.restore(hot, tmp_path / "empty")
    assert (tmp_path / "empty/a.md").exists()


def test_a_mount_point_is_refused_before_anything_is_fetched(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be replaced at the end."""
    snapshot = place.back_up().snapshot
    target = tmp_path / "stick"
    target.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == target)
    with pytest.raises(UsageError, match="is a mount point"):
        place.restore(snapshot, target)


def test_in_place_what_a_link_leads_to_is_not_taken_for_the_directory(place: Place) -> None:
    """The directory was moved out, with its times, and linked to: exactly the same files seem to be there."""
    aged(write(place.workspace / "notes/a.md"))
    os.link(place.workspace / "notes/a.md", place.workspace / "notes/b.md")
    aged(write(place.workspace / "notes/deep/c.md"))
    snapshot, before = place.back_up().snapshot, tree_of(place.workspace)
    os.rename(place.workspace / "notes", place.root / "elsewhere")
    outside = tree_of(place.root / "elsewhere")
    os.symlink(place.root / "elsewhere", place.workspace / "notes")
    kept = Path(place.bring_back(snapshot).replaced)
    assert tree_of(place.workspace, [".antsmem"]).keys() == before.keys()
    assert (place.workspace / "notes/deep/c.md").read_text() == "text\n"
    assert os.readlink(kept / "notes") == str(place.root / "elsewhere")
    assert tree_of(place.root / "elsewhere") == outside, "nothing outside of the workspace is touched"
    assert place.bring_back(snapshot).changed == 0
