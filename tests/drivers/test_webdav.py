"""Goal: the WebDAV driver loses nothing to servers that are loose with the standard, and believes no listing.

Method: rclone's server, with TLS, read-only or full as each test needs it, and a proxy where it must lie; made-up
listings. What every store must do is in `conformance/`.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.parsers import expat

import engines
import httpx
import pytest
from engines import started
from faultproxy import HttpProxy, Reply
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import BackendError, ConfigError, ConflictError, DriverMissingError, RefusedError
from antsmem.drivers.webdav import WebdavStore
from antsmem.drivers.webdav_client import _read_multistatus, moment_ns

pytestmark = pytest.mark.server


def login(server: engines.Rclone, **more: str) -> dict[str, str]:
    return {"tls": "no", "username": "u", "password": server.password, "timeout_seconds": "20", **more}


def made(server: engines.Rclone, port: int = 0, **more: str) -> WebdavStore:
    url = f"webdav://127.0.0.1:{port or server.port}/{uuid.uuid4().hex[:8]}"
    store = WebdavStore.open(url, login(server, **more))
    store.put("repository.json", [b"{}"])
    return store


@pytest.fixture
def proxy(rclone: engines.Rclone) -> Iterator[HttpProxy]:
    proxy = HttpProxy(rclone.port)
    yield proxy
    proxy.close()


def test_an_url_with_a_mistake_is_refused_and_no_password_in_it_repeated() -> None:
    secret = uuid.uuid4().hex
    for url, options in (
        ("webdav:///a", {}),
        ("webdav://host:x/a", {}),
        ("webdav://[::1/a", {}),
        ("webdav://host/a?b", {}),
        ("webdav://host/a#b", {}),
        (f"webdav://u:{secret}@host/a", {}),
        ("webdav://host/a", {"username": "u"}),
        ("webdav://host/a", {"password": secret}),
        ("webdav://host/a", {"tls": "off"}),
        ("webdav://host/a", {"ca_file": "/nowhere"}),
    ):
        with pytest.raises(ConfigError) as caught:
            WebdavStore.open(url, options)
        assert secret not in f"{caught.value} {caught.value.hint}"


def test_an_url_with_an_ipv6_address_keeps_its_brackets() -> None:
    store = WebdavStore.open("webdav://[::1]:8443/a", {})
    assert store.url == "webdav://[::1]:8443/a"
    assert store._client.address("/b") == "https://[::1]:8443/a/b"
    store.close()


def test_a_path_with_odd_letters_works(rclone: engines.Rclone) -> None:
    for path in ("/sp ace/ü%C3%BC", "/per%25cent/q%3F", "/deep/er/still"):
        store = WebdavStore.open(f"webdav://127.0.0.1:{rclone.port}/{uuid.uuid4().hex[:8]}{path}", login(rclone))
        store.put("repository.json", [b"{}"])
        store.put("packs/a", [b"x"])
        store.upload("packs/b", iter([b"y"]))
        assert sorted(item.name for item in store.list("packs")) == ["packs/a", "packs/b"]
        assert [item.name for item in store.list("")] == ["repository.json"]
        assert store.get("packs/b") == b"y"
        store.close()


def test_a_wrong_password_is_refused_at_once(rclone: engines.Rclone) -> None:
    store = WebdavStore.open(f"webdav://127.0.0.1:{rclone.port}/a", login(rclone, password="wrong"))
    for call in (lambda: store.get("a"), lambda: store.list(""), lambda: store.put("repository.json", [b"x"])):
        with pytest.raises(RefusedError, match="401") as caught:
            call()
        assert "`password`" in caught.value.hint
    store.close()


def test_a_redirect_is_not_followed_with_our_password(rclone: engines.Rclone, proxy: HttpProxy) -> None:
    store = made(rclone, proxy.port)
    thief = HttpProxy(rclone.port)
    away = {"Location": f"http://127.0.0.1:{thief.port}/"}
    for status in (301, 302, 307, 308):
        proxy.rule = lambda method, path, s=status: Reply(s, b"", away)
        for call in (lambda: store.get("a"), lambda: store.put("a", [b"x"]), lambda: store.list("")):
            with pytest.raises(RefusedError):
                call()
    assert thief.seen == []
    store.close()
    thief.close()


def test_a_read_only_server_refuses() -> None:
    server = started(engines.Rclone("--read-only"))
    try:
        (server.root / "r").mkdir()
        (server.root / "r" / "a").write_bytes(b"x")
        store = WebdavStore.open(f"webdav://127.0.0.1:{server.port}/r", login(server))
        assert store.get("a") == b"x"
        for change in (
            lambda: store.put("b", [b"x"]),
            lambda: store.put("packs/b", [b"x"]),
            lambda: store.upload("b", iter([b"x"])),
        ):
            with pytest.raises((RefusedError, BackendError)):
                change()
        assert (server.root / "r" / "a").read_bytes() == b"x"
        assert os.listdir(server.root / "r") == ["a"]
        store.close()
    finally:
        server.close()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may mount")
def test_a_full_server_is_an_error_and_harms_nothing(rclone: engines.Rclone) -> None:
    disk = rclone.root / uuid.uuid4().hex[:8]
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        url = f"webdav://127.0.0.1:{rclone.port}/{disk.name}"
        store = WebdavStore.open(url, login(rclone))
        store.put("repository.json", [b"{}"])
        store.put("packs/a", [b"old"])
        hasty = WebdavStore.open(url, login(rclone, timeout_seconds="0.3"))
        for change in (
            lambda: hasty.put("packs/a", [b"x" * (2 << 20)]),
            lambda: hasty.put("packs/b", [b"x" * (2 << 20)], new=True),
            lambda: hasty.upload("packs/a", iter([b"x" * (2 << 20)])),
        ):
            with pytest.raises((RefusedError, BackendError)):
                change()
        hasty.close()
        assert store.get("packs/a") == b"old"
        assert store.stat("packs/b") is None
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_move_of_nothing_removes_what_is_in_the_way(rclone: engines.Rclone) -> None:
    """Why the driver looks before it moves: this is what a MOVE that is sent twice does on such a server."""
    store = made(rclone)
    store.put("a", [b"x"])
    with suppress(RefusedError):
        destination = {"Destination": store._client.address("/a"), "Overwrite": "T"}
        store._client.send("MOVE", "/nothing", headers=destination, passes={404})
    assert store.stat("a") is None
    store.close()


def test_a_proxy_that_takes_and_forgets_costs_no_old_object(rclone: engines.Rclone, proxy: HttpProxy) -> None:
    direct = made(rclone)
    direct.put("packs/a", [b"old"])
    name = direct.url.rpartition("/")[2]
    store = WebdavStore.open(f"webdav://127.0.0.1:{proxy.port}/{name}", login(rclone))
    for forgotten in ("PUT", "MOVE"):
        proxy.rule = lambda method, path, f=forgotten: Reply(201) if method == f else None
        for change in (lambda: store.put("packs/a", [b"new"]), lambda: store.upload("packs/a", iter([b"new"]))):
            with pytest.raises(RefusedError):
                change()
        assert direct.get("packs/a") == b"old"
    store.close()
    direct.close()


def test_a_stream_whose_move_was_done_though_the_answer_was_lost_is_there(
    rclone: engines.Rclone, proxy: HttpProxy
) -> None:
    store = made(rclone, proxy.port)
    store.put("cold/a", [b"old"])
    for lost_times in (1, 2):
        answers = [Reply(504)] * lost_times
        proxy.after = lambda method, path, a=answers: a.pop() if a and method == "MOVE" else None
        store.upload("cold/a", iter([b"new" * lost_times]))
        assert store.get("cold/a") == b"new" * lost_times
    store.close()


def test_a_stream_whose_move_was_not_done_is_moved_again_but_over_nothing(
    rclone: engines.Rclone, proxy: HttpProxy
) -> None:
    store = made(rclone, proxy.port)
    answers = [Reply(504)]
    proxy.rule = lambda method, path: answers.pop() if answers and method == "MOVE" else None
    store.upload("cold/a", iter([b"1"]))
    assert store.get("cold/a") == b"1"
    answers.append(Reply(504))
    hasty = WebdavStore.open(store.url, login(rclone, timeout_seconds="3"))
    with pytest.raises(BackendError, match="did not say"):
        hasty.upload("cold/a", iter([b"2"]))
    assert store.get("cold/a") == b"1"
    hasty.close()
    store.close()


def test_a_locked_object_is_waited_for(rclone: engines.Rclone, proxy: HttpProxy) -> None:
    store = made(rclone, proxy.port)
    for change in (lambda: store.put("a", [b"x"]), lambda: store.upload("a", iter([b"x"]))):
        answers = [Reply(423)]
        proxy.rule = lambda method, path, a=answers: a.pop() if a and method == "MOVE" else None
        change()
        assert store.get("a") == b"x"
        assert not answers
    names = [member.name for member in store._client.members("/") or ()]
    assert sorted(names) == ["a", "repository.json"]
    store.close()


def test_an_object_replaced_while_it_is_downloaded_is_told(rclone: engines.Rclone, proxy: HttpProxy) -> None:
    store = made(rclone, proxy.port)
    data = os.urandom(3 << 20)
    store.put("a", [data])
    etag = store._client.send("HEAD", "/a").headers["etag"]
    for cut_bytes in (1 << 20, 3 << 20):
        cut = [Reply(200, data[:cut_bytes], {"ETag": etag}, claimed_bytes=3 << 20)]
        proxy.rule = lambda method, path, c=cut: c.pop() if c and method == "GET" else None
        flow = store.download("a")
        assert next(flow) == data[: 1 << 20]
        store.put("a", [data[1:]])
        with pytest.raises(ConflictError):
            list(flow)
        store.put("a", [data])
    store.close()


def test_tls_is_the_default_and_its_certificate_is_checked(tmp_path: Path) -> None:
    ca_file = _make_certificate(tmp_path)
    server = started(engines.Rclone("--cert", str(ca_file), "--key", str(tmp_path / "key.pem")))
    try:
        url = f"webdav://127.0.0.1:{server.port}/r"
        options = {key: value for key, value in login(server).items() if key != "tls"}
        store = WebdavStore.open(url, {**options, "ca_file": str(ca_file)})
        store.put("repository.json", [b"{}"])
        assert store.get("repository.json") == b"{}"
        store.close()
        for wrong in ({}, {"tls": "no"}):
            store = WebdavStore.open(url, {**options, **wrong, "timeout_seconds": "1"})
            with pytest.raises((BackendError, RefusedError)):
                store.get("repository.json")
            store.close()
    finally:
        server.close()


def _make_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1, its own authority, in `folder`; the file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    return folder / "cert.pem"


LISTING = b"""<?xml version="1.0"?>
<d:multistatus xmlns:d="DAV:" xmlns:x="urn:x">
 <d:response>
  <d:href>http://proxy/some%20where/packs/</d:href>
  <d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop>
   <d:status>HTTP/1.1 200 OK</d:status></d:propstat>
 </d:response>
 <d:response>
  <d:href>/some%20where/packs/a.age</d:href>
  <d:propstat><d:prop>
    <d:getcontentlength>12</d:getcontentlength><x:getcontentlength>99</x:getcontentlength>
    <d:getlastmodified>Fri, 20 Nov 2026 12:01:11 GMT</d:getlastmodified><d:resourcetype/>
   </d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>
  <d:propstat><d:prop><d:collection/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>
 </d:response>
 <d:response><d:href>/some%20where/packs/gone</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>
