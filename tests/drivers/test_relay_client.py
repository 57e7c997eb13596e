"""Goal: a relay that lies is found out, and one that stalls holds nobody up.

Method: a hostile relay, a few lines of sockets, plays every part: an older log, a forked one, another agent's, a
forged one, garbage, endless bodies, bodies cut short, slow drips, redirects, statements by the wrong key or about
something else. Controls: an honest relay of the same making is believed; without the memory of what was seen, the
rollback is.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from relays import Agent, new_agent

from antsmem.core.clock import now_ns, utc_text
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    RetiredError,
    RollbackError,
    UsageError,
)
from antsmem.drivers.handles import Domains
from antsmem.drivers.relay import RelayClient
from antsmem.drivers.relay_http import Bounds, exchange
from antsmem.identity.endpoint import HEAD_SCHEMA, SCHEMA
from antsmem.identity.handle import parse_handle
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey
from antsmem.identity.resolve import Resolver
from antsmem.identity.seen import Seen
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import sign_statement


class Hostile:
    """A server that answers each path with whatever bytes it is told to."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answers: dict[str, Callable[[socket.socket], None] | bytes] = {}
        self.asked: list[str] = []
        self._ended = False
        threading.Thread(target=self._serve, daemon=True).start()
        self.info()

    def _serve(self) -> None:
        while not self._ended:
            try:
                held, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=[held], daemon=True).start()

    def _one(self, held: socket.socket) -> None:
        with held:
            held.settimeout(10)
            try:
                head = held.recv(65536).decode("latin-1")
                path = head.split(" ")[1]
                self.asked.append(path)
                answer = self.answers.get(path.partition("?")[0], plain(404, b"{}"))
                if isinstance(answer, bytes):
                    held.sendall(answer)
                else:
                    answer(held)
            except (OSError, IndexError):
                return

    def close(self) -> None:
        self._ended = True
        self.listener.close()

    def info(self, **changes: Any) -> None:
        """What it says of itself."""
        about = {"schema": SCHEMA, "url": self.url, "key": multikey(self.key.public), **changes}
        self.answers["/"] = plain(200, json.dumps(about).encode())

    def word(self, scid: str, version_id: str, key: SigningKey | None = None, **changes: Any) -> bytes:
        """A signed word about an agent."""
        body = {
            "schema": HEAD_SCHEMA, "relay": self.url, "time": utc_text(now_ns()), "scid": scid,
            "version_id": version_id, **changes,
        }  # fmt: skip
        return sign_statement(body, key or self.key)

    def serve_log(self, text: bytes, word: bytes) -> None:
        self.answers["/log"] = plain(200, text, f"Antsmem-Head: {base64.b64encode(word).decode()}\r\n")

    def serve(self, log: IdentityLog) -> None:
        self.serve_log(log.text, self.word(log.scid, log.head))


