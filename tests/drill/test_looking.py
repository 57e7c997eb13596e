"""Goal: what a proof looks at, it sees: a changed bit of a tree, and a key in any spelling.

Method: one change at a time; trees read from disk and from archives must agree; a value in every spelling, also
across the borders of what is read at once, and, as the control, other values, which must not be found.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from antsmem.core.errors import UsageError
from antsmem.core.spellings import spellings
from antsmem.drill import canaries, proofs
from antsmem.drill.canaries import Canaries
from antsmem.drill.machine import Ran
from antsmem.drill.new import Returned
from antsmem.drill.targets import Target, parse_target
from antsmem.drill.tree import differences, look, look_into

VALUE = b"AGE-SECRET-KEY-" + b"1QQ7Z" * 9


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "agent"
    (root / "memory").mkdir(parents=True)
    (root / "memory" / os.fsdecode(b"day-\xff.md")).write_text("a day")
    (root / "MEMORY.md").write_text("facts")
    (root / "link").symlink_to("MEMORY.md")
    os.utime(root / "MEMORY.md", ns=(1, 1_700_000_000_123_456_789))
    return root


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "MEMORY.md").write_text("Facts"), "MEMORY.md has another content"),
        (lambda root: (root / "MEMORY.md").chmod(0o600), "MEMORY.md has another mode"),
        (
            lambda root: os.utime(root / "MEMORY.md", ns=(1, 1_700_000_000_123_456_788)),
            "MEMORY.md has another time",
        ),
        (lambda root: (root / "MEMORY.md").unlink(), "MEMORY.md is missing"),
        (lambda root: (root / "more").mkdir(), "more is new"),
        (lambda root: ((root / "link").unlink(), (root / "link").symlink_to("x")), "link has another content"),
    ],
)
def test_any_change_of_a_tree_is_seen(tree: Path, change: object, said: str) -> None:
    (tree / "MEMORY.md").chmod(0o644)
    before = look(tree)
    assert differences(before, look(tree)) == []
    change(tree)  # type: ignore[operator]
    assert said in differences(before, look(tree))
    assert all("MEMORY.md" not in each for each in differences(before, look(tree), {b"MEMORY.md"}))


def test_a_tree_in_an_archive_is_the_tree_on_disk(tree: Path) -> None:
    packed = tree.parent / "packed.tar"
    subprocess.run(["tar", "-C", tree.parent, "--format=posix", "-cf", packed, "agent"], check=True)
    with tarfile.open(packed) as archive:
        assert look_into(archive) == look(tree)


@pytest.mark.parametrize("spelt", spellings(VALUE), ids=spellings(VALUE).values())
def test_a_value_is_found_however_it_is_spelt(spelt: bytes) -> None:
    hunt = Canaries([("key", VALUE)])
    hunt.look(b"before " + spelt + b" after", "a place")
    assert any(hit.startswith("key (") and hit.endswith(" in a place") for hit in hunt.searched.hits)
    other = Canaries([("key", VALUE[::-1].swapcase())])
    other.look(b"before " + spelt + b" after", "a place")
    assert other.searched.hits == ()


def test_a_value_across_what_is_read_at_once_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "_CHUNK", 64)
    (tmp_path / "file").write_bytes(b"x" * 40 + VALUE + b"x" * 200)
    (tmp_path / "allowed").write_bytes(VALUE)
    (tmp_path / "link").symlink_to(VALUE.decode())
    hunt = Canaries([("key", VALUE)])
    hunt.look_below(tmp_path, "here", {tmp_path / "allowed"})
    assert sorted(hunt.searched.hits) == ["key (raw) in here:file", "key (raw) in here:link"]


def test_a_target_is_one_of_four() -> None:
    assert parse_target("ssh:me@host") == Target("ssh", "me@host") and str(parse_target("process")) == "process"
    for text in ("", "ssh:", "ssh:-x", "container:-v", "container:a b", "process:", "moon:x"):
        with pytest.raises(UsageError):
            parse_target(text)


@pytest.mark.parametrize(("code", "holds"), [(4, True), (0, False), (1, False), (20, False), (40, False)])
def test_an_old_host_that_fails_for_another_reason_was_not_refused(code: int, holds: bool) -> None:
    ran = Ran(("relay", "send"), code, b"", b"")
    assert proofs.old_key_refused(Returned(ran, ran, ran)).holds is holds


def test_keys_that_are_not_known_are_not_claimed_to_have_stayed_in() -> None:
    found = Canaries([("key", VALUE)])
    assert proofs.nothing_leaked(found.searched, heard=True, known=False).holds is None
    found.look(VALUE, "a place")
    assert proofs.nothing_leaked(found.searched, heard=True, known=False).holds is False
