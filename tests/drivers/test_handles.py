"""Goal: a domain leads to an agent by the DNS or by a file, and a domain that lies leads nowhere.

Method: a real DNS server (dnslib) and a web server on loopback, with good records and every kind of bad one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from antsmem.core.errors import AntsmemError, BackendError, IntegrityError, NotFoundError, UsageError
from antsmem.drivers import handles
from antsmem.drivers.handles import Domains
from antsmem.drivers.relay_http import Answer
from antsmem.identity.resolve import Pointer

pytest.importorskip("dns", reason="pip install dnspython")
pytest.importorskip("dnslib", reason="pip install dnslib")

import dnslib
from dnslib.server import BaseResolver, DNSLogger, DNSServer

SCID = "Qm" + "a" * 44
GOOD = f"scid={SCID} relay=https://relay.example"


class Zone(BaseResolver):  # type: ignore[misc]
    """Answers TXT questions from `records`: name → texts; None: it fails."""

    def __init__(self) -> None:
        self.records: dict[str, list[list[str]] | None] = {}
        self.asked: list[str] = []

    def resolve(self, request: dnslib.DNSRecord, handler: object) -> dnslib.DNSRecord:
        reply = request.reply()
        name = str(request.q.qname).rstrip(".")
        self.asked.append(name)
        texts = self.records.get(name, [])
        if texts is None:
            reply.header.rcode = dnslib.RCODE.SERVFAIL
        elif name not in self.records:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        for parts in texts or []:
            data = dnslib.TXT([part.encode() for part in parts])
            reply.add_answer(dnslib.RR(request.q.qname, dnslib.QTYPE.TXT, rdata=data, ttl=1))
        return reply


@pytest.fixture(scope="module")
def dns_server() -> Iterator[Zone]:
    zone = Zone()
    silent = DNSLogger("-request,-reply,-truncated,-error,-recv,-send,-data", prefix=False)
    udp = DNSServer(zone, address="127.0.0.1", port=0, logger=silent)
    udp.start_thread()
    zone.at = f"127.0.0.1:{udp.server.server_address[1]}"
    yield zone
    udp.stop()
    udp.server.server_close()


@pytest.fixture
def zone(dns_server: Zone) -> Zone:
    """An empty one."""
    dns_server.records.clear()
    dns_server.asked.clear()
    return dns_server


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No web server answers for any domain; the URLs that were asked."""
    asked: list[str] = []

    def exchange(_method: str, url: str, _bounds: object) -> Answer:
        asked.append(url)
        return Answer(404, b"")

    monkeypatch.setattr(handles, "exchange", exchange)
    return asked


def test_a_txt_record_names_the_agent(zone: Zone) -> None:
    zone.records["_antsmem.example.org"] = [["v=spf1 -all"], [GOOD]]
    assert Domains(zone.at).lookup("example.org") == Pointer(SCID, "https://relay.example")
    assert set(zone.asked) == {"_antsmem.example.org"}, "no search domain was tried"


def test_a_record_in_pieces_is_one(zone: Zone) -> None:
    zone.records["_antsmem.example.org"] = [[GOOD[:20], GOOD[20:]]]
    assert Domains(zone.at).lookup("example.org").scid == SCID


def test_the_file_is_asked_where_the_dns_has_nothing(zone: Zone, nowhere: list[str]) -> None:
    with pytest.raises(NotFoundError):
        Domains(zone.at).lookup("example.org")
    zone.records["_antsmem.example.org"] = [["something else"]]
    with pytest.raises(NotFoundError):
        Domains(zone.at).lookup("example.org")
    assert nowhere == ["https://example.org/.well-known/antsmem.json"] * 2


@pytest.mark.parametrize(
    "texts",
    [
        [[GOOD], [GOOD.replace("a", "b")]],
        [["scid=short relay=https://relay.example"]],
        [[f"scid={SCID}"]],
        [[f"scid={SCID} relay=http://relay.example"]],
        [[f"scid={SCID} relay=file:///etc/passwd"]],
        [["scid=\x1b[31m relay=x"]],
    ],
    ids=range(6),
)
def test_a_bad_record_is_no_answer(zone: Zone, nowhere: list[str], texts: list[list[str]]) -> None:
    zone.records["_antsmem.example.org"] = texts
    with pytest.raises(IntegrityError):
        Domains(zone.at).lookup("example.org")
    assert nowhere == [], "and not made good for by another source"


def test_a_dns_that_fails_is_unreachable_and_not_nothing(zone: Zone, nowhere: list[str]) -> None:
    zone.records["_antsmem.example.org"] = None
    with pytest.raises(BackendError):
        Domains(zone.at).lookup("example.org")
    assert nowhere == []


@pytest.mark.parametrize("text", ["127.0.0.1", "host:", ":53", "127.0.0.1:99999", "x"])
def test_what_is_no_name_server(text: str) -> None:
    with pytest.raises(UsageError):
        Domains(text)


class Web(BaseHTTPRequestHandler):
    """Serves `server.answer`: (status, body, fields)."""

    def do_GET(self) -> None:
        status, body, fields = self.server.answer  # type: ignore[attr-defined]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def web() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def told(web: ThreadingHTTPServer, status: int, body: bytes, fields: dict[str, str] | None = None) -> Pointer:
    web.answer = (status, body, fields or {})
    return Domains().lookup(f"127.0.0.1:{web.server_address[1]}")


def test_a_well_known_file_names_the_agent(web: ThreadingHTTPServer) -> None:
    body = json.dumps({"scid": SCID, "relay": "https://relay.example", "more": "is allowed"}).encode()
    assert told(web, 200, body) == Pointer(SCID, "https://relay.example")
    assert web.asked == ["/.well-known/antsmem.json"]


@pytest.mark.parametrize(
    ("status", "body", "fields", "kind"),
    [
        (404, b"", {}, NotFoundError),
        (500, b"", {}, BackendError),
        (302, b"", {"Location": "http://169.254.169.254/latest"}, BackendError),
        (301, b"", {"Location": "file:///etc/passwd"}, BackendError),
        (200, b"", {}, IntegrityError),
        (200, b"<html>", {}, IntegrityError),
        (200, b"[]", {}, IntegrityError),
        (200, b'{"scid": 1}', {}, IntegrityError),
        (200, b'{"scid": "x", "scid": "y"}', {}, IntegrityError),
        (200, json.dumps({"scid": SCID, "relay": "gopher://x"}).encode(), {}, IntegrityError),
        (200, b"x" * 20_000, {}, IntegrityError),
    ],
    ids=range(11),
)
def test_a_bad_file_is_no_answer(
    web: ThreadingHTTPServer, status: int, body: bytes, fields: dict[str, str], kind: type[AntsmemError]
) -> None:
    with pytest.raises(kind):
        told(web, status, body, fields)
    assert len(web.asked) == 1, "nothing was followed"
