"""Goal: Memcached keeps the newest row it was shown, or misses.

Method: real servers, killed, stopped, flushed, cut off; a bare client for the control.
"""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import cache_servers
import engines
import pytest
from certificates import Authority
from faultproxy import TcpProxy
from pymemcache import Client

from antsmem.core.errors import BackendError, ConfigError, RefusedError
from antsmem.drivers.memcached import MemcachedCache
from antsmem.memory.roles import Row


def opened(*servers: cache_servers.Memcached, **options: str) -> MemcachedCache:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return MemcachedCache.open(f"memcached://{hosts}?tls=no", options)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memcached://", {}),
        ("memcached://host/x", {}),
        ("memcached://host", {"prefix": "a b"}),
        ("memcached://host", {"prefix": "x" * 101}),
        ("memcached://host", {"password": "p"}),
        ("memcache://host", {}),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        MemcachedCache.open(url, options)


@pytest.mark.server
def test_setting_without_cas_lets_an_older_row_win(memcached: cache_servers.Memcached) -> None:
    """The control: the same two writers, in the same order."""
    client, key = Client(("127.0.0.1", memcached.port)), uuid.uuid4().hex
    client.set(key, b"2 B", noreply=False)
    client.set(key, b"1 A", noreply=False)
    assert client.get(key) == b"1 A"
    client.close()
    cache = opened(memcached)
    assert cache.set_if_newer(key, Row(2, b"B")) and not cache.set_if_newer(key, Row(1, b"A"))
    assert cache.get(key) == Row(2, b"B")
    cache.close()


@pytest.mark.server
def test_a_flushed_or_restarted_server_misses(memcached: cache_servers.Memcached) -> None:
    cache = opened(memcached, timeout_seconds="20")
    client = Client(("127.0.0.1", memcached.port))
    for forget in (lambda: client.flush_all(noreply=False), lambda: (memcached.kill(), memcached.restart())):
        assert cache.set_if_newer("a", Row(5, b"x"))
        forget()
        assert cache.get("a") is None
        assert cache.set_if_newer("a", Row(4, b"x"))
        cache.delete("a")
    client.close()
    cache.close()


@pytest.mark.server
def test_the_rows_of_a_dead_server_do_not_move_and_come_back_old() -> None:
    servers = [engines.started(cache_servers.Memcached()) for _ in range(3)]
    first = opened(*servers, timeout_seconds="20")
    keys = [f"k{number}" for number in range(60)]
    for key in keys:
        first.set_if_newer(key, Row(1, b"x"))
    first.close()
    cache = opened(*servers, timeout_seconds="0.3")
    servers[0].suspend()
    missed = []
    for key in keys:
        try:
            cache.set_if_newer(key, Row(2, b"y"))  # False where the answer to a first try came too late
        except BackendError:
            missed.append(key)
    servers[0].signal(signal.SIGCONT)
    cache.close()
    assert 0 < len(missed) < len(keys)
    back = opened(*servers, timeout_seconds="20")
    for key in keys:
        if key not in missed:
            assert back.get(key) == Row(2, b"y")
        back.set_if_newer(key, Row(2, b"y"))
        back.set_if_newer(key, Row(1, b"x"))
        assert back.get(key) == Row(2, b"y")
    back.close()
    for server in servers:
        server.close()


@pytest.mark.server
def test_a_lost_answer_is_asked_for_again(memcached: cache_servers.Memcached) -> None:
    proxy = TcpProxy(memcached.port)
    cache = MemcachedCache.open(f"memcached://127.0.0.1:{proxy.port}?tls=no", {"timeout_seconds": "20"})
    key = uuid.uuid4().hex
    assert cache.set_if_newer(key, Row(1, b"x"))
    for version in range(2, 30):
        proxy.cut_after, proxy.cuts = {"down": version * 3}, 1
        cache.set_if_newer(key, Row(version, b"%d" % version))
        proxy.heal()
        assert cache.get(key) == Row(version, b"%d" % version)
    cache.close()
    proxy.close()


@pytest.mark.server
def test_a_row_larger_than_the_server_takes_is_refused(memcached: cache_servers.Memcached) -> None:
    cache = opened(memcached)
    with pytest.raises(RefusedError):
        cache.set_if_newer("big", Row(1, bytes(2 << 20)))
    assert cache.set_if_newer("big", Row(1, b"small"))
    assert "version" in " ".join(cache.inspect().facts)
    cache.close()


@pytest.mark.server
def test_certificates_are_checked_by_both_sides(tmp_path: Path) -> None:
    server = cache_servers.Memcached()
    authority, stranger = Authority(server.dir), Authority(tmp_path)
    certificate, key = authority.certify("server")
    files = f"ssl_chain_cert={certificate},ssl_key={key},ssl_ca_cert={authority.file},ssl_verify_mode=2"
    server.words = ("-Z", "-o", files)
    engines.started(server)
    own, own_key = authority.certify("client")
    trust, proof = {"ca_file": str(authority.file)}, {"cert_file": str(own), "key_file": str(own_key)}
    url = f"memcached://127.0.0.1:{server.port}"
    cache = MemcachedCache.open(url, {**trust, **proof})
    assert cache.set_if_newer("k", Row(1, b"x"))
    cache.close()
    for options, error in [
        (trust, BackendError),
        (proof, RefusedError),
        ({**proof, "ca_file": str(stranger.file)}, RefusedError),
        ({"tls": "no"}, BackendError),
    ]:
        bound = "0.5" if error is BackendError else "30"
        cache = MemcachedCache.open(url, {**options, "timeout_seconds": bound})
        with pytest.raises(error):
            cache.get("k")
        cache.close()
    server.close()
