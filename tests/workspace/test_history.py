"""Goal: any version comes back exactly, and nothing in the tree can command the history or get a secret into it.

Method: trees with hostile attributes, settings, hooks and names; kills, damage and full disks of the repository.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antsmem.core.errors import (
    AntsmemError,
    DiskError,
    DriverMissingError,
    IntegrityError,
    LockedError,
    NotFoundError,
    UsageError,
)
from antsmem.identity.scanner import KEY_BYTES, Scanner
from antsmem.workspace import gitstore, history
from antsmem.workspace.classes import Classifier
from antsmem.workspace.gitstore import GitStore
from antsmem.workspace.history import Recorded, Tree, record_history
from antsmem.workspace.versions import difference, revisions, undo, version_at, versions_of

TOKEN = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "agent" / "memory").mkdir(parents=True)
    return tree_at(tmp_path)


def tree_at(place: Path) -> Tree:
    scanner = Scanner(fingerprint_key=bytes(KEY_BYTES))
    store = GitStore(place / "history.git", os.environ["PATH"])
    return Tree(place / "agent", store, Classifier({}), lambda: scanner)


def put(tree: Tree, name: str | bytes, data: bytes, mode: int = 0o644) -> Path:
    path = tree.root / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def note(tree: Tree, reason: str = "test") -> Recorded:
    return record_history(tree, reason, time.time_ns())


def held(tree: Tree, name: bytes) -> list[bytes]:
    """The bytes of all versions of a file, newest first."""
    return [tree.store.blob(each.blob) if each.blob else b"" for each in versions_of(tree.store, name, 100)]


def test_every_version_is_there_newest_first(tree: Tree) -> None:
    for number in range(4):
        put(tree, "MEMORY.md", b"version %d" % number)
        assert note(tree).changed == (b"MEMORY.md",)
    assert held(tree, b"MEMORY.md") == [b"version %d" % number for number in (3, 2, 1, 0)]


def test_where_nothing_changed_nothing_is_written(tree: Tree) -> None:
    put(tree, "MEMORY.md", b"x")
    first = note(tree)
    before = {path: path.stat().st_mtime_ns for path in tree.store.path.rglob("*")}
    time.sleep(0.03)
    assert note(tree).revision == note(tree).revision == ""
    assert len(revisions(tree.store, 9)) == 1 and first.revision
    assert set(tree.store.path.rglob("*")) == set(before)


HOSTILE = {
    ".gitattributes": b"* text=auto eol=crlf ident filter=evil diff=evil working-tree-encoding=UTF-16\n",
    "memory/.gitattributes": b"*.md -text eol=lf ident\n",
    ".gitignore": b"*\n",
    ".gitmodules": b'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% /tmp/pwned\n',
    ".gitconfig": b'[filter "evil"]\n\tclean = touch PWNED\n[core]\n\tfsmonitor = touch PWNED\n',
}


def test_bytes_stay_as_they_are_whatever_the_tree_tells_git(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    hook = put(tree, "../home/hooks/post-commit", b"#!/bin/sh\ntouch %s/PWNED\n" % os.fsencode(tmp_path), 0o755)
    (home / ".gitconfig").write_bytes(
        b"[core]\n\tautocrlf = true\n\thooksPath = %s\n" % os.fsencode(hook.parent)
        + HOSTILE[".gitconfig"].replace(b"touch PWNED", b"touch %s/PWNED" % os.fsencode(tmp_path))
    )
    for name in ("reference-transaction", "post-checkout", "pre-commit", "post-index-change"):
        shutil.copy(hook, hook.parent / name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.autocrlf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    for name, data in HOSTILE.items():
        put(tree, name, data)
    mixed = b"$Id$\none\r\ntwo\nthree\r\n\0\xff\xfe"
    path = put(tree, "memory/2026-11-20.md", mixed)
    note(tree)
    put(tree, "memory/2026-11-20.md", b"gone")
    note(tree)
    for variable in [each for each in os.environ if each.startswith("GIT_")]:
        monkeypatch.delenv(variable)  # as the commands do before GitPython reads them
    assert b"Binary files" in difference(tree, b"memory/2026-11-20.md", "", time.time_ns())
    undo(tree, b"memory/2026-11-20.md", "", time.time_ns())
    assert path.read_bytes() == mixed
    assert {name.encode() for name in HOSTILE} <= {each for row in revisions(tree.store, 9) for each in row.paths}
    assert not (tmp_path / "PWNED").exists() and not (tmp_path / "elsewhere").exists()


ODD = (
    *(
        b"od\xffd",
        b'quo"ted',
        b"back\\slash",
        b"new\nline",
        b"-rf",
        b" lead",
        b"*",
        b"?[x]",
        b":(glob)x",
        b"git~1",
    ),
    *(b".gitignore", "\u202eevil".encode(), b"a" * 200, b"HEAD", b"\x7f\x01", b"e\xcc\x81"),
)


def test_files_of_any_name_come_back(tree: Tree) -> None:
    paths = [put(tree, b"memory/" + name, b"first") for name in ODD]
    note(tree)
    for path in paths[::2]:
        path.write_bytes(b"second")
    for path in paths[1::2]:
        path.unlink()
    note(tree)
    for name, path in zip(ODD, paths, strict=True):
        undo(tree, b"memory/" + name, "", time.time_ns())
        assert path.read_bytes() == b"first", name


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.binary(max_size=300), st.sampled_from([0o600, 0o644, 0o755, 0o640, 0o444])),
        min_size=2,
        max_size=4,
    )
)
def test_undo_brings_back_exact_bytes_and_mode(tmp_path: Path, states: list[tuple[bytes, int]]) -> None:
    place = tmp_path / os.urandom(4).hex()
    tree = tree_at(place)
    commits = []
    for data, mode in states:
        path = put(tree, "TOOLS.md", data, mode)
        commits.append(note(tree).revision or commits[-1])
        path.chmod(0o644)
    for (data, mode), revision in zip(states, commits, strict=True):
        undo(tree, b"TOOLS.md", revision, time.time_ns())
        assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (data, mode) or (data, mode) not in states
    shutil.rmtree(place)


def test_what_undo_replaces_is_in_the_history_first(tree: Tree) -> None:
    path = put(tree, "USER.md", b"right")
    note(tree)
    path.write_bytes(b"never recorded")
    done = undo(tree, b"USER.md", "", time.time_ns())
    assert path.read_bytes() == b"right"
    assert tree.store.blob(version_at(tree.store, b"USER.md", done.replaced).blob) == b"never recorded"


def test_nested_repositories_and_own_files_stay_untouched(tree: Tree) -> None:
    nested = tree.root / "memory"
    subprocess.run(["git", "init", "-q", nested], check=True)
    put(tree, "memory/x.md", b"x")
    put(tree, ".antsmem/agent.yaml", b"name: kevin\n")
    put(tree, "sub/.GIT/config", b"x")
    before = {path: path.stat().st_mtime_ns for path in (nested / ".git").rglob("*")}
    note(tree)
    assert {path: path.stat().st_mtime_ns for path in (nested / ".git").rglob("*")} == before
    assert set(tree.store.tree("main:files")) == {b"memory/x.md"}


def test_a_secret_never_enters_and_is_told(tree: Tree) -> None:
    put(tree, "TOOLS.md", f"deploy with {TOKEN}\n".encode())
    put(tree, "key.pem", b"class secret")
    put(tree, "node_modules/x.js", b"class derived")
    found = note(tree)
    assert [(each.path, each.why.split(" (")[0]) for each in found.left_out] == [(b"TOOLS.md", "holds a secret")]
    objects = tree.store.said("cat-file", "--batch-all-objects", "--batch")
    assert TOKEN.encode() not in objects and b"class secret" not in objects and b"derived" not in objects
    put(tree, "TOOLS.md", b"clean now")
    assert note(tree).changed == (b"TOOLS.md",)


def test_control_without_the_scanner_it_would_have_entered(tree: Tree) -> None:
    put(tree, "TOOLS.md", f"deploy with {TOKEN}\n".encode())
    blind = Scanner(fingerprint_key=bytes(KEY_BYTES), rules=())
    record_history(Tree(tree.root, tree.store, tree.classifier, lambda: blind), "x", time.time_ns())
    assert TOKEN.encode() in tree.store.said("cat-file", "--batch-all-objects", "--batch")


def test_undo_over_a_secret_keeps_it_outside_of_the_history(tree: Tree) -> None:
    path = put(tree, "TOOLS.md", b"clean")
    note(tree)
    path.write_bytes(TOKEN.encode())
    done = undo(tree, b"TOOLS.md", "", time.time_ns())
    assert path.read_bytes() == b"clean"
    assert Path(done.replaced).read_bytes() == TOKEN.encode() and ".antsmem/replaced" in done.replaced
    assert TOKEN.encode() not in tree.store.said("cat-file", "--batch-all-objects", "--batch")


def test_undo_does_not_follow_links_out_of_the_workspace(tree: Tree, tmp_path: Path) -> None:
    put(tree, "memory/x.md", b"x")
    note(tree)
    shutil.rmtree(tree.root / "memory")
    (tmp_path / "outside").mkdir()
    (tree.root / "memory").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="leads out"):
        undo(tree, b"memory/x.md", "", time.time_ns())
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_in_the_place_of_a_file_is_put_aside(tree: Tree, tmp_path: Path) -> None:
    path = put(tree, "USER.md", b"x")
    note(tree)
    path.unlink()
    path.symlink_to("/etc/hostname")
    done = undo(tree, b"USER.md", "", time.time_ns())
    assert path.read_bytes() == b"x" and not path.is_symlink() and os.readlink(done.replaced) == "/etc/hostname"


def test_large_and_binary_files_stay_out(tree: Tree) -> None:
    put(tree, "big.md", b"x" * (history.LARGEST_BYTES + 1))
    put(tree, "picture.png", b"\x89PNG\0" + os.urandom(history.LARGEST_BINARY_BYTES))
    put(tree, "icon.png", b"\x89PNG\0" + bytes(100))
    found = note(tree)
    assert found.changed == (b"icon.png",)
    assert [each.why for each in found.left_out] == ["larger than 4 MiB", "binary, larger than 256 KiB"]


def test_a_directory_that_cannot_be_listed_is_not_taken_for_gone(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tree, "memory/x.md", b"x")
    note(tree)
    listing = os.scandir

    def failing(path: bytes) -> object:
        if path.endswith(b"/memory"):
            raise OSError(5, "Input/output error")
        return listing(path)

    monkeypatch.setattr(history.os, "scandir", failing)
    found = note(tree)
    assert found.revision == "" and found.unsettled == (b"memory/x.md",)


def test_a_workspace_that_is_gone_is_an_error_and_no_deletion(tree: Tree) -> None:
    put(tree, "memory/x.md", b"x")
    note(tree)
    shutil.rmtree(tree.root)
    with pytest.raises(NotFoundError, match="is gone"):
        note(tree)
    assert set(tree.store.tree("main:files")) == {b"memory/x.md"}


def test_a_lost_memory_of_the_last_pass_costs_nothing_but_time(tree: Tree) -> None:
    put(tree, "USER.md", b"x", 0o600)
    note(tree)
    for damage in (None, b"", b"garbage", b"i\x01\0\0\0"):
        place = tree.store.path / "antsmem-known"
        place.unlink() if damage is None else place.write_bytes(damage)
        assert note(tree).revision == ""
    put(tree, "USER.md", b"y", 0o600)
    assert note(tree).changed == (b"USER.md",)


def killed(tree: Tree, after_seconds: float) -> None:
    """Record in another process, which is killed meanwhile."""
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, after_seconds)
        note(tree)
        os._exit(0)
    os.waitpid(pid, 0)


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tree: Tree) -> None:
    put(tree, "USER.md", b"0")
    note(tree)
    for number in range(1, 13):
        put(tree, "USER.md", b"%d" % number)
        killed(tree, 0.002 * number)
        assert held(tree, b"USER.md")[0] in {b"%d" % number, b"%d" % (number - 1)}
        note(tree)
        assert held(tree, b"USER.md")[0] == b"%d" % number
    assert tree.store.is_whole()


def test_locks_that_a_killed_git_left_are_opened(tree: Tree) -> None:
    put(tree, "USER.md", b"1")
    note(tree)
    for name in ("HEAD.lock", "refs/heads/main.lock", "packed-refs.lock"):
        (tree.store.path / name).touch()
    put(tree, "USER.md", b"2")
    assert note(tree).revision


def test_one_writer_at_a_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree, "USER.md", b"1")
    note(tree)
    monkeypatch.setattr(gitstore, "_WAIT_SECONDS", 0.05)
    put(tree, "USER.md", b"2")
    with tree.store.writing(), pytest.raises(LockedError):
        note(tree)


def empty_head(store: GitStore) -> None:
    (store.path / "refs/heads/main").write_bytes(b"")


def lose_newest(store: GitStore) -> None:
    head = store.head()
    (store.path / "objects" / head[:2] / head[2:]).unlink()


def flip_blobs(store: GitStore) -> None:
    for place in (store.path / "objects").glob("??/*"):
        if store.run(["cat-file", "-t", place.parent.name + place.name])[1] == b"blob\n":
            place.chmod(0o600)
            place.write_bytes(place.read_bytes()[:-4] + b"xxxx")
            return


def lose_all(store: GitStore) -> None:
    shutil.rmtree(store.path / "objects")


@pytest.mark.parametrize("damage", [empty_head, lose_newest, flip_blobs, lose_all])
def test_a_damaged_history_is_told_and_rebuilt_and_nothing_is_lost(
    tree: Tree, damage: Callable[[GitStore], None]
) -> None:
    for number in range(3):
        put(tree, "USER.md", b"%d" % number)
        note(tree)
    damage(tree.store)
    try:
        whole = tree.store.is_whole()
    except AntsmemError as error:
        assert isinstance(error, IntegrityError) and "--rebuild" in error.hint
        whole = False
    assert not whole
    aside = tree.store.rebuild("20261120T000000.000Z")
    assert aside.exists() and (aside / "HEAD").exists()
    note(tree)
    assert tree.store.is_whole()
    versions = held(tree, b"USER.md")
    assert versions[0] == b"2"
    assert damage not in {empty_head, lose_newest} or b"1" in versions, versions


def test_a_full_disk_is_told_and_the_history_is_as_it_was(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree, "USER.md", b"1")
    note(tree)
    fake = put(
        tree,
        "../bin/git",
        b"#!/bin/sh\ncat >/dev/null\necho 'fatal: write error: No space left on device' >&2\nexit 128\n",
        0o755,
    )
    put(tree, "USER.md", b"2")
    full = Tree(
        tree.root, GitStore(tree.store.path, f"{fake.parent}:{os.environ['PATH']}"), tree.classifier, tree.scanner
    )
    with pytest.raises(DiskError, match="full"):
        note(full)
    assert note(tree).changed == (b"USER.md",) and held(tree, b"USER.md") == [b"2", b"1"]


def test_without_git_the_package_is_named(tree: Tree) -> None:
    put(tree, "USER.md", b"1")
    bare = Tree(tree.root, GitStore(tree.store.path, "/nonexistent"), tree.classifier, tree.scanner)
    with pytest.raises(DriverMissingError, match="git"):
        note(bare)


def test_its_size_is_bounded_by_dropping_the_oldest(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitstore, "_LOOSE", -1)
    small = Tree(tree.root, GitStore(tree.store.path, tree.store.programs, 80_000), tree.classifier, tree.scanner)
    for _ in range(14):
        put(tree, "USER.md", os.urandom(10_000).hex().encode())
        note(small)
    newest = put(tree, "USER.md", b"newest")
    note(small)
    assert small.store.size_bytes() < 130_000 and small.store.is_whole()
    newest.unlink()
    undo(small, b"USER.md", "", time.time_ns())
    assert newest.read_bytes() == b"newest" and 3 < len(revisions(small.store, 99)) < 17


def test_wrong_revisions_and_paths_are_told(tree: Tree) -> None:
    with pytest.raises(NotFoundError, match="no history yet"):
        revisions(tree.store, 1)
    put(tree, "USER.md", b"1")
    note(tree)
    for wrong in ("nonsense", "--all", "HEAD~9", "main:files", "\udcff"):
        with pytest.raises(NotFoundError):
            version_at(tree.store, b"USER.md", wrong)
        with pytest.raises(NotFoundError):
            difference(tree, None, wrong, time.time_ns())
    for name in (b"never.md", b"memory"):
        with pytest.raises((NotFoundError, UsageError)):
            undo(tree, name, "", time.time_ns())
    with pytest.raises(NotFoundError, match="no other version"):
        undo(tree, b"USER.md", "", time.time_ns())
