"""Devices of one agent end byte-identical with nothing lost, in whatever order they meet.

Method: workspaces with one embedded backend between them; after an exchange the trees are compared byte by byte.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from devices import Agent, DeviceAt, meeting, settle


@pytest.fixture
def pair(tmp_path: Path) -> tuple[DeviceAt, DeviceAt]:
    agent = Agent("laptop", "desktop")
    one, other = meeting(agent, tmp_path, "laptop", "desktop")
    return one, other


def same(*devices: DeviceAt) -> dict[str, bytes]:
    trees = [device.files() for device in devices]
    for tree in trees[1:]:
        assert tree == trees[0]
    return trees[0]


def test_what_one_writes_the_other_reads(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("MEMORY.md", "# Memory\n\n- likes tea\n")
    one.write("notes/deep/er.bin", b"\0\xff" * 10)
    one.write("big.bin", bytes(range(256)) * 2000)
    one.write("empty", b"")
    first = one.sync()
    assert (first.pushed.events, first.pushed.blobs, len(first.recorded.changed)) == (4, 1, 4)
    second = other.sync()
    assert second.pulled.new == 4 and second.complete
    assert len(same(one, other)) == 4
    for device in pair:
        idle = device.sync()
        assert idle.complete and not idle.pushed.events and not idle.pulled.new and not idle.arranged.written


def test_edits_follow_one_another(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    for turn in range(4):
        device = pair[turn % 2]
        device.write("MEMORY.md", f"turn {turn}\n")
        device.write("photo.png", bytes([turn]) * 100)
        settle(device, pair[1 - turn % 2])
        assert same(one, other) == {"MEMORY.md": f"turn {turn}\n".encode(), "photo.png": bytes([turn]) * 100}
    other.remove("photo.png")
    settle(other, one)
    assert list(same(one, other)) == ["MEMORY.md"]


def test_blocks_changed_on_both_sides_come_together(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("MEMORY.md", "# Memory\n\n- tea\n- cats\n- rain\n")
    settle(one, other)
    one.write("MEMORY.md", "# Memory\n\n- green tea\n- cats\n- rain\n")
    other.write("MEMORY.md", "# Memory\n\n- tea\n- cats\n- heavy rain\n- snow\n")
    settle(one, other)
    assert same(one, other)["MEMORY.md"] == b"# Memory\n\n- green tea\n- cats\n- heavy rain\n- snow\n"


def test_a_block_changed_twice_stands_twice_the_newer_first(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("MEMORY.md", "- tea\n- cats\n")
    settle(one, other)
    one.write("MEMORY.md", "- black tea\n- cats\n")
    one.sync()
    other.now_ns = one.now_ns + 10**9
    other.write("MEMORY.md", "- green tea\n- cats\n")
    result = other.sync()
    assert result.arranged.clashes == {"MEMORY.md": "both kept"} and result.complete
    one.sync()
    assert same(one, other)["MEMORY.md"] == b"- green tea\n- black tea\n- cats\n"
    one.write("MEMORY.md", "- tea of any kind\n- cats\n")
    settle(one, other)
    assert same(one, other)["MEMORY.md"] == b"- tea of any kind\n- cats\n"


def test_daily_logs_are_united_by_anchor(pair: tuple[DeviceAt, DeviceAt]) -> None:
    def entry(number: int, text: str) -> str:
        return f"- 10:00:{number:02d} laptop <!-- e:01JD3QZ4X8M6V0C2N9T5B7K{number:03d} -->\n  {text}\n"

    one, other = pair
    head, name = "# 2026-11-20\n\n", "memory/2026-11-20.md"
    one.write(name, head + entry(2, "two"))
    settle(one, other)
    one.write(name, head + entry(2, "two") + entry(5, "five"))
    other.write(name, head + entry(1, "one") + entry(2, "two, by hand") + entry(3, "three"))
    settle(one, other)
    wanted = [entry(1, "one"), entry(2, "two, by hand"), entry(3, "three"), entry(5, "five")]
    assert same(one, other)[name].decode() == head + "".join(wanted)


def test_the_soul_is_never_merged(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("SOUL.md", "kind\n")
    settle(one, other)
    one.write("SOUL.md", "kind and quick\n")
    one.sync()
    other.now_ns = one.now_ns + 10**9
    other.write("SOUL.md", "kind and careful\n")
    assert other.sync().arranged.clashes == {"SOUL.md": "proposal beside"}
    one.sync()
    tree = same(one, other)
    (beside,) = [name for name in tree if name != "SOUL.md"]
    assert (tree["SOUL.md"], tree[beside]) == (b"kind and quick\n", b"kind and careful\n")
    assert beside.startswith("SOUL.proposal-desktop-")


def test_the_newest_of_two_binaries_wins_and_the_other_stands_beside(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("a/photo.png", b"\0one")
    one.sync()
    other.now_ns = one.now_ns + 10**9
    other.write("a/photo.png", b"\0other")
    settle(other, one)
    tree = same(one, other)
    (beside,) = [name for name in tree if name != "a/photo.png"]
    assert (tree["a/photo.png"], tree[beside]) == (b"\0other", b"\0one")
    assert beside.startswith("a/photo.conflict-laptop-") and beside.endswith(".png")
    one.remove(beside)
    settle(one, other)
    assert same(one, other) == {"a/photo.png": b"\0other"}


def test_an_edit_outlives_a_deletion(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("note.txt", "first\n")
    settle(one, other)
    one.remove("note.txt")
    other.write("note.txt", "second\n")
    settle(one, other)
    assert same(one, other) == {"note.txt": b"second\n"}


def test_a_file_gives_way_to_a_directory_of_its_name(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    one.write("plans", "a file\n")
    other.write("plans/today.txt", "in a directory\n")
    settle(one, other, one)
    tree = same(one, other)
    assert tree.pop("plans/today.txt") == b"in a directory\n"
    assert list(tree.values()) == [b"a file\n"]


def test_offline_edits_wait_in_the_device_log(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    backends, one.backends = one.backends, None
    for turn in range(3):
        one.write("MEMORY.md", f"- turn {turn}\n")
        assert not one.sync().pushed.events
    one.backends = backends
    assert one.sync().pushed.events == 3
    other.sync()
    assert same(one, other) == {"MEMORY.md": b"- turn 2\n"}


def in_conflict(pair: tuple[DeviceAt, DeviceAt], path: str) -> str:
    """Where the other version stands, after `pair` wrote two of `path`: the first device's is the older one."""
    one, other = pair
    one.write(path, "of the one")
    one.sync()
    other.now_ns = one.now_ns + 10**9
    other.write(path, "of the other")
    other.sync()
    one.sync()
    (beside,) = set(same(one, other)) - {path}
    return beside


