"""Goal: of many writers one wins each round, and what a relay has acknowledged is there after it is killed.

Method: twenty hosts of one agent, each a thread with its own key, compare and set one slot of a real server.
Another server is killed with SIGKILL again and again while clients send messages, fill slots and extend logs;
after each restart everything that was acknowledged is looked for. Control: a write without its condition loses
others' writes.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engines
import pytest
from relays import Agent, RelayServer, new_agent

from antsmem.core.errors import AntsmemError, BackendError, ConflictError, IntegrityError, RollbackError
from antsmem.drivers.relay import RelayLedger
from antsmem.identity.anchor import Publication, publication_to_bytes, sign_head
from antsmem.identity.endpoint import EPOCH, LEDGER
from antsmem.identity.ledger import Ledger, extended, secret_row
from antsmem.identity.signing import SigningKey

WRITERS, ROUNDS = 20, 5
SECONDS = float(os.environ.get("ANTSMEM_SOAK") == "1") * 60 or 4.0


@pytest.fixture
def relay() -> Iterator[RelayServer]:
    server = engines.started(RelayServer())
    yield server
    server.close()


def crowd(relay: RelayServer, tmp_path: Path) -> Agent:
    agent = new_agent(*(f"host{number}" for number in range(WRITERS)))
    agent.client(relay.url, tmp_path / "seen").register(agent.log.text)
    return agent


def test_one_writer_wins_each_round(relay: RelayServer, tmp_path: Path) -> None:
    agent = crowd(relay, tmp_path)
    ready = threading.Barrier(WRITERS)

    def write(host: str) -> list[bool]:
        client, won = agent.client(relay.url, tmp_path / "seen", host), []
        for number in range(ROUNDS):
            found = client.slot(EPOCH)
            ready.wait(300)  # all have seen the same state
            try:
                client.put_slot(EPOCH, f"{host} {number}".encode(), found.etag if found else None)
                won.append(True)
            except ConflictError:
                won.append(False)
            ready.wait(300)
        return won

    with ThreadPoolExecutor(WRITERS) as pool:
        results = list(pool.map(write, agent.keys))
    assert [sum(each) for each in zip(*results, strict=True)] == [1] * ROUNDS


def test_no_increment_is_lost_and_without_the_condition_some_are(relay: RelayServer, tmp_path: Path) -> None:
    """The control: the last etag seen is fetched again right before the write, so the condition guards nothing."""
    agent = crowd(relay, tmp_path)
    clients = [agent.client(relay.url, tmp_path / "seen", host) for host in agent.keys]
    clients[0].put_slot(EPOCH, b"0", None)
    clients[0].put_slot(LEDGER, b"0", None)

    def guarded(index: int) -> None:
        while True:
            found = clients[index].slot(EPOCH)
            assert found is not None
            try:
                clients[index].put_slot(EPOCH, str(int(found.data) + 1).encode(), found.etag)
                return
            except ConflictError:
                time.sleep(random.random() / 20)

    meet = threading.Barrier(WRITERS)

    def careless(index: int) -> None:
        found = clients[index].slot(LEDGER)
        assert found is not None
        meet.wait(300)
        while True:
            now = clients[index].slot(LEDGER)
            assert now is not None
            try:
                clients[index].put_slot(LEDGER, str(int(found.data) + 1).encode(), now.etag)
                return
            except ConflictError:
                time.sleep(random.random() / 20)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(guarded, range(WRITERS)))
        list(pool.map(careless, range(WRITERS)))
    exact, lossy = clients[0].slot(EPOCH), clients[0].slot(LEDGER)
    assert exact is not None and int(exact.data) == WRITERS
    assert lossy is not None and int(lossy.data) < WRITERS


def test_a_ledger_anchor_never_goes_back(relay: RelayServer, tmp_path: Path) -> None:
    def document(sequence: int, digest: str = "", more: str = "") -> bytes:
        return json.dumps({"head": {"seq": sequence, "hash": digest}, "more": more}).encode()

    agent = crowd(relay, tmp_path)
    one, two = (RelayLedger(agent.client(relay.url, tmp_path / "seen", host)) for host in list(agent.keys)[:2])
    assert one.name == relay.url and one.fetch() is None
    one.publish(document(1))
    two.publish(document(3))
    assert one.fetch() == document(3)
    two.publish(document(3))
    with pytest.raises(RollbackError):
        one.publish(document(2))
    one.publish(document(3, more="sealed to another host"))
    with pytest.raises(RollbackError):
        one.publish(document(3, "another"))
    for broken in (b"", b"[]", b'{"head":1}', b'{"head":{"seq":-1,"hash":""}}'):
        with pytest.raises(IntegrityError):
            one.publish(broken)
    assert one.fetch() == document(3)
    relay.kill()
    with pytest.raises(BackendError):
        one.fetch()
    with pytest.raises(BackendError):
        one.publish(document(4))


def test_of_a_ledger_that_is_larger_than_a_slot_the_head_is_kept(relay: RelayServer, tmp_path: Path) -> None:
    agent = crowd(relay, tmp_path)
    anchor = RelayLedger(agent.client(relay.url, tmp_path / "seen", next(iter(agent.keys))))
    rows = [secret_row("set", "token", 1, "static")]
    ledger = extended(Ledger(agent.scid, bytes(32)), rows, SigningKey(bytes(32)), 0)
    head = sign_head(ledger, "laptop", SigningKey(bytes(32)))
    anchor.publish(publication_to_bytes(Publication(head, bytes(300_000))))
    assert anchor.fetch() == publication_to_bytes(Publication(head, b""))


class Life:
    """One agent that writes until it is told to end, and remembers what was acknowledged."""

    def __init__(self, relay: RelayServer, memory: Path) -> None:
        self.agent, self.other = new_agent(), new_agent()
        self.memory, self.url = memory, relay.url
        for each in (self.agent, self.other):
            each.client(self.url, memory).register(each.log.text)
        self.sent: list[str] = []
        self.slot, self.version, self.failures = 0, 1, 0

    def step(self, number: int) -> None:
        """One message, one slot, now and then one more entry of the log; each may fail."""
        mine = self.agent.client(self.url, self.memory, seconds=5)
        message = f"{number:022d}"
        if len(self.sent) < 90:
            mine.send(self.other.scid, message, b"sealed" * 100)
            self.sent.append(message)
        found = mine.slot(EPOCH)
        at = int(found.data) if found else 0
        assert at >= self.slot, "an acknowledged slot went back"
        mine.put_slot(EPOCH, str(at + 1).encode(), found.etag if found else None)
        self.slot = at + 1
        if number % 10 == 0:
            self.agent.place([self.url], [f"@n{number}@127.0.0.1"])
            mine.register(self.agent.log.text)
            self.version = self.agent.log.version

    def run(self, ended: threading.Event) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            try:
                self.step(number)
            except AntsmemError:
                self.failures += 1
                time.sleep(0.02)

    def check(self) -> None:
        """Everything acknowledged is there."""
        there = set()
        after = 0
        reader = self.other.client(self.url, self.memory)
        while items := reader.inbox(after):
            there |= {item.message for item in items}
            after = items[-1].number
        assert set(self.sent) <= there
        found = self.agent.client(self.url, self.memory).slot(EPOCH)
        assert (int(found.data) if found else 0) >= self.slot
        log = self.agent.client(self.url, self.memory).log(self.agent.scid)
        assert len(log.text.splitlines()) >= self.version


def test_what_was_acknowledged_survives_kills_at_any_moment(relay: RelayServer, tmp_path: Path) -> None:
    lives = [Life(relay, tmp_path / "seen") for _ in range(3)]
    ended, kills = threading.Event(), 0
    threads = [threading.Thread(target=life.run, args=[ended]) for life in lives]
    for thread in threads:
        thread.start()
    began = time.monotonic()

    def enough() -> bool:
        """A machine that starts a relay slowly gets more time."""
        met = kills > 2 and any(life.failures for life in lives) and all(life.sent and life.slot for life in lives)
        return time.monotonic() > began + (SECONDS if met else SECONDS + 240)

    try:
        while not enough():
            time.sleep(random.uniform(0.01, 0.4))
            relay.kill()
            kills += 1
            relay.restart()
    finally:
        ended.set()
        for thread in threads:
            thread.join(120)
    for life in lives:
        life.check()
    assert kills > 2 and sum(life.failures for life in lives) > 0, "nothing was ever interrupted"
    assert all(life.sent and life.slot for life in lives)


def test_two_relays_do_not_work_on_the_same_data(relay: RelayServer) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "antsmem", "relay", "serve", "--listen", "127.0.0.1:0", "--data"]
    done = subprocess.run([*words, str(relay.folder)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 12 and "another relay" in done.stderr
