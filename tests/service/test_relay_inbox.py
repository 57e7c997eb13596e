"""Goal: a relay keeps every message it took until its reader has it, and only the reader takes it off.

Method: agents at a real server: inboxes that are full, the same message twice, other agents' keys, forged words.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from relays import Agent, RelayServer, code, new_agent, put, request, signed
from running import running

from antsmem.core.errors import IntegrityError, NotFoundError, RefusedError
from antsmem.drivers.relay import RelayClient
from antsmem.identity.statement import sign_statement
from antsmem.service.relay_store import MAX_FROM_ONE

JSON = "application/json"


relay = running(RelayServer, "module")


@pytest.fixture
def reader(relay: RelayServer, tmp_path: Path) -> Agent:
    return registered(relay, tmp_path)


@pytest.fixture
def sender(relay: RelayServer, tmp_path: Path) -> Agent:
    return registered(relay, tmp_path)


def registered(relay: RelayServer, memory: Path) -> Agent:
    agent = new_agent()
    agent.client(relay.url, memory).register(agent.log.text)
    return agent


def clients(relay: RelayServer, memory: Path, *agents: Agent) -> list[RelayClient]:
    return [agent.client(relay.url, memory) for agent in agents]


def word(reader: Agent, sender: Agent, message: str, **changes: str) -> bytes:
    said = {"schema": "antsmem.message.read/1", "from": sender.scid, "to": reader.scid, "id": message, **changes}
    return sign_statement(said, reader.key)


def test_an_inbox_that_is_full_takes_no_more_and_loses_nothing(
    relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path
) -> None:
    inbox, client = clients(relay, tmp_path, reader, sender)
    for number in range(MAX_FROM_ONE):
        client.send(reader.scid, f"{number:022d}", b"x")
    with pytest.raises(RefusedError, match="full"):
        client.send(reader.scid, "y" * 22, b"x")
    client.send(reader.scid, f"{3:022d}", b"x")  # the same one again is no new one
    items = inbox.inbox()
    assert [item.message for item in items] == [f"{number:022d}" for number in range(MAX_FROM_ONE)]
    inbox.settle([], [("message", sender.scid, item.message) for item in items[:1]])
    assert client.send(reader.scid, "y" * 22, b"x").message == "y" * 22
    assert inbox.inbox(items[-1].number)[0].message == "y" * 22


def test_one_id_is_one_message(relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path) -> None:
    inbox, client = clients(relay, tmp_path, reader, sender)
    first = client.send(reader.scid, "A" * 22, b"x")
    assert client.send(reader.scid, "A" * 22, b"x").time == first.time
    with pytest.raises(RefusedError):
        client.send(reader.scid, "A" * 22, b"y")
    assert [item.body for item in inbox.inbox()] == [b"x"]


def test_the_readers_word_goes_to_the_sender_once(
    relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path
) -> None:
    inbox, client = clients(relay, tmp_path, reader, sender)
    client.send(reader.scid, "A" * 22, b"x")
    for _ in range(2):
        inbox.settle([word(reader, sender, "A" * 22)], [])
    inbox.settle([word(reader, sender, "B" * 22)], [])  # about a message that never was
    (item,) = client.inbox()
    assert (item.kind, item.sender, item.message) == ("read", reader.scid, "A" * 22)
    assert inbox.inbox() == []


def test_only_the_reader_takes_messages_off(
    relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path
) -> None:
    inbox, client = clients(relay, tmp_path, reader, sender)
    client.send(reader.scid, "A" * 22, b"x")
    drop = json.dumps({"read": [], "drop": [{"kind": "message", "from": sender.scid, "id": "A" * 22}]}).encode()
    made, fields = request(relay.url, "POST", f"/agents/{reader.scid}/inbox", drop, JSON)
    assert code(put(made, {**fields, **signed(made, sender.key)})) == (403, "unknown-key")
    for forged in (
        sign_statement(json.loads(word(reader, sender, "A" * 22)), sender.key),
        word(reader, sender, "A" * 22, to=sender.scid),
        word(reader, sender, "A" * 22).replace(b"AAAA", b"AAAB"),
        b"{}",
    ):
        body = b'{"read":[' + forged + b'],"drop":[]}'
        made, fields = request(relay.url, "POST", f"/agents/{reader.scid}/inbox", body, JSON)
        assert code(put(made, {**fields, **signed(made, reader.key)})) == (400, "malformed")
    assert len(inbox.inbox()) == 1


def test_a_sender_is_who_signs(relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path) -> None:
    body = json.dumps({"from": reader.scid, "id": "A" * 22, "sealed": "eA=="}).encode()
    made, fields = request(relay.url, "POST", f"/agents/{reader.scid}/messages", body, JSON)
    assert code(put(made, {**fields, **signed(made, sender.key)})) == (403, "unknown-key")
    with pytest.raises(NotFoundError):
        new_agent().client(relay.url, tmp_path).send(reader.scid, "A" * 22, b"x")
    with pytest.raises(NotFoundError):
        sender.client(relay.url, tmp_path).send(new_agent().scid, "A" * 22, b"x")


def test_who_moved_gets_no_message_here(relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path) -> None:
    inbox, client = clients(relay, tmp_path, reader, sender)
    client.send(reader.scid, "A" * 22, b"x")
    reader.place(["https://elsewhere.example"])
    assert inbox.register(reader.log.text).home is False
    with pytest.raises(NotFoundError, match="moved"):
        client.send(reader.scid, "B" * 22, b"x")
    body = json.dumps({"from": sender.scid, "id": "B" * 22, "sealed": "eA=="}).encode()
    made, fields = request(relay.url, "POST", f"/agents/{reader.scid}/messages", body, JSON)
    answer = put(made, {**fields, **signed(made, sender.key)})
    assert json.loads(answer.body)["relays"] == ["https://elsewhere.example"]
    assert client.head(reader.scid).relays == ("https://elsewhere.example",)
    assert len(inbox.inbox()) == 1, "what came before is still there"


def test_a_receipt_names_the_relay_and_the_bytes(
    relay: RelayServer, reader: Agent, sender: Agent, tmp_path: Path
) -> None:
    from antsmem.identity.statement import open_statement

    (client,) = clients(relay, tmp_path, sender)
    receipt = client.send(reader.scid, "A" * 22, b"x")
    said = open_statement(receipt.statement + b"\n", "antsmem.relay.receipt/1", [client.info().key], "receipt")
    assert (said["relay"], said["to"], said["digest"]) == (relay.url, reader.scid, receipt.digest)
    with pytest.raises(IntegrityError):
        open_statement(receipt.statement + b"\n", "antsmem.relay.receipt/1", [sender.key.public], "receipt")
