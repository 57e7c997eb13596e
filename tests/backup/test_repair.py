"""Goal: a repair brings back what can be had, names what cannot, and loses nothing that could still be read.

Method: packs, heads, lists and indexes are damaged or taken away, with and without a second repository of the same
agent; afterwards every snapshot comes back exactly, or partly by salvage with the lost paths named.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3
from made_backups import Place, Tree, aged, tree_of, write

from antsmem.backup.create import create_repository
from antsmem.backup.hot import back_up_hot
from antsmem.backup.packer import Kind, Packer
from antsmem.backup.repair import RepairResult, mend_statement, repair
from antsmem.backup.repository import ANCHOR, Repository
from antsmem.backup.snapshot import pack_lines, parse_pack_lines
from antsmem.backup.store import Capabilities
from antsmem.core import clock
from antsmem.core.age import X25519Identity
from antsmem.core.errors import (
    CannotUnlockError,
    IntegrityError,
    LockedError,
    RefusedError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.core.record import replace
from antsmem.drivers.file import FileStore
from antsmem.identity.statement import sign_statement

MEGABYTE = 1 << 20


class Damaged:
    """A place with three snapshots, whose files can be looked for in it after a repair."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.trees: dict[str, Tree] = {}
        for number in range(3):
            aged(write(place.workspace / f"{number}.bin", os.urandom(MEGABYTE // 2)))
            aged(write(place.workspace / f"{number}.md", f"note {number}\n"))
            self.trees[place.back_up().snapshot] = tree_of(place.workspace)

    def largest_pack(self) -> Path:
        return max(self.place.files("packs"), key=lambda path: path.stat().st_size)

    def repair(self, others: Sequence[Repository] = ()) -> RepairResult:
        return repair(self.place.repository(), others)

    def verify_all(self) -> None:
        assert self.place.check().problems == []
        for snapshot, tree in self.trees.items():
            target = self.place.root / "verify"
            self.place.restore(snapshot, target)
            assert tree_of(target) == tree
            shutil.rmtree(target)


@pytest.fixture
def damaged(place: Place) -> Damaged:
    return Damaged(place)


def second_repository(damaged: Damaged, tmp_path: Path) -> Repository:
    """Another repository of the same agent, of the same workspace."""
    other = Place(tmp_path / "second", damaged.place.agent)
    other.workspace = damaged.place.workspace
    other.back_up()
    return other.repository()


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_what_a_second_repository_has_comes_back_whole(damaged: Damaged, tmp_path: Path, how: str) -> None:
    other = second_repository(damaged, tmp_path)
    pack = damaged.largest_pack()
    data = pack.read_bytes()
    if how == "gone":
        pack.unlink()
    else:
        pack.write_bytes(data[:300] if how == "cut" else data[:400] + bytes([data[400] ^ 1]) + data[401:])
    assert damaged.place.check().problems
    result = damaged.repair([other])
    assert result.fetched > 0 and not result.lost and not result.dropped
    assert result.set_aside == ([] if how == "gone" else [pack.stem])
    damaged.verify_all()
    if how != "gone":
        assert (damaged.place.folder / f"damaged/{pack.name}").exists(), "nothing is thrown away"


def test_without_a_second_repository_the_lost_paths_are_named_and_the_rest_is_salvaged(
    damaged: Damaged, tmp_path: Path
) -> None:
    first, *_ = damaged.trees
    (pack,) = [path for path in damaged.place.files("packs") if path.stem in _listed(damaged.place, first)]
    pack.unlink()
    with pytest.raises(IntegrityError):
        damaged.place.restore(first, tmp_path / "refused")
    saved = damaged.place.restore(list(damaged.trees)[-1], tmp_path / "before", salvage=True)
    assert "0.bin" in saved.damaged and (tmp_path / "before/2.md").exists()
    result = damaged.repair()
    assert result.dropped == [first], "its manifest was in that pack"
    assert all("0.bin" in paths for paths in result.lost.values())
    assert any("has lost `0.bin`" in line for line in result.lines())
    last = list(damaged.trees)[-1]
    saved = damaged.place.restore(last, tmp_path / "after", salvage=True)
    assert set(saved.damaged) == {"0.bin", "0.md"} and not saved.complete
    tree = tree_of(tmp_path / "after")
    assert {path: what for path, what in damaged.trees[last].items() if not path.startswith(b"0.")} == tree
    with pytest.raises(IntegrityError):
        damaged.place.restore(last, tmp_path / "refused")


def _listed(place: Place, snapshot: str) -> str:
    return (place.folder / f"snapshots/{snapshot}.packs").read_text()


def test_what_stands_before_the_damage_in_a_pack_is_rescued(place: Place, tmp_path: Path) -> None:
    for number in range(64):
        write(place.workspace / f"{number:02d}.bin", os.urandom(64 << 10))
    snapshot = place.back_up().snapshot
    pack = max(place.files("packs"), key=lambda path: path.stat().st_size)
    data = pack.read_bytes()
    pack.write_bytes(data[: len(data) // 2] + b"damage" + data[len(data) // 2 + 6 :])
    result = repair(place.repository(), [])
    assert 20 <= result.rescued < 64
    lost = set(result.lost.get(snapshot, ()))
    if result.dropped:
        pytest.fail("the manifest should have been rescued or kept in a pack of its own")
    saved = place.restore(snapshot, tmp_path / "back", salvage=True)
    assert set(saved.damaged) == lost and 0 < len(lost) < 44
    for path in (tmp_path / "back").iterdir():
        assert path.read_bytes() == (place.workspace / path.name).read_bytes()


def test_a_lost_list_of_chunks_does_not_stand_in_the_way_of_a_prune(place: Place, tmp_path: Path) -> None:
    """And a hard link to the file that is lost with it is named as well."""
    aged(write(place.workspace / "large.bin", os.urandom(MEGABYTE + 1)))
    os.link(place.workspace / "large.bin", place.workspace / "linked.bin")
    first = place.back_up().snapshot
    lost = place.files("packs")
    aged(write(place.workspace / "later.md", "later\n"))
    second = place.back_up().snapshot
    aged(write(place.workspace / "latest.md", "latest\n"))
    third = place.back_up().snapshot
    for pack in lost:
        pack.unlink()
    assert repair(place.repository(), []).dropped == [first]
    saved = place.restore(third, tmp_path / "back", salvage=True)
    assert set(saved.damaged) == {"large.bin", "linked.bin"} and (tmp_path / "back/later.md").exists()
    place.prune(forget=[second])
    assert place.state().ids == (third,)


def test_a_snapshot_whose_head_is_damaged_is_set_aside_and_the_others_stay(damaged: Damaged) -> None:
    first, second, third = damaged.trees
    head = damaged.place.folder / f"snapshots/{second}.age"
    head.write_bytes(head.read_bytes()[:-1])
    result = damaged.repair()
    assert result.dropped == [second] and not result.lost
    assert (damaged.place.folder / f"damaged/{second}.age").exists()
    del damaged.trees[second]
    assert damaged.place.state().ids == (first, third)
    damaged.verify_all()


@pytest.mark.parametrize("name", ["README", ANCHOR, "index", "packs list", "keys"])
def test_what_is_derived_is_made_again(damaged: Damaged, name: str) -> None:
    place = damaged.place
    if name == "index":
        write(place.folder / f"index/{'ab' * 32}.age", "not an index\n")
    elif name == "packs list":
        for path in place.files("snapshots"):
            if path.suffix == ".packs":
                path.write_text("nonsense\n")
    elif name == "keys":
        (place.folder / "keys/identity.jsonl").write_text("nonsense\n")
    else:
        (place.folder / name).write_bytes(b"nonsense\n")
    assert place.check().problems
    result = damaged.repair()
    assert not (result.lost or result.dropped or result.set_aside)
    damaged.verify_all()
    write(place.workspace / "after.md")
    assert place.back_up().complete


def test_a_lost_anchor_is_made_again_from_the_snapshots_that_are_there(damaged: Damaged) -> None:
    cold = damaged.place.back_up("cold").snapshot
    before = damaged.place.state()
    (damaged.place.folder / ANCHOR).unlink()
    damaged.repair()
    after = damaged.place.state()
    assert after.ids == before.ids and after.anchor.cold == (cold,)
    damaged.verify_all()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"nonsense"])
def test_the_statement_of_a_repository_is_made_again_and_never_another_one(
    damaged: Damaged, content: bytes | None
) -> None:
    place, statement = damaged.place, damaged.place.folder / "repository.json"
    before = place.repository().id
    statement.unlink()
    with pytest.raises(WouldOverwriteError, match="has lost its"):
        create_repository(place.store(), place.agent.keys(), clock.now_ns())
    if content is not None:
        statement.write_bytes(content)
    assert mend_statement(place.store(), place.agent.keys(), clock.now_ns())
    assert place.repository().id == before and place.check().problems == []
    assert not mend_statement(place.store(), place.agent.keys(), clock.now_ns())


def test_a_statement_is_not_made_from_an_anchor_that_somebody_else_signed(damaged: Damaged) -> None:
    place, thief = damaged.place, damaged.place.agent.thief().must_sign()
    (place.folder / "repository.json").unlink()
    said = json.loads((place.folder / ANCHOR).read_bytes())
    forged = {name: value for name, value in said.items() if name not in {"key", "signature"}}
    (place.folder / ANCHOR).write_bytes(sign_statement(forged, thief))
    with pytest.raises(IntegrityError, match="forged"):
        mend_statement(place.store(), place.agent.keys(), clock.now_ns())
    assert not (place.folder / "repository.json").exists()


def test_a_foreign_pack_under_a_right_name_is_set_aside(damaged: Damaged) -> None:
    """Its SHA-256 is its name, so a plain check of hashes says nothing; it is no pack all the same."""
    import hashlib

    from antsmem.core import age

    data = b"".join(age.seal([b"no pack at all"], [damaged.place.agent.hot.recipient]))
    foreign = write(damaged.place.folder / f"packs/{hashlib.sha256(data).hexdigest()}.age", data)
    result = damaged.repair()
    assert result.set_aside == [foreign.stem] and not result.lost
    damaged.verify_all()


def test_a_repair_of_a_sound_repository_changes_nothing_that_matters(damaged: Damaged) -> None:
    result = damaged.repair()
    assert result == RepairResult() and result.lines() == []
    damaged.verify_all()


def test_who_cannot_read_or_sign_is_refused_before_anything_is_touched(damaged: Damaged) -> None:
    before = tree_of(damaged.place.folder)
    keys = damaged.place.agent.keys()
    with pytest.raises(CannotUnlockError):
        repair(damaged.place.repository(replace(keys, identities=[])), [])
    with pytest.raises(UsageError, match="reading only"):
        repair(damaged.place.repository(damaged.place.agent.kit()), [])
    assert tree_of(damaged.place.folder) == before


def test_a_repair_waits_for_a_writer(damaged: Damaged) -> None:
    from antsmem.backup.lease import leased

    with leased(damaged.place.store(), "desktop"), pytest.raises(LockedError):
        damaged.repair()


def test_after_a_repair_a_host_with_an_old_cache_makes_whole_snapshots(damaged: Damaged, tmp_path: Path) -> None:
    """The cache still names objects of the pack that is lost: they must be stored again, not taken for granted."""
    pack = damaged.largest_pack()
    pack.unlink()
    damaged.repair()
    snapshot = damaged.place.back_up().snapshot
    damaged.place.restore(snapshot, tmp_path / "back")
    assert tree_of(tmp_path / "back") == tree_of(damaged.place.workspace)


def test_a_pack_that_no_key_here_opens_stays_and_stops_nothing_if_nobody_needs_it(damaged: Damaged) -> None:
    """Of an erased epoch, orphans may be left."""
    place = damaged.place
    with Packer(place.store(), [X25519Identity.generate().recipient]) as packer:
        packer.put(Kind.DATA, blake3(b"orphan").digest(), b"orphan")
        (orphan,) = packer.finish()
    write(place.folder / "index/nonsense.age", b"what a repair makes anew")
    assert damaged.repair() == RepairResult()
    assert (place.folder / f"packs/{orphan.name}.age").exists()
    damaged.verify_all()
    first = place.state().ids[0]
    path = place.folder / f"snapshots/{first}.packs"
    path.write_bytes(pack_lines([*parse_pack_lines(path.read_bytes(), first), orphan.name]))
    with pytest.raises(CannotUnlockError):
        damaged.repair()


def test_a_snapshot_that_only_another_host_opens_is_not_dropped(damaged: Damaged) -> None:
    """It needs no pack of that host's own, so nothing but its head is closed here."""
    place, theirs = damaged.place, X25519Identity.generate()
    keys = place.agent.keys("desktop")
    sealing = {**keys.sealing, "hot": ("hot-theirs", theirs.recipient)}
    keys = replace(keys, sealing=sealing, identities=[*keys.identities, theirs])
    taken = back_up_hot(place.repository(keys), place.job()).snapshot
    with pytest.raises(CannotUnlockError, match=taken):
        damaged.repair()
    assert taken in place.state().ids and place.files("damaged") == []


class AppendOnly(FileStore):
    """As a bucket whose policy lets nobody here delete."""

    capabilities = Capabilities(conditional=True, deletes=False)

    def delete(self, name: str) -> None:
        raise RefusedError(f"`{name}` stays")


@pytest.mark.parametrize("lost", ["anchor", "index", "pack"])
def test_a_store_that_only_appends_is_mended_as_far_as_it_lets_us(
    damaged: Damaged, tmp_path: Path, lost: str
) -> None:
    place, other = damaged.place, second_repository(damaged, tmp_path)
    pack = damaged.largest_pack()
    index = write(place.folder / "index/nonsense.age", b"nonsense")
    if lost == "pack":
        pack.write_bytes(b"rotten")
    elif lost == "anchor":
        (place.folder / ANCHOR).unlink()
    result = repair(place.repository(store=AppendOnly.open(str(place.folder), {})), [other])
    assert result.set_aside == [] and not result.lost
    left = place.check().problems
    assert len(left) == (1 + (lost == "pack")), "what lies there and is not needed is still named"
    index.unlink()
    if lost == "pack":
        assert pack.read_bytes() == b"rotten"
        pack.unlink()
    damaged.verify_all()
