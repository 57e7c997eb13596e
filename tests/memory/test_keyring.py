"""Who may read the memory: devices join, are revoked, come with keyrings of their own; nobody else gets a key.

Method: hosts of one agent with a keyring file each and one durable store between them, as `sync` uses them; and
two home directories of which one revokes the other. The control leaves the revoked one in.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from devices import START_NS, STEP_NS, Agent
from homes import first_home, second_home, tree
from made_homes import KIT

from antsmem.core.age import X25519Identity
from antsmem.core.errors import CannotUnlockError, IntegrityError
from antsmem.identity.multikey import multikey
from antsmem.identity.signing import SigningKey
from antsmem.memory import agreeing
from antsmem.memory.agreeing import KEYRING, KeyringFile, Member
from antsmem.memory.embedded.durables import FileDurable
from antsmem.memory.keyring import Keyring, ask, asking_row, new_keyring, open_keyring, seal_keyring
from antsmem.memory.roles import Change, LogRecord


class Host:
    """A host of `agent` as one that may open the keyring."""

    def __init__(self, agent: Agent, name: str, place: Path) -> None:
        self.agent, self.key, self.file = agent, agent.keys[name], place / f"{name}.json"
        self.identity = X25519Identity(hashlib.sha256(name.encode()).digest())
        self.durable = FileDurable(place / "backend")
        self.durable.create()
        self.now_ns = START_NS + 3600 * STEP_NS

    def keyring(self) -> KeyringFile:
        self.now_ns += STEP_NS
        recovery = str(X25519Identity(b"r" * 32).recipient)
        member = Member(self.key, self.identity, (recovery,), list)
        return KeyringFile(self.file, self.agent.stream, self.agent.log, lambda: member, self.now_ns)

    def agree(self) -> bool:
        """As `sync` does it; whether this host can read what the others wrote."""
        rows, can_read = self.keyring().agree(self.durable)
        if rows:
            put(self, *rows)
        return can_read

    def epochs(self) -> list[str]:
        return sorted(self.keyring().keys().epochs)


def put(host: Host, *rows: Change) -> None:
    host.durable.commit(host.agent.stream, rows, [LogRecord(host.agent.stream, "x", {}, b"")])


@pytest.fixture
def agent() -> Agent:
    return Agent("laptop", "desktop", "server")


@pytest.fixture
def hosts(agent: Agent, tmp_path: Path) -> tuple[Host, Host, Host]:
    one, two, three = (Host(agent, name, tmp_path) for name in ("laptop", "desktop", "server"))
    return one, two, three


def all_agree(*hosts: Host) -> None:
    for _ in range(2):
        for host in hosts:
            host.agree()


def test_a_device_that_has_no_key_asks_and_the_next_one_lets_it_in(hosts: tuple[Host, Host, Host]) -> None:
    one, two, three = hosts
    assert one.agree()
    assert (two.agree(), three.agree(), two.agree()) == (False, False, False)
    assert one.agree() and two.agree() and three.agree()
    assert one.epochs() == two.epochs() == three.epochs() and len(one.epochs()) == 1
    assert [host.keyring().agree(host.durable) for host in hosts] == [([], True)] * 3


def test_a_stranger_who_asks_gets_nothing(hosts: tuple[Host, Host, Host], agent: Agent) -> None:
    one, _, three = hosts
    one.agree()
    stranger = SigningKey(b"s" * 32)
    put(one, Change(asking_row(stranger.public), ask(agent.stream, stranger, str(three.identity.recipient)), 0))
    put(
        one,
        Change(asking_row(three.key.public), ask("local/another", three.key, str(three.identity.recipient)), 0),
    )
    one.agree()
    row = one.durable.get(agent.stream, KEYRING)
    assert row is not None
    with pytest.raises(CannotUnlockError):
        open_keyring(row.value, agent.stream, agent.log, [three.identity])


def test_two_keyrings_that_were_made_apart_become_one(hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    apart = [host.epochs()[0] for host in (one, two)]
    all_agree(one, two, one)
    assert one.epochs() == two.epochs() == sorted(apart)
    assert one.keyring().keys().current == max(apart)


def test_a_revoked_device_has_no_key_to_what_follows(hosts: tuple[Host, Host, Host], agent: Agent) -> None:
    one, two, three = hosts
    all_agree(*hosts)
    before = three.epochs()
    agent.revoke("server")
    all_agree(one, two)
    assert one.epochs() == two.epochs() and set(before) < set(one.epochs())
    current = one.keyring().keys().current
    assert current not in before and one.keyring().keys().epochs.keys() >= set(before)
    row = one.durable.get(agent.stream, KEYRING)
    assert row is not None and multikey(three.key.public) not in row.value.decode()
    with pytest.raises(CannotUnlockError):
        open_keyring(row.value, agent.stream, agent.log, [three.identity])
    put(one, Change(asking_row(three.key.public), ask(agent.stream, three.key, str(three.identity.recipient))))
    assert one.agree() and one.keyring().keys().current == current  # it may ask


def test_control_without_that_step_the_revoked_device_reads_on(
    hosts: tuple[Host, Host, Host], agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, three = hosts
    all_agree(*hosts)
    agent.revoke("server")
    monkeypatch.setattr(agreeing, "without_revoked", lambda keyring, log, now_ns: keyring)
    all_agree(one)
    row = one.durable.get(agent.stream, KEYRING)
    assert row is not None
    opened = open_keyring(row.value, agent.stream, agent.log, [three.identity])
    assert opened.keys.current == one.keyring().keys().current


def test_a_keyring_that_a_revoked_device_put_there_is_refused(
    hosts: tuple[Host, Host, Host], agent: Agent
) -> None:
    one, two, three = hosts
    all_agree(*hosts)
    agent.revoke("server")
    grants = {multikey(host.key.public): str(host.identity.recipient) for host in hosts}
    planted = Keyring(new_keyring(three.now_ns).epochs, grants)
    put(one, Change(KEYRING, seal_keyring(planted, agent.stream, three.key, [])))
    with pytest.raises(IntegrityError, match="revoked"):
        one.agree()
    assert not set(planted.epochs) & set(one.epochs())
    stranger = seal_keyring(planted, agent.stream, SigningKey(b"s" * 32), [])
    foreign = seal_keyring(planted, "local/another", one.key, [])
    for data in (stranger, foreign, b"{}", b""):
        put(one, Change(KEYRING, data))
        with pytest.raises(IntegrityError):
            two.agree()


def test_a_host_that_was_revoked_can_neither_write_nor_read(tmp_path: Path) -> None:
    one = first_home(tmp_path / "one")
    other = second_home(tmp_path / "two", one)
    for home in (one, other, one, other):
        home.must("sync")
    (other.workspace / "late.txt").write_text("by whoever has the machine now\n")
    one.must("identity", "rotate", "--kit", str(one.root / KIT), "--retire", "desktop")
    (one.workspace / "MEMORY.md").write_text("what follows\n")
    one.must("sync")
    other.must("sync", code=4)
    one.must("sync")
    assert "late.txt" not in tree(one)
    assert b"what follows" not in b"".join(tree(other).values())
