"""Devices of one agent end byte-identical with nothing lost, in whatever order they meet.

Method: workspaces with one embedded backend between them; after an exchange the trees are compared byte by byte.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from devices import Agent, DeviceAt, backends_at, settle


@pytest.fixture
def pair(tmp_path: Path) -> tuple[DeviceAt, DeviceAt]:
    agent = Agent("laptop", "desktop")
    one, other = (
        DeviceAt(agent, host, tmp_path / host, backends_at(tmp_path / "backend")) for host in ("laptop", "desktop")
    )
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
