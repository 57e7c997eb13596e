"""Goal: a relay does what an agent's own key asks, once, and nothing else.

Method: requests through a real server process: good ones, and the same ones unsigned, replayed, re-targeted, old,
changed, by wrong and revoked keys, too large, of another type, malformed. As control, the same forgery goes
through a relay whose one check of signatures is taken out.
"""

from __future__ import annotations

import hashlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engines
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relays import SECOND_NS, Agent, RelayServer, code, new_agent, put, request, signed

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError
from antsmem.drivers.relay_http import Bounds, exchange
from antsmem.identity import http_signature
from antsmem.identity.endpoint import MAX_LOG_BYTES, MAX_SLOT_BYTES
from antsmem.identity.multikey import multikey
from antsmem.identity.signing import SigningKey
from antsmem.service.relay import Limits, RelayService
from antsmem.service.relay_store import RelayStore

OCTETS, JSONL, JSON = "application/octet-stream", "application/jsonl", "application/json"


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayServer]:
    server = engines.started(RelayServer())
    yield server
    server.close()


@pytest.fixture
def agent(relay: RelayServer, tmp_path: Path) -> Agent:
    agent = new_agent()
    agent.client(relay.url, tmp_path / "seen").register(agent.log.text)
    return agent


def slot_request(relay: RelayServer, agent: Agent, data: bytes = b"1", **more: Any) -> tuple[Any, dict[str, str]]:
    fields = more.pop("fields", {"If-None-Match": "*"})
    return request(relay.url, "PUT", f"/agents/{agent.scid}/epoch", data, OCTETS, fields)


def epoch(relay: RelayServer, agent: Agent) -> tuple[int, bytes]:
    made, fields = request(relay.url, "GET", f"/agents/{agent.scid}/epoch")
    answer = put(made, {**fields, **signed(made, agent.key)})
    return answer.status, answer.body


def test_a_good_request_is_done_and_answered_with_the_relays_signature(relay: RelayServer, agent: Agent) -> None:
    made, fields = slot_request(relay, agent)
    answer = put(made, {**fields, **signed(made, agent.key)})
    assert answer.status == 200
    word = json.loads(answer.body)
    assert word["scid"] == agent.scid and word["version"] == 1 and word["relay"] == relay.url
    assert word["digest"] == hashlib.sha256(b"1").hexdigest()
    assert epoch(relay, agent) == (200, b"1")


def test_the_same_request_again_is_refused_also_after_a_restart(relay: RelayServer, agent: Agent) -> None:
    made, fields = slot_request(relay, agent)
    fields |= signed(made, agent.key)
    assert put(made, fields).status == 200
    assert code(put(made, fields)) == (401, "replayed")
    relay.kill()
    relay.restart()
    assert code(put(made, fields)) == (401, "replayed")


def test_a_refused_request_cannot_be_played_again_when_it_would_succeed(relay: RelayServer, agent: Agent) -> None:
    early, fields = slot_request(relay, agent, b"2", fields={"If-Match": f'"{hashlib.sha256(b"1").hexdigest()}"'})
    fields |= signed(early, agent.key)
    assert code(put(early, fields)) == (412, "changed")
    first, given = slot_request(relay, agent)
    assert put(first, {**given, **signed(first, agent.key)}).status == 200
    assert code(put(early, fields)) == (401, "replayed")
    assert epoch(relay, agent) == (200, b"1")


def test_an_unsigned_request_is_refused(relay: RelayServer, agent: Agent) -> None:
    made, fields = slot_request(relay, agent)
    good = signed(made, agent.key)
    assert code(put(made, fields)) == (401, "bad-signature")
    for name in good:
        rest = {key: value for key, value in good.items() if key != name}
        assert code(put(made, {**fields, **rest})) == (401, "bad-signature")
    assert epoch(relay, agent)[0] == 404


@pytest.mark.parametrize("seconds", [-3600, -62, 90, 3600, -(10**9)])
def test_an_old_request_and_one_from_the_future_are_refused(
    relay: RelayServer, agent: Agent, seconds: int
) -> None:
    made, fields = slot_request(relay, agent)
    created = now_ns() // SECOND_NS + seconds
    assert code(put(made, {**fields, **signed(made, agent.key, created)})) == (401, "stale")


