"""Goal: whatever happens to a repository, a check finds it, and a restore gives the exact bytes or refuses.

Method: a small repository; one bit of every byte flipped, every file cut, lengthened, emptied, removed and put in
the place of every other one. 100 % must be found; 0 may be restored as something else.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from broken.damages import broken, cuts, exchanges, files_of, flips
from made_backups import Agent, Place, Tree, aged, tree_of, write

from antsmem.backup.index import extend_index, load_index
from antsmem.backup.repository import Keyring, read_state
from antsmem.core.errors import AntsmemError
from antsmem.core.record import replace

HARMLESS = {"lease.json", "garbage.json"}
"""A torn lease protects nobody, a torn list of garbage starts the grace period anew: both are meant so."""

SEALED_STEP, README_STEP = 5, 16
"""Where one SHA-256 stands for a whole file, some of its bytes are enough; of what is parsed, each is flipped."""


class Small:
    """A repository with one snapshot of each tier, and what they must come back as."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root, Agent())
        aged(write(self.place.workspace / "SOUL.md", "one\n"))
        self.trees: dict[str, Tree] = {}
        self.snapshot("hot")
        self.snapshot("cold")
        self.target = root / "target"

    def snapshot(self, tier: str) -> None:
        taken = self.place.back_up(tier).snapshot
        self.trees[f"{tier} {taken}"] = tree_of(self.place.workspace)

    def found(self, keys: Keyring | None = None) -> bool:
        """Whether a check, with all keys if not with `keys`, sees that something is wrong."""
        try:
            return bool(self.place.check(keys=keys or self.place.agent.kit()).problems)
        except AntsmemError:
            return True

    def restored_wrongly(self, tier: str = "") -> list[str]:
        """The snapshots that come back as something else than what was backed up."""
        wrong = []
        for name, tree in self.trees.items():
            if not name.startswith(tier):
                continue
            try:
                read_state(self.place.repository(), self.place.pin)
                verb = self.place.restore if name.startswith("hot") else self.place.thaw
                verb(name.partition(" ")[2], self.target)
            except AntsmemError:
                assert not self.target.exists(), "refused, and yet something is there"
                continue
            if tree_of(self.target) != tree:
                wrong.append(name)
            shutil.rmtree(self.target)
        return wrong


@pytest.fixture(scope="module")
def small(quick_root: Path) -> Small:
    return Small(quick_root / "small")


@pytest.fixture(scope="module")
def grown(quick_root: Path) -> Small:
    """Two snapshots of each tier with files in common and an index: every file has a sibling to be taken for."""
    small = Small(quick_root / "grown")
    aged(write(small.place.workspace / "MEMORY.md", "two\n"))
    small.snapshot("hot")
    small.snapshot("cold")
    from antsmem.backup.cache import load_cache

    extend_index(small.place.repository(), load_cache(small.place.cache), 1)
    return small


def test_the_control_finds_nothing_in_a_sound_repository(small: Small, grown: Small) -> None:
    for each in (small, grown):
        assert not each.found() and each.restored_wrongly() == []


@pytest.mark.parametrize("kind", ["repository.json", "README", "anchors", "keys", "packs", "snapshots", "cold"])
def test_every_flipped_byte_is_found_and_never_restored(small: Small, kind: str) -> None:
    """What is not sealed is found damaged without any key."""
    missed = []
    no_key = replace(small.place.agent.kit(), identities=[])
    for path in files_of(small.place.folder):
        inside = path.relative_to(small.place.folder)
        if inside.parts[0] != kind:
            continue
        step = SEALED_STEP if path.suffix == ".age" else README_STEP if kind == "README" else 1
        for number, change in enumerate(flips(path, step)):
            with broken(change):
                if not small.found(None if path.suffix == ".age" else no_key):
                    missed.append(f"{inside} byte {number * step}")
                if number % 10 == 0 and kind != "README":
                    assert small.restored_wrongly("cold" if kind == "cold" else "hot") == []
    assert missed == []


