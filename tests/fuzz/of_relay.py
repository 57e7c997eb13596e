"""Targets on the network: what a relay is asked, what it answers, messages, and what a domain says of an agent."""

from __future__ import annotations

import base64
import io
from random import Random
from typing import Any

import mutants
from made_agents import FRIDAY_NS
from reading import Making, Target, refused
from specimens import Specimens

from antsmem.core import canonical
from antsmem.drivers import handles
from antsmem.identity import handle, http_signature, message
from antsmem.identity.http_signature import Request
from antsmem.service.relay import Limits, RelayService
from antsmem.service.relay_store import RelayStore

URL = "http://127.0.0.1:8470"
PLENTY = (10.0**9, 10**9)
SEPARATOR = b"\n\n"


def _service(s: Specimens) -> RelayService:
    """A relay that knows the agent."""
    store = RelayStore(s.backup.root / "relay")
    service = RelayService(store, URL, s.control, lambda: FRIDAY_NS, Limits(PLENTY, PLENTY, PLENTY))
    assert _asked(service, _request(s, "POST", "/agents", s.log.text, "application/jsonl")) < 300
    return service


def _request(s: Specimens, method: str, path: str, body: bytes = b"", kind: str = "", nonce: int = 0) -> bytes:
    """A signed request as bytes: its fields, one a line, an empty line, its body."""
    made = Request(method, URL + path, body, kind)
    fields = http_signature.sign_request(
        made, s.made.keystore.op_key, FRIDAY_NS // 10**9, nonce.to_bytes(16, "big")
    )
    head = [method, path, kind, *(fields[name] for name in ("Content-Digest", "Signature-Input", "Signature"))]
    return "\n".join(head).encode() + SEPARATOR + body


def _asked(service: RelayService, data: bytes) -> int:
    """The status of what the relay answers to such bytes."""
    head, _, body = data.partition(SEPARATOR)
    lines = [*head.decode("latin-1").split("\n"), *[""] * 8]
    environ: dict[str, Any] = {"REQUEST_METHOD": lines[0], "REQUEST_URI": lines[1], "REMOTE_ADDR": "127.0.0.1"}
    environ |= {"CONTENT_TYPE": lines[2], "HTTP_CONTENT_DIGEST": lines[3], "HTTP_SIGNATURE_INPUT": lines[4]}
    environ |= {"HTTP_SIGNATURE": lines[5], "HTTP_IF_MATCH": lines[6], "wsgi.input": io.BytesIO(body)}
    said: list[str] = []
    b"".join(service(environ, lambda status, _fields: said.append(status)))
    return int(said[0][:3])


def _relay(s: Specimens) -> Target:
    service, scid = _service(s), s.log.scid
    bodies: list[tuple[str, str, Any, str]] = [
        ("POST", f"/agents/{scid}/inbox", {"read": [], "drop": [["mail", scid, "A" * 22]]}, "application/json"),
        ("PUT", f"/agents/{scid}/log", s.log.text, "application/jsonl"),
        ("PUT", f"/agents/{scid}/epoch", {"a": 1}, "application/json"),
        ("POST", f"/agents/{scid}/messages", b"x" * 100, "application/octet-stream"),
        ("GET", f"/agents/{scid}/inbox?after=0", b"", ""),
        ("GET", f"/log?scid={scid}", b"", ""),
        ("GET", "/handles/kevin", b"", ""),
    ]

    def read(data: bytes) -> None:
        assert _asked(service, data) < 500 or b"epoch" in data

    def inside(dice: Random) -> bytes:
        method, path, body, kind = dice.choice(bodies)
        if isinstance(body, bytes):
            data = mutants.of_bytes(dice, [body, b"{}"])
        else:
            data = canonical.dumps(mutants.of_value(dice, body))
        if dice.random() < 0.3:
            path = mutants.of_bytes(dice, [path.encode()]).decode("latin-1").replace("\n", "")
        if dice.random() < 0.3:
            return _signed_oddly(s, dice, Request(method, URL + path, data, kind))
        return _request(s, method, path, data, kind, dice.randrange(1 << 100))

    return Target([_request(s, *each[:2], b"", each[3]) for each in bodies], read, inside, writes=True)


def _signed_oddly(s: Specimens, dice: Random, made: Request) -> bytes:
    """A request whose signature holds, with parameters that nobody expects."""
    key = s.made.keystore.op_key
    fields = http_signature.sign_request(made, key, FRIDAY_NS // 10**9, dice.randbytes(16))
    covered = fields["Signature-Input"].partition("=")[2]
    odd = dice.choice(('"%s"' % ("9" * 5000), '"\u0663"', "999999999999999", '""', '"-1"', "0"))
    odd_input = mutants.of_bytes(dice, [covered.encode()]).decode("latin-1").replace("\n", "")
    parameters = dice.choice((covered.replace(f"created={FRIDAY_NS // 10**9}", f"created={odd}"), odd_input))
    signature = base64.b64encode(key.sign(http_signature._base(made.covered(), parameters))).decode()
    label = fields["Signature-Input"].partition("=")[0]
    head = [made.method, made.target.removeprefix(URL), made.content_type, fields["Content-Digest"]]
    return "\n".join([*head, f"{label}={parameters}", f"{label}=:{signature}:"]).encode() + SEPARATOR + made.body


def _message(s: Specimens) -> Target:
    address = message.Address(s.log.scid, s.log.scid, "A" * 22)
    key = s.made.keystore.op_key
    good = message.seal_message("hello", address, key, s.log, FRIDAY_NS)
    body = {
        "schema": message.SCHEMA,
        "from": s.log.scid,
        "to": s.log.scid,
        "id": "A" * 22,
        "time": "",
        "text": "x",
    }

    def inside(dice: Random) -> bytes:
        changed = mutants.of_value(dice, body)
        recipients = [message._recipient(key.public)]
        return message.seal_envelope(changed, key, recipients)

    return Target([good], lambda data: message.open_message(data, address, key, s.log), inside)


def _document(s: Specimens) -> Target:
    """The places that an identity names: relays and handles."""
    entry = {"id": s.log.did, "service": [], "alsoKnownAs": []}
    good = handle.with_handles(handle.with_relays(entry, [URL]), [handle.parse_handle("@kevin@relay.example")])

    def read(data: bytes) -> None:
        found = canonical.loads(data, 1 << 20)
        if not isinstance(found, dict):
            return
        for url in handle.relays_of(found):
            handle.relay_url(url)
        for each in handle.handles_of(found):
            assert handle.parse_handle(str(each)) == each
        if isinstance(found.get("id"), str):
            refused(lambda: handle.with_relays(found, [URL]))

    return Target([canonical.dumps(good)], read, lambda dice: canonical.dumps(mutants.of_value(dice, good)))


def _domain(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        text = data.decode("ascii", "replace")
        refused(lambda: handle.parse_handle(text))
        refused(lambda: handles._from_texts("example.org", [text]))
        handles._pointer("example.org", canonical.loads(data, 1 << 16))

    pointer = {"scid": s.log.scid, "relay": "https://relay.example"}
    seeds = [
        canonical.dumps(pointer),
        f"scid={s.log.scid} relay=https://relay.example".encode(),
        b"@k@relay.example",
    ]
    return Target(seeds, read, lambda dice: canonical.dumps(mutants.of_value(dice, pointer)), good=False)


RELAY: dict[str, Making] = {
    "relay request": _relay,
    "message": _message,
    "services of a document": _document,
    "handle": _domain,
}