def plain(status: int, body: bytes, fields: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    yield server
    server.close()


@pytest.fixture
def agent() -> Agent:
    agent = new_agent()
    agent.host("laptop", "desktop")
    return agent


def resolver(memory: Path) -> Resolver:
    return Resolver(
        lambda url: RelayClient(url, Seen(memory), now_ns, None, 20.0), Domains(), Seen(memory), now_ns()
    )


def test_an_honest_relay_is_believed(hostile: Hostile, agent: Agent, tmp_path: Path) -> None:
    hostile.serve(agent.log)
    found = resolver(tmp_path).scid(agent.scid, [hostile.url])
    assert (found.log.head, found.relay) == (agent.log.head, hostile.url)


def test_an_older_log_is_a_rollback_and_without_the_memory_it_is_believed(
    hostile: Hostile, agent: Agent, tmp_path: Path
) -> None:
    old = agent.log
    agent.host("desktop")
    hostile.serve(agent.log)
    resolver(tmp_path / "one").scid(agent.scid, [hostile.url])
    hostile.serve(old)
    with pytest.raises(RollbackError, match="rolled back") as caught:
        resolver(tmp_path / "one").scid(agent.scid, [hostile.url])
    assert caught.value.exit_code == 31
    (kept,) = (tmp_path / "one").glob("evidence-*.json")
    evidence = json.loads(kept.read_text())
    assert evidence["source"] == hostile.url and evidence["log"].encode() == old.text
    assert HEAD_SCHEMA.encode() in base64.b64decode(evidence["statement"]), "signed by the relay itself"
    assert resolver(tmp_path / "two").scid(agent.scid, [hostile.url]).log.head == old.head, "the control"


def test_a_forked_log_is_two_histories(hostile: Hostile, agent: Agent, tmp_path: Path) -> None:
    twin = copy(agent)
    agent.host("desktop")
    twin.host("thief")
    hostile.serve(agent.log)
    resolver(tmp_path).scid(agent.scid, [hostile.url])
    hostile.serve(twin.log)
    with pytest.raises(RollbackError, match="two histories"):
        resolver(tmp_path).scid(agent.scid, [hostile.url])
    twin.host("thief", "longer")
    hostile.serve(twin.log)
    with pytest.raises(RollbackError, match="two histories"):
        resolver(tmp_path).scid(agent.scid, [hostile.url])


def test_the_log_of_another_agent_is_refused(hostile: Hostile, agent: Agent, tmp_path: Path) -> None:
    other = new_agent()
    hostile.serve_log(other.log.text, hostile.word(agent.scid, other.log.head))
    with pytest.raises(IntegrityError, match="another identity"):
        resolver(tmp_path).scid(agent.scid, [hostile.url])


def test_a_forged_log_is_refused(hostile: Hostile, agent: Agent, tmp_path: Path) -> None:
    forged = agent.log.text.replace(b"desktop", b"hacktop")
    hostile.serve_log(forged, hostile.word(agent.scid, agent.log.head))
    with pytest.raises(IntegrityError, match="not genuine"):
        resolver(tmp_path).scid(agent.scid, [hostile.url])
    assert not list(tmp_path.glob("identity-*")), "nothing of it is remembered"


@pytest.mark.parametrize("case", ["wrong key", "another agent", "another relay", "unsigned", "none", "old schema"])
def test_a_statement_has_to_be_the_relays_own_and_about_this(
    hostile: Hostile, agent: Agent, tmp_path: Path, case: str
) -> None:
    words = {
        "wrong key": hostile.word(agent.scid, agent.log.head, SigningKey.generate()),
        "another agent": hostile.word(new_agent().scid, agent.log.head),
        "another relay": hostile.word(agent.scid, agent.log.head, relay="https://relay.example"),
        "unsigned": b'{"schema":"antsmem.relay.head/1"}',
        "none": b"",
        "old schema": hostile.word(agent.scid, agent.log.head, schema="antsmem.relay.slot/1"),
    }
    hostile.serve_log(agent.log.text, words[case])
    with pytest.raises(IntegrityError):
        resolver(tmp_path).scid(agent.scid, [hostile.url])


def test_a_relay_that_signs_with_another_key_than_before_is_another(
    hostile: Hostile, agent: Agent, tmp_path: Path
) -> None:
    hostile.serve(agent.log)
    resolver(tmp_path).scid(agent.scid, [hostile.url])
    hostile.key = SigningKey.generate()
    hostile.info()
    hostile.serve(agent.log)
    with pytest.raises(IntegrityError, match="another key"):
        resolver(tmp_path).scid(agent.scid, [hostile.url])


def endless(held: socket.socket) -> None:
    held.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        held.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def endless_head(held: socket.socket) -> None:
    held.sendall(b"HTTP/1.1 200 X\r\n")
    while True:
        held.sendall(b"A: " + b"x" * 1000 + b"\r\n")


def drip(held: socket.socket) -> None:
    held.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        held.sendall(b" ")
        time.sleep(0.05)


def drip_head(held: socket.socket) -> None:
    held.sendall(b"HTTP/1.1 200 X\r\nX: ")
    while True:
        held.sendall(b"x")
        time.sleep(0.05)


def silence(held: socket.socket) -> None:
    held.recv(1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (endless, IntegrityError),
        (endless_head, IntegrityError),
        (drip, BackendError),
        (drip_head, BackendError),
        (silence, BackendError),
        (b"", BackendError),
        (b"garbage\r\n\r\n", IntegrityError),
        (b"\x16\x03\x01\x02\x00", (IntegrityError, BackendError)),
        (b"SSH-2.0-OpenSSH\r\n", IntegrityError),
        (b"HTTP/1.1 200 X\r\nContent-Length: 500\r\n\r\n{}", BackendError),
        (b"HTTP/1.1 200 X\r\n\r\n{}", BackendError),
        (plain(200, b"not json"), IntegrityError),
        (plain(200, b"[" * 50000), IntegrityError),
        (plain(200, b'{"schema":"antsmem.relay/2"}'), IntegrityError),
        (plain(200, b"{}", "Content-Encoding: gzip\r\n"), IntegrityError),
        (plain(302, b"", "Location: file:///etc/passwd\r\n"), RefusedError),
        (plain(301, b"", "Location: http://127.0.0.1:1/\r\n"), RefusedError),
        (plain(500, b"oops"), BackendError),
        (plain(429, b"{}"), BackendError),
        (plain(403, b'{"error":"retired-key"}'), RetiredError),
        (plain(403, b'{"error":["retired-key"]}'), RefusedError),
        (plain(999, b"{}"), (RefusedError, BackendError)),
    ],
    ids=range(22),
)
def test_what_is_no_answer_is_told_and_never_waited_for(
    hostile: Hostile, agent: Agent, tmp_path: Path, answer: Any, kind: Any
) -> None:
    hostile.answers["/"] = answer
    unsaid = kind is BackendError or isinstance(kind, tuple)
    client = agent.client(hostile.url, tmp_path, seconds=1.0 if unsaid else 30.0)
    with pytest.raises(AntsmemError) as caught:
        client.info()
    assert isinstance(caught.value, kind), caught.value
    assert "oops" not in str(caught.value) and "passwd" not in str(caught.value)
    assert set(hostile.asked) == {"/"}, "nothing was followed"


