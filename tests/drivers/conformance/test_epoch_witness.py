"""Goal: whatever keeps the statement of who works, of many that take over at once one wins, and nobody's is lost.

Method: the same story against a real relay, a bare git repository, and every kind of store; a store that cannot
decide by itself refuses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import engines
import pytest
from places import Place
from racing import together
from relays import RelayServer, new_agent
from running import running

from antsmem.core.errors import BackendError, ConflictError, UsageError
from antsmem.drivers.git import GitDocument
from antsmem.heartbeat.epoch import Witness
from antsmem.heartbeat.witness import RelayWitness, StoreWitness

Make = Callable[[], Witness]


def compare_and_swap(make: Make) -> None:
    """What a witness must do; `make` gives it as another host sees it."""
    one, two = make(), make()
    assert one.read() is None and two.read() is None
    one.swap(b'{"epoch":1}\n', None)
    with pytest.raises(ConflictError):
        two.swap(b'{"epoch":9}\n', None)
    found = two.read()
    assert found is not None and found[0] == b'{"epoch":1}\n'
    two.swap(b'{"epoch":2}\n', found[1])
    with pytest.raises(ConflictError):
        one.swap(b'{"epoch":3}\n', found[1])
    assert (one.read() or (b"",))[0] == b'{"epoch":2}\n'
    race(make)


def race(make: Make) -> None:
    """Many at once: one wins."""
    hosts = [make() for _ in range(4)]
    expected = [host.read() for host in hosts]
    won: list[int] = []

    def run(number: int) -> None:
        found = expected[number]
        try:
            hosts[number].swap(b'{"epoch":%d}\n' % (10 + number), found[1] if found else None)
            won.append(number)
        except ConflictError:
            pass

    together([partial(run, number) for number in range(len(hosts))])
    assert len(won) == 1
    assert (make().read() or (b"",))[0] == b'{"epoch":%d}\n' % (10 + won[0])


def test_a_store(place: Place) -> None:
    store = place.open()
    witness = StoreWitness(lambda: store, "kevin")
    if not store.capabilities.conditional:
        with pytest.raises(UsageError, match="no witness"):
            witness.read()
        return
    compare_and_swap(lambda: StoreWitness(place.open, "kevin"))
    assert StoreWitness(place.open, "anna").read() is None, "each agent has its own"


relay = running(RelayServer, "module")


@pytest.mark.server
def test_a_relay(relay: RelayServer, tmp_path: Path) -> None:
    agent = new_agent("laptop", "newbox")
    agent.client(relay.url, tmp_path / "seen").register(agent.log.text)
    hosts = iter(["laptop", "newbox"] * 5)
    compare_and_swap(lambda: RelayWitness(agent.client(relay.url, tmp_path / "seen", next(hosts))))


@pytest.mark.server
def test_a_relay_that_is_gone_is_silent(relay: RelayServer, tmp_path: Path) -> None:
    agent = new_agent()
    witness = RelayWitness(agent.client(f"http://127.0.0.1:{engines.free_port()}", tmp_path / "seen"))
    with pytest.raises(BackendError):
        witness.read()


def test_a_git_remote(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("the program `git` is not installed: apt install git")
    remote, count = tmp_path / "remote.git", iter(range(100))
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    subprocess.run(["git", "init", "-q", "--bare", remote], env=environment, check=True)

    def make() -> GitDocument:
        return GitDocument(
            "the witness", str(remote), tmp_path / f"scratch-{next(count)}", environment,
            "refs/antsmem/epoch-kevin", "epoch.json", "statement", 1 << 14,
        )  # fmt: skip

    compare_and_swap(make)
    shutil.rmtree(remote)
    with pytest.raises(BackendError) as told:
        make().read()
    assert str(remote) not in str(told.value)
