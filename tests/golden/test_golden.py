"""Goal: what any released version wrote is readable for ever. Method: restore, check and open what each one left.

`freeze.py` says what lies in a version's directory. The test works on copies: nothing here is ever changed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from demo import DifferenceError, Machine, Seen, look
from freeze import freeze, unpacked

from antsmem import __version__
from antsmem.core.age import parse_identity_file
from antsmem.identity.escrow import open_escrow
from antsmem.identity.keystore import check_keystore, open_keystore
from antsmem.identity.log import parse_log
from antsmem.identity.recovery import RecoveryKit

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "expected.json").is_file())


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


class Frozen:
    """A copy of what a version left, and a machine with nothing but the recovery kit."""

    def __init__(self, source: Path, place: Path) -> None:
        self.machine = Machine("later", place / "home")
        self.files = place / "frozen"
        shutil.copytree(source, self.files)
        self.repository = self.files / "repository"
        self.kit = place / "kit.txt"
        opens = load(source / "opens.json")
        self.kit_text, self.host_key = unpacked(opens["kit"]).decode(), unpacked(opens["host"])
        self.kit.write_text(self.kit_text)
        self.expected: dict[str, Seen] = {
            snapshot: {path: tuple(what) for path, what in held.items()}
            for snapshot, held in load(source / "expected.json").items()
        }

    def restored(self, snapshot: str) -> Seen:
        """What a restore of `snapshot` on an empty machine gives."""
        target = self.machine.home / snapshot
        words = ("--kit", self.kit, "--repository", self.repository, "--to", target)
        self.machine.antsmem("restore", snapshot, *words)
        return look(target)


@pytest.fixture(params=VERSIONS)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Frozen:
    return Frozen(HERE / request.param, tmp_path)


def same(one: Seen, other: Seen) -> list[str]:
    """Paths that differ. The mode of a link is the system's."""
    plain = [
        {path: what if what[0] != "link" else what[3] for path, what in seen.items()} for seen in (one, other)
    ]
    return sorted(path for path in plain[0].keys() | plain[1].keys() if plain[0].get(path) != plain[1].get(path))


def test_this_version_is_frozen() -> None:
    assert __version__ in VERSIONS


def test_every_snapshot_is_restored_as_it_was(frozen: Frozen) -> None:
    for snapshot, expected in frozen.expected.items():
        assert same(frozen.restored(snapshot), expected) == []


def test_a_snapshot_of_another_day_would_be_noticed(frozen: Frozen) -> None:
    first, *_, last = frozen.expected
    assert "MEMORY.md" in same(frozen.restored(first), frozen.expected[last])


def test_it_is_checked_without_a_key_and_with_the_kit(frozen: Frozen) -> None:
    for words in (["--no-key"], ["--kit", frozen.kit, "--read-data"]):
        (checked,) = frozen.machine.antsmem("check", "--repository", frozen.repository, *words)["repositories"]
        assert checked["problems"] == []
        assert checked["snapshots"] + checked["cold"] == len(frozen.expected)


@pytest.mark.parametrize("folder", ["packs", "cold", "snapshots"])
def test_a_changed_byte_in_it_would_be_noticed(frozen: Frozen, folder: str) -> None:
    victim = max((frozen.repository / folder).iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(DifferenceError, match="exited with 30"):
        frozen.machine.antsmem("check", "--repository", frozen.repository, "--no-key", "--read-data")


def test_its_agent_is_recovered_on_a_new_machine(frozen: Frozen) -> None:
    agent = frozen.machine.home / "kevin"
    words = ("--kit", frozen.kit, "--repository", frozen.repository, "--host", "later")
    before = parse_log((frozen.files / "identity" / "did.jsonl").read_bytes())
    report = frozen.machine.antsmem("recover", agent, *words)
    assert (report["did"], report["identity_version"]) == (before.did, before.version + 1)
    frozen.machine.antsmem("-C", agent, "backup")


def test_its_keystore_and_escrow_open(frozen: Frozen) -> None:
    identity = frozen.files / "identity"
    log = parse_log((identity / "did.jsonl").read_bytes())
    (host_key,) = parse_identity_file(frozen.host_key.decode())
    keystore = open_keystore(identity / "keystore.age", [host_key])
    check_keystore(keystore, log)
    kit = RecoveryKit.parse(frozen.kit_text)
    assert open_escrow((identity / "keystore-escrow.age").read_bytes(), [kit.identity], log) is not None


def test_it_is_small(frozen: Frozen) -> None:
    assert sum(path.stat().st_size for path in frozen.files.rglob("*") if path.is_file()) < 200_000


def test_this_version_still_freezes(tmp_path: Path) -> None:
    freeze(tmp_path / "frozen", tmp_path)
    again = Frozen(tmp_path / "frozen", tmp_path / "later")
    assert [same(again.restored(snapshot), held) for snapshot, held in again.expected.items()] == [[]] * 4