def test_a_request_for_another_relay_place_or_method_is_refused(relay: RelayServer, agent: Agent) -> None:
    made, fields = slot_request(relay, agent)
    for method, target in (
        ("PUT", f"https://relay.example/agents/{agent.scid}/epoch"),
        ("PUT", f"http://localhost:{relay.port}/agents/{agent.scid}/epoch"),
        ("PUT", f"{relay.url}/agents/{agent.scid}/ledger"),
        ("PUT", f"{relay.url}/agents/{agent.scid}/epoch?x=1"),
        ("POST", f"{relay.url}/agents/{agent.scid}/epoch"),
    ):
        elsewhere = http_signature.Request(method, target, made.body, OCTETS, "", "*")
        assert code(put(made, {**fields, **signed(elsewhere, agent.key)})) == (401, "bad-signature")
    assert epoch(relay, agent)[0] == 404


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RelayService, Agent]]:
    """A relay in this process, which takes any number of requests, and an agent that is registered with it."""
    often = Limits((1e9, 10**9), (1e9, 10**9), (1e9, 10**9))
    store = RelayStore(tmp_path_factory.mktemp("inside"))
    service, agent = (
        RelayService(store, "https://relay.example", SigningKey.generate(), now_ns, often),
        new_agent(),
    )
    made, fields = request("https://relay.example", "POST", "/agents", agent.log.text, JSONL)
    status, _ = _call(service, "POST", "/agents", made.body, {**fields, **signed(made, agent.key)})
    assert status == 201
    yield service, agent
    store.close()


