"""Goal: any version comes back exactly, and nothing in the tree can command the history or get a secret into it.

Method: trees with hostile attributes, settings, hooks and names; kills, damage and full disks of the repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from histories import held, note, put, tree_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antsmem.core.errors import (
    DriverMissingError,
    NotFoundError,
    UsageError,
)
from antsmem.identity.scanner import KEY_BYTES, Scanner
from antsmem.workspace import gitstore, history
from antsmem.workspace.gitstore import GitStore
from antsmem.workspace.history import Tree, record_history
from antsmem.workspace.versions import difference, revisions, undo, version_at

TOKEN = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "agent" / "memory").mkdir(parents=True)
    return tree_at(tmp_path)


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


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
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