def test_nothing_is_signed_for_a_relay_that_calls_itself_otherwise(
    hostile: Hostile, agent: Agent, tmp_path: Path
) -> None:
    hostile.info(url="https://relay.example")
    with pytest.raises(RefusedError, match="calls itself"):
        agent.client(hostile.url, tmp_path).inbox()
    assert hostile.asked == ["/"]


def test_a_log_that_names_this_machine_makes_nobody_ask_it(hostile: Hostile, agent: Agent, tmp_path: Path) -> None:
    """A stranger's log must not send requests into the reader's own machine."""
    agent.place(["http://127.0.0.1:1", "https://relay.invalid"])
    asked: list[str] = []

    def relay(url: str) -> RelayClient:
        asked.append(url)
        client = RelayClient(hostile.url, Seen(tmp_path), now_ns, None, 2.0)
        if url == "https://relay.invalid":
            raise BackendError("there is no such relay")
        return client

    hostile.serve(agent.log)
    found = Resolver(relay, Domains(), Seen(tmp_path), now_ns()).scid(agent.scid, ["https://public.example"])
    assert asked == ["https://public.example", "https://relay.invalid"] and found.log.head == agent.log.head


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example",
        "https://user@relay.example",
        "https://relay.example/path",
        "https://relay.example?x",
        "file:///etc/passwd",
        "ftp://relay.example",
        "https://10.0.0.1",
        "https://[::1",
        "https://",
        "",
        "http://127.0.0.1.example.org",
        "https://relay..example",
        "https://rel ay.example",
    ],
)
def test_what_is_no_url_of_a_relay(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        RelayClient(url, Seen(tmp_path), now_ns)


def test_a_handle_that_is_not_named_back_proves_nothing(hostile: Hostile, agent: Agent, tmp_path: Path) -> None:
    authority = hostile.url.partition("://")[2]
    handle = parse_handle(f"@kevin@{authority}")

    def give(log: IdentityLog) -> None:
        word = sign_statement(
            {"schema": "antsmem.relay.handle/1", "relay": hostile.url, "handle": "kevin", "scid": log.scid},
            hostile.key,
        )
        hostile.answers["/handles/kevin"] = plain(200, word)
        hostile.serve(log)

    give(agent.log)
    with pytest.raises(IntegrityError, match="name it back"):
        resolver(tmp_path).handle(handle)
    agent.place([hostile.url], [str(handle)])
    give(agent.log)
    assert resolver(tmp_path).handle(handle).log.scid == agent.scid


def test_an_unknown_handle_is_not_there(hostile: Hostile, tmp_path: Path) -> None:
    hostile.answers["/handles/kevin"] = plain(404, b'{"error":"not-found"}')
    with pytest.raises(NotFoundError):
        resolver(tmp_path).handle(parse_handle(f"@kevin@{hostile.url.partition('://')[2]}"))


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(BackendError):
        exchange("GET", "https://relay.invalid/", Bounds(10, 5.0))
