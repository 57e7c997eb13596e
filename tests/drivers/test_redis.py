"""Goal: Redis keeps the newest row it was shown, whatever dies, and only for whom it may.

Method: real servers, killed and stopped and cut off; the rows are looked at past the driver. Controls: the same
without the script, and without WAIT, does go wrong.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import cache_servers
import engines
import pytest
from cache_servers import connected
from certificates import Authority
from doomed import Doomed, Moment
from faultproxy import TcpProxy

from antsmem.core.errors import BackendError, ConfigError, RefusedError
from antsmem.drivers.redis import RedisCache
from antsmem.memory.roles import Row

ACL = Path(__file__).parents[2] / "templates" / "backends" / "redis" / "users.acl"


def opened(server: cache_servers.Redis, query: str = "", **options: str) -> RedisCache:
    return RedisCache.open(f"redis://127.0.0.1:{server.port}?tls=no&{query}", options)


@pytest.fixture
def replicas() -> Iterator[cache_servers.RedisReplicas]:
    servers = engines.started(cache_servers.RedisReplicas())
    yield servers
    servers.close()


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://", {}),
        ("redis://host/x", {}),
        ("redis://host,other", {}),
        ("redis://host/1", {"cluster": "yes"}),
        ("redis://host", {"username": "u"}),
        ("redis://host?tls=no", {"password": "p"}),
        ("redis://host", {"replicas": "-1"}),
        ("redis://host", {"nope": "1"}),
        ("rediss://host", {}),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        RedisCache.open(url, options)


@pytest.mark.server
def test_counting_and_then_setting_publishes_one_payload_with_anothers_version(redis: cache_servers.Redis) -> None:
    """The control of the script: two writers, each of whom counts first and then sets."""
    version, value = f"v{uuid.uuid4().hex}", f"p{uuid.uuid4().hex}"
    with connected(redis) as a, connected(redis) as b:
        first, second = a.incr(version), b.incr(version)
        b.set(value, "B")
        a.set(value, "A")
        assert (int(a.get(version)), a.get(value)) == (second, "A") and first < second
    caches = opened(redis), opened(redis)
    key = uuid.uuid4().hex
    assert caches[1].set_if_newer(key, Row(second, b"B"))
    assert not caches[0].set_if_newer(key, Row(first, b"A"))
    assert caches[0].get(key) == Row(second, b"B")
    for cache in caches:
        cache.close()


@pytest.mark.server
def test_a_row_that_counts_as_put_is_on_a_replica_when_the_primary_is_killed(
    replicas: cache_servers.RedisReplicas,
) -> None:
    cache = opened(replicas.primary, "replicas=2", timeout_seconds="20")
    for number in range(200):
        assert cache.set_if_newer(f"k{number}", Row(number + 1, b"x"))
    replicas.primary.kill()
    cache.close()
    for replica in replicas.replicas:
        with connected(replica) as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        left = opened(replica)
        assert all(left.get(f"k{number}") == Row(number + 1, b"x") for number in range(200))
        left.close()


@pytest.mark.server
def test_too_few_replicas_are_told_and_without_asking_rows_are_lost() -> None:
    """The second half is the control: what is put without WAIT dies with the primary."""
    primary = engines.started(cache_servers.Redis())
    proxy = TcpProxy(primary.port)
    replica = engines.started(cache_servers.Redis("--replicaof", f"127.0.0.1 {proxy.port}"))
    careful, careless = opened(primary, "replicas=1", timeout_seconds="20"), opened(primary, timeout_seconds="20")
    assert careful.set_if_newer("before", Row(1, b"x"))
    proxy.hold = {"down"}
    careful.close()
    careful = opened(primary, "replicas=1", timeout_seconds="2")
    with pytest.raises(BackendError, match="0 of 1 replicas"):
        careful.set_if_newer("careful", Row(1, b"x"))
    assert careless.set_if_newer("careless", Row(1, b"x"))
    primary.kill()
    proxy.reset()
    proxy.heal()
    with connected(replica) as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert client.keys("*") == ["antsmem:before"]
    for each in (careful, careless, proxy, replica, primary):
        each.close()


@pytest.mark.server
@pytest.mark.parametrize("moment", ["unread", "unheard"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_server_killed_within_a_write_has_what_it_acknowledged_and_the_write_once(
    moment: Moment, kept: bool
) -> None:
    """Without a file (the control) it comes back empty, which a cache may, and rows are lost."""
    server = engines.started(cache_servers.Redis(*(("--appendonly", "yes", "--appendfsync", "always") * kept)))
    cache = opened(server, timeout_seconds="20")
    doomed = Doomed(opened(server, timeout_seconds="3"), server, "set_if_newer", 70, moment)
    for number in range(69):
        assert doomed.set_if_newer(f"k{number % 30}", Row(number + 1, b"%d" % number))
    row = Row(70, b"69")
    with pytest.raises(BackendError):
        doomed.set_if_newer("k9", row)
    server.restart()
    assert cache.set_if_newer("k9", row) is (moment == "unread" or not kept)
    newest = {f"k{number % 30}": Row(number + 1, b"%d" % number) for number in range(70)}
    assert [key for key, row in newest.items() if cache.get(key) != row] == [
        key for key in newest if key != "k9" and not kept
    ]
    assert cache.set_if_newer("k0", Row(1, b"0")) is not kept
    for each in (cache, doomed, server):
        each.close()


@pytest.mark.server
def test_a_cluster_goes_on_without_one_of_its_primaries() -> None:
    cluster = engines.started(cache_servers.RedisCluster())
    cache = RedisCache.open(f"redis://{cluster.hosts}?tls=no&cluster=yes&replicas=1", {"timeout_seconds": "30"})
    for number in range(60):
        assert cache.set_if_newer(f"k{number}", Row(1, b"before"))
    cache.close()
    for node in cluster.nodes:
        with connected(node) as client:
            client.config_set("cluster-node-timeout", 1500)  # so soon it is taken for dead
    cluster.nodes[0].kill()
    cache = RedisCache.open(f"redis://{cluster.hosts}?tls=no&cluster=yes", {"timeout_seconds": "60"})
    for number in range(60):
        assert cache.get(f"k{number}") == Row(1, b"before")
        assert cache.set_if_newer(f"k{number}", Row(2, b"after"))
        assert not cache.set_if_newer(f"k{number}", Row(1, b"before"))
    cache.close()
    cluster.close()


@pytest.mark.server
def test_a_lost_answer_is_asked_for_again_and_a_stopped_server_is_not_waited_for(
    redis: cache_servers.Redis,
) -> None:
    proxy = TcpProxy(redis.port)
    cache = RedisCache.open(f"redis://127.0.0.1:{proxy.port}?tls=no", {"timeout_seconds": "20"})
    key = uuid.uuid4().hex
    assert cache.set_if_newer(key, Row(1, b"x"))
    proxy.cut_after, proxy.cuts = {"down": 0}, 1
    assert not cache.set_if_newer(key, Row(2, b"y"))  # it was put the first time
    proxy.heal()
    assert cache.get(key) == Row(2, b"y")
    proxy.reset()
    assert cache.get(key) == Row(2, b"y")
    proxy.slice_bytes, proxy.delay_seconds = 1, 0.001
    assert cache.get(key) == Row(2, b"y")
    proxy.heal()
    cache.close()
    proxy.close()
    hasty = opened(redis, timeout_seconds="0.3")
    redis.suspend()
    try:
        with pytest.raises(BackendError):
            hasty.set_if_newer(key, Row(3, b"z"))
    finally:
        redis.signal(signal.SIGCONT)
    hasty.close()
    patient = opened(redis, timeout_seconds="20")
    patient.set_if_newer(key, Row(3, b"z"))
    assert patient.get(key) == Row(3, b"z")
    patient.close()


@pytest.mark.server
def test_what_a_flushed_or_foreign_cache_holds_is_a_miss(redis: cache_servers.Redis) -> None:
    cache = opened(redis)
    with connected(redis) as client:
        cache.set_if_newer("a", Row(1, b"x"))
        client.flushall()
        assert cache.get("a") is None and cache.set_if_newer("a", Row(1, b"x"))
        client.set("antsmem:b", "somebody else's")
        assert cache.get("b") is None and cache.set_if_newer("b", Row(1, b"x"))
        client.lpush("antsmem:c", "a list")
        for use in (lambda: cache.get("c"), lambda: cache.set_if_newer("c", Row(1, b"x"))):
            with pytest.raises(RefusedError):
                use()
    cache.close()


@pytest.mark.server
def test_the_acl_template_lets_a_tenant_at_its_own_rows_only(tmp_path: Path) -> None:
    words = {"TENANT_PASSWORD": uuid.uuid4().hex, "OPERATOR_PASSWORD": uuid.uuid4().hex}
    text = ACL.read_text()
    for name, word in words.items():
        text = text.replace(name, word)
    (tmp_path / "users.acl").write_text(text)
    server = engines.started(cache_servers.Redis("--aclfile", str(tmp_path / "users.acl")))
    login = {"username": "acme", "password": words["TENANT_PASSWORD"]}
    own = opened(server, "prefix=acme:", **login)
    assert own.set_if_newer("k", Row(1, b"x")) and own.get("k") == Row(1, b"x")
    assert own.inspect().facts["role"] == "master"
    own.delete("k")
    foreign = opened(server, "prefix=other:", **login)
    for use in (lambda: foreign.get("k"), lambda: foreign.set_if_newer("k", Row(1, b"x"))):
        with pytest.raises(RefusedError):
            use()
    nobody = opened(server, "prefix=acme:")
    wrong = opened(server, "prefix=acme:", username="acme", password=uuid.uuid4().hex)
    for cache in (nobody, wrong):
        with pytest.raises(RefusedError):
            cache.get("k")
    for cache in (own, foreign, nobody, wrong):
        cache.close()
    server.close()


@pytest.mark.server
def test_certificates_are_checked_by_both_sides(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, stranger = Authority(tmp_path), Authority(tmp_path / "other")
    certificate, key = authority.certify("server")
    server = engines.started(TlsRedis(authority, certificate, key))
    own, own_key = authority.certify("client")
    trust, proof = {"ca_file": str(authority.file)}, {"cert_file": str(own), "key_file": str(own_key)}
    url = f"redis://127.0.0.1:{server.port}"
    cache = RedisCache.open(url, {**trust, **proof})
    assert cache.set_if_newer("k", Row(1, b"x"))
    cache.close()
    for options, error in [
        (trust, BackendError),  # the server hangs up
        ({**proof}, RefusedError),
        ({**proof, "ca_file": str(stranger.file)}, RefusedError),
        ({"tls": "no"}, BackendError),
    ]:
        bound = "0.5" if error is BackendError else "30"
        cache = RedisCache.open(url, {**options, "timeout_seconds": bound})
        with pytest.raises(error):
            cache.get("k")
        cache.close()
    server.close()


class TlsRedis(cache_servers.Redis):
    """A Redis that speaks TLS alone."""

    def __init__(self, authority: Authority, certificate: Path, key: Path) -> None:
        super().__init__("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
        self.words += ("--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "yes")

    def command(self) -> list[str]:
        return [*super().command(), "--port", "0", "--tls-port", str(self.port)]

    def ready(self) -> bool:
        return engines.Server.ready(self)