@given(where=st.sampled_from(["body", "signature", "signature-input", "digest"]), bit=st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_bit_of_a_request_can_be_flipped(inside: tuple[RelayService, Agent], where: str, bit: int) -> None:
    """In-process, so that many can be tried: the same application that the server runs."""
    service, agent = inside
    made, fields = request("https://relay.example", "PUT", f"/agents/{agent.scid}/epoch", b"12345678", OCTETS)
    fields = {**fields, **signed(made, agent.key)}
    body = bytearray(made.body)
    name = {"signature": "Signature", "signature-input": "Signature-Input", "digest": "Content-Digest"}.get(where)
    changed = bytearray(fields[name].encode()) if name else body
    changed[bit // 7 % len(changed)] ^= 1 << bit % 7  # the eighth bit is no letter
    if name:
        fields[name] = changed.decode()
    status, answer = _call(service, made.method, f"/agents/{agent.scid}/epoch", bytes(body), fields)
    assert (status, answer["error"]) == (401, "bad-signature")


def test_a_key_that_the_log_does_not_name_is_refused(relay: RelayServer, agent: Agent) -> None:
    made, fields = slot_request(relay, agent)
    other = new_agent()
    assert code(put(made, {**fields, **signed(made, other.key)})) == (403, "unknown-key")
    assert code(put(made, {**fields, **signed(made, SigningKey.generate())})) == (403, "unknown-key")


def test_a_key_that_the_newest_log_revoked_is_refused_everywhere(
    relay: RelayServer, agent: Agent, tmp_path: Path
) -> None:
    thief, before = agent.key, agent.log
    agent.host("desktop")
    agent.client(relay.url, tmp_path / "seen").register(agent.log.text)
    scid = agent.scid
    for method, path, body, kind, more in (
        ("GET", f"/agents/{scid}/inbox", b"", "", {}),
        ("GET", f"/agents/{scid}/epoch", b"", "", {}),
        ("PUT", f"/agents/{scid}/epoch", b"1", OCTETS, {"If-None-Match": "*"}),
        ("POST", f"/agents/{scid}/inbox", b'{"read":[],"drop":[]}', JSON, {}),
        ("POST", f"/agents/{scid}/messages", _message(scid), JSON, {}),
        ("POST", "/agents", agent.log.text, JSONL, {}),
        ("PUT", f"/agents/{scid}/log", agent.log.text, JSONL, {}),
    ):
        made, fields = request(relay.url, method, path, body, kind, more)
        assert code(put(made, {**fields, **signed(made, thief)})) == (403, "retired-key"), path
    made, fields = request(relay.url, "PUT", f"/agents/{scid}/log", before.text, JSONL)
    assert code(put(made, {**fields, **signed(made, thief)})) == (409, "log-older")


def _message(sender: str) -> bytes:
    return json.dumps({"from": sender, "id": "A" * 22, "sealed": "c2VhbGVk"}).encode()


def test_a_log_is_only_ever_extended(relay: RelayServer, agent: Agent, tmp_path: Path) -> None:
    from copy import copy

    twin = copy(agent)
    first = agent.log
    agent.place([relay.url])
    twin.place(["https://elsewhere.example"])
    url = relay.url

    def put_log(text: bytes, key: SigningKey, scid: str = agent.scid) -> tuple[int, str]:
        made, fields = request(url, "PUT", f"/agents/{scid}/log", text, JSONL)
        return code(put(made, {**fields, **signed(made, key)}))

    assert put_log(agent.log.text, agent.key) == (201, "")
    assert put_log(agent.log.text, agent.key) == (200, ""), "the same again is no harm"
    assert put_log(first.text, agent.key) == (409, "log-older")
    assert put_log(twin.log.text, agent.key) == (409, "log-fork")
    other = new_agent()
    assert put_log(other.log.text, other.key, other.scid) == (404, "unknown-agent")
    assert put_log(other.log.text, other.key) == (400, "malformed")
    assert put_log(agent.log.text, other.key) == (403, "unknown-key")
    assert put_log(agent.log.text[:-1], agent.key) == (400, "malformed")
    assert put_log(agent.log.text.replace(b"relay-1", b"relay-2"), agent.key) == (400, "malformed")
    fetched = agent.client(url, tmp_path / "seen").log(agent.scid)
    assert fetched.text == agent.log.text


def test_registering_needs_a_key_of_the_log(relay: RelayServer) -> None:
    new, thief = new_agent(), SigningKey.generate()
    made, fields = request(relay.url, "POST", "/agents", new.log.text, JSONL)
    assert code(put(made, {**fields, **signed(made, thief)})) == (403, "unknown-key")
    assert code(put(made, fields)) == (401, "bad-signature")
    assert exchange("GET", f"{relay.url}/agents/{new.scid}", Bounds(1 << 16)).status == 404
    assert code(put(made, {**fields, **signed(made, new.key)})) == (201, "")


@pytest.mark.parametrize(
    ("path", "body", "kind", "more", "expected"),
    [
        ("epoch", b"x" * (MAX_SLOT_BYTES + 1), OCTETS, {"If-None-Match": "*"}, (413, "too-large")),
        ("epoch", b"", OCTETS, {"If-None-Match": "*"}, (413, "too-large")),
        ("epoch", b"x", JSON, {"If-None-Match": "*"}, (415, "wrong-type")),
        ("epoch", b"x", "", {"If-None-Match": "*"}, (415, "wrong-type")),
        ("epoch", b"x", OCTETS, {}, (428, "unconditional")),
        ("epoch", b"x", OCTETS, {"If-Match": "*"}, (428, "unconditional")),
        ("epoch", b"x", OCTETS, {"If-Match": '"' + "0" * 64 + '"', "If-None-Match": "*"}, (428, "unconditional")),
        ("epoch", b"x", OCTETS, {"If-Match": '"' + "0" * 64 + '"'}, (412, "changed")),
        ("other", b"x", OCTETS, {"If-None-Match": "*"}, (405, "not-found")),
        ("log", b"x", OCTETS, {}, (415, "wrong-type")),
        ("log", b"x", JSONL, {}, (400, "malformed")),
        ("log", b"\xff" * 1000, JSONL, {}, (400, "malformed")),
        ("log", b"{" * 100_000, JSONL, {}, (400, "malformed")),
    ],
    ids=range(13),
)
def test_what_a_relay_does_not_take(
    relay: RelayServer, agent: Agent, path: str, body: bytes, kind: str, more: dict[str, str], expected: object
) -> None:  # fmt: skip
    made, fields = request(relay.url, "PUT", f"/agents/{agent.scid}/{path}", body, kind, more)
    assert code(put(made, {**fields, **signed(made, agent.key)})) == expected


def test_a_body_beyond_every_limit_is_not_even_read(relay: RelayServer, agent: Agent) -> None:
    made, fields = request(relay.url, "PUT", f"/agents/{agent.scid}/log", b"x" * (MAX_LOG_BYTES + 2), JSONL)
    fields |= signed(made, agent.key)
    try:
        assert put(made, fields).status == 413
    except BackendError:  # it hangs up while the rest is still being sent
        assert epoch(relay, agent)[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"from":1,"id":"","sealed":""}',
        b'{"from":"QmX","from":"QmY","id":"","sealed":""}',
        b'{"from":"SCID","id":"short","sealed":"eA=="}',
        b'{"from":"SCID","id":"AAAAAAAAAAAAAAAAAAAAAA","sealed":"not base64!"}',
        b'{"from":"SCID","id":"AAAAAAAAAAAAAAAAAAAAAA","sealed":"eA==","more":1}',
        b'{"from":"SCID","id":"AAAAAAAAAAAAAAAAAAAAAA","sealed":""}',
    ],
)
def test_a_malformed_message_is_refused(relay: RelayServer, agent: Agent, body: bytes) -> None:
    body = body.replace(b"SCID", agent.scid.encode())
    made, fields = request(relay.url, "POST", f"/agents/{agent.scid}/messages", body, JSON)
    status, _ = code(put(made, {**fields, **signed(made, agent.key)}))
    assert 400 <= status < 500


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/log?scid=../../etc/passwd"),
        ("GET", "/log"),
        ("GET", "/handles/"),
        ("GET", "/handles/nobody"),
        ("GET", "/agents/QmNobody"),
        ("DELETE", "/agents"),
        ("GET", "/agents/../relay.key"),
        ("GET", "//agents"),
        ("GET", "/%00"),
        ("GET", "/" + "a" * 400),
        ("TRACE", "/"),
        ("GET", "/agents/x/epoch?after=1&after=2"),
    ],
)
def test_what_is_not_there_is_a_plain_no(relay: RelayServer, method: str, path: str) -> None:
    answer = exchange(method, relay.url + path, Bounds(1 << 16))
    assert 400 <= answer.status < 500 and b"Traceback" not in answer.body
    assert "server" not in answer.fields