@pytest.mark.parametrize("path", ["photo.bin", "SOUL.md"])
@pytest.mark.parametrize("place", [0, 1])
def test_without_an_index_an_edit_does_not_replace_the_version_beside(
    pair: tuple[DeviceAt, DeviceAt], path: str, place: int
) -> None:
    in_conflict(pair, path)
    before = {*pair[0].files().values()}
    device = pair[place]
    gone = device.files()[path]
    shutil.rmtree(device.root / ".antsmem/cache")
    device.write(path, "edited")
    settle(device, pair[1 - place])
    assert {*same(*pair).values()} >= before - {gone} | {b"edited"}


def test_an_edited_version_beside_may_go_while_the_conflict_stays(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, other = pair
    beside = in_conflict(pair, "photo.bin")
    shutil.rmtree(one.root / ".antsmem/cache")
    one.write(beside, "a file of its own")  # and without an index nothing says that the version is not wanted
    settle(one, other)
    assert len(same(one, other)) == 3
    one.remove(beside)
    settle(one, other)
    assert {*same(one, other)} == {"photo.bin", beside}


def test_a_version_beside_is_dismissed_where_a_third_device_deleted_the_file(tmp_path: Path) -> None:
    agent = Agent("laptop", "desktop", "server")
    devices = meeting(agent, tmp_path, *agent.keys)
    one, other, third = devices
    one.write("photo.bin", "first")
    settle(*devices)
    third.now_ns -= 10**12
    third.remove("photo.bin")
    third.sync(take=False)
    beside = in_conflict((one, other), "photo.bin")
    one.remove(beside)
    settle(*devices)
    assert same(*devices) == {"photo.bin": b"of the other"}
