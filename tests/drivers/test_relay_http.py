"""Goal: a server is who its certificate says, or nothing is told to it.

Method: a real TLS server on loopback with certificates made here: trusted, unknown, for another name.
"""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from antsmem.core.errors import BackendError
from antsmem.drivers.relay_http import Bounds, exchange


class Web(BaseHTTPRequestHandler):
    """Says yes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"yes")

    def log_message(self, *_: object) -> None:
        """Silent."""


def certificate(place: Path, name: str) -> Path:
    """A certificate for `name` that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name[0].isdigit():
        names = [x509.IPAddress(ip_address(name))]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = place / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    path = certificate(tmp_path, request.param)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] - a client that hangs up is the point
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}/", path
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("served", ["127.0.0.1"], indirect=True)
def test_a_trusted_server_is_talked_to(served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, path = served
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert exchange("GET", url, Bounds(10, 10.0)).body == b"yes"


@pytest.mark.parametrize("served", ["127.0.0.1"], indirect=True)
def test_an_unknown_server_is_not(served: tuple[str, Path]) -> None:
    with pytest.raises(BackendError, match="SSLCertVerificationError"):
        exchange("GET", served[0], Bounds(10, 10.0))


@pytest.mark.parametrize("served", ["relay.example"], indirect=True)
def test_a_server_with_anothers_certificate_is_not(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, path = served
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(BackendError, match="SSLCertVerificationError"):
        exchange("GET", url, Bounds(10, 10.0))