def test_every_cut_or_missing_file_is_found_and_never_restored(grown: Small) -> None:
    missed = []
    for path in files_of(grown.place.folder):
        for how, change in cuts(path):
            with broken(change):
                if not grown.found():
                    missed.append(f"{path.relative_to(grown.place.folder)} {how}")
                assert grown.restored_wrongly() == [], (path, how)
    derived = [line for line in missed if line.startswith("index/") and line.endswith("gone")]
    assert missed == derived, "only the index may go: it is made from the packs, and packs without one are read"


def test_every_file_in_the_place_of_another_is_found_and_never_restored(grown: Small) -> None:
    missed = []
    siblings: dict[Path, list[Path]] = {}
    for path in files_of(grown.place.folder):
        siblings.setdefault(path.parent, []).append(path)
    strangers = [paths[0] for paths in siblings.values()]
    for paths in (*siblings.values(), strangers):
        for how, change in exchanges(paths):
            with broken(change):
                if not grown.found():
                    missed.append(how)
                assert grown.restored_wrongly() == [], how
    assert [how for how in missed if not _longer_list(how)] == []


def _longer_list(how: str) -> bool:
    """A pack list is not signed: one that names more packs than its snapshot needs is no damage."""
    one, _, other = how.partition(" for ")
    return one.endswith(".packs") and other.endswith(".packs") and one > other


def test_a_whole_folder_that_is_gone_is_found_and_never_restored(grown: Small, tmp_path: Path) -> None:
    for folder in ("anchors", "cold", "keys", "packs", "snapshots"):
        place = grown.place.folder / folder
        shutil.move(place, tmp_path / folder)
        try:
            assert grown.found(), folder
            assert grown.restored_wrongly() == []
        finally:
            shutil.move(tmp_path / folder, place)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_is_harmless_by_design_is_harmless(grown: Small, name: str) -> None:
    path = grown.place.folder / "anchors" / name
    for data in (b"", b"{", b"null", b"[1]", os.urandom(50), b'{"packs":{"x":"y"}}', b'{"packs":7}'):
        path.write_bytes(data)
        assert not grown.found() and grown.restored_wrongly() == []
        grown.place.prune()
        assert not grown.found() and grown.restored_wrongly() == []
    path.unlink(missing_ok=True)


def test_an_index_that_lies_is_found_and_never_believed_over_an_objects_own_digest(tmp_path: Path) -> None:
    """Anybody who knows the recipient can write an index; it can make a restore fail, and nothing worse."""
    from antsmem.backup.index import put_index

    small = Small(tmp_path)
    write(small.place.workspace / "more.md", "more\n")
    small.snapshot("hot")
    repository = small.place.repository()
    first, second = (path.stem for path in small.place.files("packs"))
    where = load_index(repository, [first, second])
    swapped = {pack: [digest for digest, at in where.items() if at != pack] for pack in (first, second)}
    put_index(repository, swapped)
    assert small.found()
    assert small.restored_wrongly() == []
    (path,) = small.place.files("index")
    path.unlink()
    lists = [each.read_text() for each in small.place.files("snapshots") if each.suffix == ".packs"]
    (new,) = {first, second} - {lists[0][:64]}
    old = lists[0][:64]
    moved = next(digest for digest, at in where.items() if at == new)
    held = {pack: [digest for digest, at in where.items() if at == pack] for pack in (old, new)}
    put_index(repository, {old: [*held[old], moved], new: [each for each in held[new] if each != moved]})
    assert small.found(), "every object is in a pack of the list, says the index: only the packs tell otherwise"
    assert small.restored_wrongly() == []


def test_a_damaged_index_costs_time_and_nothing_else(grown: Small) -> None:
    (path,) = grown.place.files("index")
    with broken({path: b"damaged"}):
        for name, tree in grown.trees.items():
            if name.startswith("hot"):
                grown.place.restore(name.partition(" ")[2], grown.target)
                assert tree_of(grown.target) == tree
                shutil.rmtree(grown.target)
