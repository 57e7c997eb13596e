"""The commands of the shared memory, on two hosts of one agent. Method: two home directories, a real `recover`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from homes import first_home, second_home, tree
from made_homes import Home, Ran


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Home, Home]:
    one = first_home(tmp_path / "one")
    return one, second_home(tmp_path / "two", one)


def test_two_hosts_of_one_agent_end_byte_identical(pair: tuple[Home, Home]) -> None:
    one, other = pair
    (one.workspace / "MEMORY.md").write_text("# Memory\n\n- tea\n")
    first = one.must("sync", "--json").document
    assert first["pushed"] and not first["pulled"]
    other.must("sync")
    (other.workspace / "MEMORY.md").write_text("# Memory\n\n- tea\n- cats\n")
    other.must("log", "a thing that happened on the desktop")
    one.must("log", "and one on the laptop")
    for home in (other, one, other):
        home.must("sync")
    assert tree(one) == tree(other)
    digests = {home.must("sync", "status", "--json").document["digest"] for home in pair}
    assert len(digests) == 1
    assert one.must("sync").out == "nothing new\n"
    assert "good" in one.must("events", "verify").out


def test_a_watch_writes_events_for_devices_that_meet(tmp_path: Path) -> None:
    home = first_home(tmp_path)
    home.must("watch", "--once", "--no-backup")
    assert not (home.workspace / ".antsmem/events").exists(), "this device did not meet the others yet"
    home.must("sync")
    (home.workspace / "MEMORY.md").write_text("- the locker has a new lock\n")
    home.must("watch", "--once", "--no-backup")
    synced = home.must("sync", "--json").document
    assert synced["recorded"] == [] and synced["pushed"] == 1


def test_a_share_that_is_not_mounted_is_not_made_anew_in_its_place(tmp_path: Path) -> None:
    home = first_home(tmp_path)
    home.must("sync")
    share, elsewhere = tmp_path / "backend", tmp_path / "elsewhere"
    share.rename(elsewhere)
    for empty in (False, True):
        if empty:
            share.mkdir()
        (home.workspace / "MEMORY.md").write_text(f"- written while it was away: {empty}\n")
        for words in (["sync"], ["sync", "status"], ["backend", "status"], ["events", "verify"]):
            ran = home.must(*words, code=40)
            assert "mount its disk" in ran.err and not list(share.glob("*"))
    share.rmdir()
    elsewhere.rename(share)
    assert home.must("sync", "--json").document["pushed"] == 2, "each was recorded meanwhile"
    elsewhere.mkdir()
    share.rename(elsewhere / "gone")
    home.must("backend", "rebuild")
    assert home.must("sync").out == "nothing new\n"


def test_a_position_in_one_log_says_nothing_of_another(pair: tuple[Home, Home]) -> None:
    one, other = pair
    one.must("sync")
    one.must("backend", "rebuild", "log")
    (one.workspace / "MEMORY.md").write_text("- far behind in the old log\n")
    one.must("sync")
    other.must("sync")
    for home in pair:
        home.must("backend", "add", "embedded", str(one.root / "another"))
    one.must("backend", "init")
    (one.workspace / "MEMORY.md").write_text("- the first in the new log\n")
    one.must("sync")
    other.must("sync")
    assert tree(one) == tree(other)


def test_an_index_alone_is_nothing_that_devices_meet_through(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.init()
    for role in ("text", "vectors"):
        home.must("backend", "add", role, str(tmp_path / "index"))
        home.must("backend", "test", role)
    assert home.must("sync", "--json").document["offline"]
    home.must("backend", "status", code=10)


def test_a_host_that_lost_its_events_or_its_keyring_has_them_again(pair: tuple[Home, Home]) -> None:
    one, other = pair
    for home in (one, other, one):
        home.must("sync")
    keyring = other.workspace / ".antsmem/events/keyring.json"
    keyring.write_bytes(b"garbage\n")
    ran = other.must("sync", code=30)
    assert str(keyring) in ran.err and "move it aside, then: antsmem sync" in ran.err
    keyring.unlink()
    other.must("sync")
    shutil.rmtree(keyring.parent)
    (one.workspace / "MEMORY.md").write_text("- after that\n")
    one.must("sync")
    other.must("sync")  # it looks behind where it was, then from the first
    assert "good" in other.must("events", "verify").out and tree(one) == tree(other)


def moved_aside(ran: Ran, aside: Path) -> None:
    """Do what the hint says with the files that it names."""
    (pattern,) = re.findall(r"move `(.*?)` aside, then: antsmem backend init, antsmem backend rebuild", ran.err)
    for path in Path(pattern).parent.glob(Path(pattern).name):
        path.rename(aside / path.name)


@pytest.mark.parametrize("damage", ["log.db", "durable.db", "segment gone", "segment other"])
def test_a_damaged_backend_is_had_anew_as_its_hint_says(
    pair: tuple[Home, Home], tmp_path: Path, damage: str
) -> None:
    one, other = pair
    one.must("sync")
    share = one.root / "backend"
    (segment,) = share.glob("log-*.seg")
    match damage:
        case "segment gone":
            segment.unlink()
        case "segment other":
            segment.write_bytes(bytes(segment.stat().st_size))
        case name:
            (share / name).write_bytes(b"no database " * 400)
    ran = other.must("sync", code=30)
    moved_aside(ran, tmp_path)
    one.must("backend", "init")
    one.must("backend", "rebuild")
    other.must("sync")
    one.must("sync")
    assert tree(one) == tree(other)