</d:multistatus>"""


def test_a_listing_is_read_by_what_its_server_found() -> None:
    assert _read_multistatus(LISTING) == [
        ("http://proxy/some%20where/packs/", {"collection": ""}),
        (
            "/some%20where/packs/a.age",
            {"getcontentlength": "12", "getlastmodified": "Fri, 20 Nov 2026 12:01:11 GMT"},
        ),
        ("/some%20where/packs/gone", {}),
    ]
    assert moment_ns("Fri, 20 Nov 2026 12:01:11 GMT") == 1_795_176_071_000_000_000
    assert moment_ns("yesterday") == 0


@pytest.mark.parametrize(
    "declared",
    [
        b'<!ENTITY a "aaaa">',
        b'<!ENTITY a SYSTEM "file:///etc/passwd">',
        b'<!ENTITY % a SYSTEM "http://127.0.0.1:1/">',
        b"",
    ],
)
def test_a_listing_may_declare_nothing(declared: bytes) -> None:
    bomb = LISTING.replace(b"<d:multi", b"<!DOCTYPE x [%s]><d:multi" % declared, 1)
    with pytest.raises(ValueError, match="entities"):
        _read_multistatus(bomb)
    with pytest.raises((ValueError, expat.ExpatError)):
        _read_multistatus(LISTING.replace(b"12</d:get", b"&a;</d:get"))


@given(st.binary(), st.integers(0, len(LISTING)), st.integers(0, 40))
def test_whatever_a_listing_says_it_is_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    for document in (noise, LISTING[:at] + noise + LISTING[at + cut :]):
        with suppress(ValueError, expat.ExpatError):
            for href, properties in _read_multistatus(document):
                assert isinstance(href, str)
                moment_ns(properties.get("getlastmodified", ""))


def test_a_member_with_a_name_that_is_none_is_left_out(rclone: engines.Rclone, proxy: HttpProxy) -> None:
    store = made(rclone, proxy.port)
    root = "/" + store.url.rpartition("/")[2]
    hrefs = [
        "",
        "/packs",
        "/packs/good",
        "/packs/..",
        "/packs/%2e%2e%2fevil",
        "/packs/a%0ab",
        "/packs/.hidden",
        "//x",
    ]
    body = "".join(
        f"<response><href>{root}{href}</href><propstat><prop><getcontentlength>1</getcontentlength></prop>"
        "<status>HTTP/1.1 200 OK</status></propstat></response>"
        for href in hrefs
    )
    whole = f'<multistatus xmlns="DAV:">{body}</multistatus>'.encode()
    proxy.rule = lambda method, path: Reply(207, whole) if method == "PROPFIND" else None
    names = [item.name for item in store.list("packs")]
    assert "packs/good" in names
    assert all(".." not in name and "\n" not in name and "/." not in name for name in names)
    store.close()


def test_without_its_library_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert httpx
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(DriverMissingError) as caught:
        WebdavStore.open("webdav://host/a", {})
    assert caught.value.hint == "pip install 'antsmem[webdav]'"
