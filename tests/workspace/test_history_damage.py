"""Goal: a history that is killed, locked, damaged or full is as it was, or says so and is rebuilt.

Method: kills while it records, locks that were left, four kinds of damage, a git that meets a full disk.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import held, note, put, tree_at

from antsmem.core.errors import AntsmemError, DiskError, IntegrityError, LockedError
from antsmem.workspace import gitstore
from antsmem.workspace.gitstore import GitStore
from antsmem.workspace.history import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "agent" / "memory").mkdir(parents=True)
    return tree_at(tmp_path)


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
