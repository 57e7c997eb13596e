"""Goal: a keystore survives a crash, a kill, a full disk and twenty writers at once.

Method: a child killed before each call that touches the disk while it saves; twenty processes that save at once.
Controls: a writer that is not atomic, and a save that does not compare sequences, must be caught the same way.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
from made_agents import Agent, killed_at_every_step, new_agent, secret, twenty_writers
from racing import together

from antsmem.core import disk
from antsmem.core.age import X25519Identity
from antsmem.core.disk import AnyPath, Buffer
from antsmem.core.errors import (
    AntsmemError,
    LockedError,
)
from antsmem.core.record import replace
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.files import IdentityFiles
from antsmem.identity.keystore import (
    Keystore,
    keystore_to_bytes,
    open_keystore,
    save_keystore,
)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return new_agent(tmp_path)


def sweep(files: IdentityFiles, made: CreatedIdentity) -> tuple[int, list[str]]:
    """Kill a save at every step: how many kills there were, and which of them left neither old nor new."""
    old = open_keystore(files.keystore, [made.host_key])
    new = replace(old, secrets=(secret("new", b"value"),), sequence=old.sequence + 1)
    before = files.keystore.read_bytes()
    broken: list[str] = []

    def save() -> None:
        save_keystore(files.keystore, replace(new, sequence=old.sequence), made.host_key)

    def check() -> None:
        try:
            found = open_keystore(files.keystore, [made.host_key])
        except AntsmemError as error:
            broken.append(str(error))
        else:
            if found not in (old, new):
                broken.append("neither old nor new")
        # The next kill starts from the old keystore again, without what a killed run left.
        files.keystore.write_bytes(before)
        for left in files.keystore.parent.glob(".antsmem-tmp-*"):
            left.unlink()

    return killed_at_every_step(save, check), broken


def test_a_kill_at_any_step_of_a_save_leaves_the_old_keystore_or_the_new_one(agent: Agent) -> None:
    files, made = agent
    kills, broken = sweep(files, made)
    assert kills >= 6
    assert broken == []


def test_the_control_shows_that_the_sweep_finds_a_save_that_is_not_atomic(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(path: AnyPath, parts: Iterable[Buffer], *, new: bool = False) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        for part in parts:
            os.write(descriptor, bytes(part)[:1000])
            os.write(descriptor, bytes(part)[1000:])
        os.close(descriptor)

    monkeypatch.setattr("antsmem.identity.keystore.write_file", in_place)
    _, broken = sweep(*agent)
    assert broken


def test_a_full_disk_leaves_the_old_keystore(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    files, made = agent

    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(AntsmemError, match="no space left"):
        save_keystore(files.keystore, replace(made.keystore, secrets=(secret("one"),)), made.host_key)
    monkeypatch.undo()
    assert open_keystore(files.keystore, [made.host_key]) == made.keystore
    assert sorted(path.name for path in files.keystore.parent.iterdir()) == [
        "epochs",
        "keystore.age",
        "keystore.lock",
    ]


WRITER = """
import os, sys
from antsmem.core.record import replace
from pathlib import Path
from antsmem.core.age import parse_identity_file
from antsmem.core.errors import LockedError
from antsmem.identity.keystore import open_keystore, save_keystore
from antsmem.identity.secret import Secret

path, name = Path(sys.argv[1]), sys.argv[3]
host = parse_identity_file(Path(sys.argv[2]).read_text())[0]
sys.stdin.read(1)
while True:
    keystore = open_keystore(path, [host])
    try:
        added = Secret(name, 1, "active", "static", "", "", name.encode())
        saved = save_keystore(path, replace(keystore, secrets=(*keystore.secrets, added)), host)
    except LockedError:
        continue
    print(saved.sequence)
    break
"""


def test_of_twenty_processes_one_wins_each_sequence_and_nothing_is_lost(agent: Agent) -> None:
    files, made = agent
    assert twenty_writers(WRITER, files.keystore, files.host_key) == list(range(2, 22))
    found = open_keystore(files.keystore, [made.host_key])
    assert found.sequence == 21
    assert {known.name for known in found.secrets} == {f"writer-{number}" for number in range(20)}


def lost_update(files: IdentityFiles, made: CreatedIdentity) -> bool:
    """Two writers read the same keystore, then both save: whether the first one's secret is gone."""
    both_read = threading.Barrier(2)

    def write(name: str) -> None:
        keystore = open_keystore(files.keystore, [made.host_key])
        both_read.wait()
        while True:
            try:
                save_keystore(
                    files.keystore, replace(keystore, secrets=(*keystore.secrets, secret(name))), made.host_key
                )
                return
            except LockedError:
                keystore = open_keystore(files.keystore, [made.host_key])

    together([partial(write, name) for name in ("one", "two")])
    return len(open_keystore(files.keystore, [made.host_key]).secrets) != 2


def test_no_update_is_lost_between_two_writers_that_read_the_same(agent: Agent) -> None:
    assert not lost_update(*agent)


def test_the_control_shows_that_without_comparing_sequences_an_update_is_lost(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, made = agent
    saved = threading.Lock()

    def careless(path: Path, keystore: Keystore, host: X25519Identity) -> None:
        with saved:
            disk.write_file(path, [keystore_to_bytes(replace(keystore, sequence=keystore.sequence + 1))])

    monkeypatch.setattr(sys.modules[__name__], "save_keystore", careless)
    assert lost_update(files, made)
