"""Goal: a restore and a check that two processes share end as those of one: the same files and findings.

Method: the thresholds are lowered so that a small repository of several packs is shared; it is whole, damaged, or
one of the processes dies. Each outcome is compared with what one process says of the same repository.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_backups import Place, aged, tree_of, write

from antsmem.backup import check, unpack
from antsmem.backup.repository import list_ids
from antsmem.core.errors import AntsmemError, DiskError
from antsmem.core.twin import Twin


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Six snapshots, each with packs of its own, of small files, equal files, a large one and one with holes."""
    place, rng = Place(tmp_path), random.Random(4)
    for number in range(6):
        for name in range(12):
            aged(write(place.workspace / f"notes/{number}-{name}.md", rng.randbytes(900).hex()))
        aged(write(place.workspace / f"big/{number}.bin", rng.randbytes(3 << 20) + bytes(2 << 20)))
        aged(write(place.workspace / f"same/{number}.md", "the same\n"))
        place.back_up()
    return place


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Everything is shared from now on; what was shared so far."""
    seen: list[object] = []

    class Seen(Twin):
        def __init__(self, job: Callable[[], object]) -> None:
            seen.append(job)
            super().__init__(job)

    monkeypatch.setattr(unpack, "_MANY", 1)
    monkeypatch.setattr(check, "_MUCH", 1)
    for module in (unpack, check):
        monkeypatch.setattr(module, "Twin", Seen)
        monkeypatch.setattr(module, "may_fork", lambda: True)
    return seen


def newest(place: Place) -> str:
    return list_ids(place.repository())[-1]


def outcome(place: Place, target: Path, *, salvage: bool) -> tuple[object, ...]:
    try:
        result = place.restore(newest(place), target, salvage=salvage)
    except AntsmemError as error:
        assert not target.exists()
        return type(error), "pack" in str(error)
    return result.damaged, result.warnings, result.files, tree_of(target)


def test_what_two_restore_is_what_was_backed_up(place: Place, forks: list[object], tmp_path: Path) -> None:
    place.restore(newest(place), tmp_path / "there")
    assert forks
    assert tree_of(tmp_path / "there") == tree_of(place.workspace)


@pytest.mark.parametrize("salvage", [False, True])
def test_damage_is_seen_by_two_as_by_one(
    place: Place, tmp_path: Path, salvage: bool, request: pytest.FixtureRequest
) -> None:
    packs = sorted(place.files("packs"), key=lambda pack: -pack.stat().st_size)
    damaged = []
    for number, pack in enumerate(packs[:4]):
        whole = pack.read_bytes()
        pack.write_bytes(whole[: len(whole) // 2] + b"x" + whole[len(whole) // 2 + 1 :] if number % 2 else b"")
        damaged.append((pack, whole))
    alone = outcome(place, tmp_path / "alone", salvage=salvage)
    found = place.check()
    forks = request.getfixturevalue("forks")
    assert outcome(place, tmp_path / "shared", salvage=salvage) == alone
    assert sorted(place.check().problems) == sorted(found.problems)
    assert place.check().damaged == found.damaged
    assert len(forks) == 3
    for pack, whole in damaged:
        pack.write_bytes(whole)
    assert outcome(place, tmp_path / "mended", salvage=salvage)[-1] == tree_of(place.workspace)


@pytest.mark.parametrize("percent", [0, 100])
def test_two_check_all_that_one_checks(place: Place, percent: int, request: pytest.FixtureRequest) -> None:
    alone = place.check(percent)
    forks = request.getfixturevalue("forks")
    shared = place.check(percent)
    assert forks
    assert shared == alone
    assert shared.bytes_read == sum(pack.stat().st_size for pack in place.files("packs"))


def test_an_object_that_its_pack_has_lost_is_taken_from_another(
    place: Place, forks: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one process would: the first that has it serves."""
    write_pack = unpack._Job._write
    skipped: list[bytes] = []

    def forgetful(self: unpack._Job, objects: object, pack: str) -> None:
        if self.only_planned:
            objects = [(digest, bytes(data)) for digest, data in objects][1:]  # type: ignore[attr-defined]
            skipped.append(b"")
        write_pack(self, objects, pack)  # type: ignore[arg-type]

    monkeypatch.setattr(unpack._Job, "_write", forgetful)
    place.restore(newest(place), tmp_path / "there")
    assert forks and skipped
    assert tree_of(tmp_path / "there") == tree_of(place.workspace)


def test_when_the_second_process_is_killed_nothing_is_restored_and_nothing_is_called_sound(
    place: Place, forks: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = os.getpid()

    def dying(*_: object) -> None:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)  # so that the other has its share

    with monkeypatch.context() as patched:
        patched.setattr(unpack._Job, "_write", dying)
        with pytest.raises(DiskError, match="ended early"):
            place.restore(newest(place), tmp_path / "there")
    with monkeypatch.context() as patched:
        patched.setattr(check._Check, "_one_pack", dying)
        with pytest.raises(DiskError, match="ended early"):
            place.check()
    assert not (tmp_path / "there").exists()
    assert [path.name for path in tmp_path.iterdir() if "restor" in path.name] == []
    assert len(forks) == 2
    place.restore(newest(place), tmp_path / "there")