def _call(
    service: RelayService, method: str, path: str, body: bytes, fields: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    got: list[str] = []
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields.items()}
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    environ |= {"REQUEST_METHOD": method, "REQUEST_URI": path, "REMOTE_ADDR": "192.0.2.1"}
    parts = service({**environ, "wsgi.input": io.BytesIO(body)}, lambda status, _: got.append(status))
    return int(got[0][:3]), json.loads(b"".join(parts))


@given(
    st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "", "\x00"]),
    st.lists(
        st.sampled_from(["agents", "log", "handles", "inbox", "epoch", "SCID", "..", "", "%2e"])
        | st.text(max_size=9)
    ),
    st.binary(max_size=200)
    | st.sampled_from([b"{}", b"[]", b'{"read":[{}],"drop":[]}', b'{"read":[],"drop":[1]}']),
    st.booleans(),
)
def test_no_request_ends_in_a_traceback(
    inside: tuple[RelayService, Agent], method: str, path: list[str], body: bytes, proper: bool
) -> None:
    service, agent = inside
    place = "/" + "/".join(path).replace("SCID", agent.scid)
    made, fields = request("https://relay.example", method, place, body, JSON)
    signature = signed(made, agent.key) if proper and place.isascii() else {}
    status, _ = _call(service, method, place, body, {**fields, **signature})
    assert status in {200, 400, 401, 403, 404, 405, 413, 415, 421, 428}


def test_without_its_one_check_a_relay_takes_a_forgery(
    inside: tuple[RelayService, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what every test above relies on is the call to libsodium in `http_signature`."""
    service, agent = inside
    made, fields = request(
        "https://relay.example", "PUT", f"/agents/{agent.scid}/ledger", b"forged", OCTETS, {"If-None-Match": "*"}
    )
    thief = SigningKey.generate()
    fields |= signed(made, thief)
    fields["Signature-Input"] = fields["Signature-Input"].replace(
        multikey(thief.public), multikey(agent.key.public)
    )
    path = f"/agents/{agent.scid}/ledger"
    assert _call(service, "PUT", path, b"forged", fields)[1]["error"] == "bad-signature"
    monkeypatch.setattr(http_signature, "verify", lambda *_: None)
    assert _call(service, "PUT", path, b"forged", fields)[0] == 200


def test_who_asks_too_often_has_to_wait(tmp_path: Path) -> None:
    moment = [now_ns()]
    store = RelayStore(tmp_path)
    few = Limits((1.0, 3), (1.0, 2), (1.0, 1))
    service = RelayService(store, "https://relay.example", SigningKey.generate(), lambda: moment[0], few)
    answers = [_call(service, "GET", "/handles/nobody", b"", {}) for _ in range(5)]
    assert [status for status, _ in answers] == [404, 404, 404, 429, 429]
    moment[0] += 2 * SECOND_NS
    assert _call(service, "GET", "/handles/nobody", b"", {})[0] == 404
    store.close()


def test_clients_that_send_slowly_hold_nobody_up(relay: RelayServer, agent: Agent, tmp_path: Path) -> None:
    """More of them than the server has threads, in the middle of a head and in the middle of a body."""
    held = [socket.create_connection(("127.0.0.1", relay.port)) for _ in range(60)]
    try:
        for number, each in enumerate(held):
            each.sendall(b"POST /agents HTTP/1.1\r\nContent-Length: 9000\r\n" + (b"\r\nx" if number % 2 else b""))
        client = agent.client(relay.url, tmp_path / "seen", seconds=60)
        client.put_slot("epoch", b"1", None)
        assert client.slot("epoch") is not None
    finally:
        for each in held:
            each.close()
