"""Goal: Consul names one owner at a time, and only with a majority; a lost answer never gives a second fence.

Method: Consul where `.servers/consul` is, else a double that keeps what its documentation says; behind a proxy
that loses answers. Of Consul itself three servers too, of which some are killed; access control, and TLS.
Control: an owner who looks at nothing but its own clock is told by the fence that it is none any more.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import engines
import engines_stores
import pytest
from certificates import Authority
from faultproxy import HttpProxy, Reply

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, ConfigError, RefusedError
from antsmem.drivers.consul import ConsulDirectory

pytestmark = pytest.mark.server
Opener = Callable[..., ConsulDirectory]
NAME, SECOND = "tenant/agent", 1_000_000_000
real = pytest.mark.skipif(not engines_stores.CONSUL.exists(), reason="Consul is not here: tests/consul.sh")


@pytest.fixture
def opened(consul: engines.Server, request: pytest.FixtureRequest) -> Opener:
    prefix = f"prefix-{now_ns()}"

    def made(port: int | None = None, **options: str) -> ConsulDirectory:
        options = {"session_ttl_min": "1", **options}
        directory = ConsulDirectory.open(f"consul://127.0.0.1:{port or consul.port}/{prefix}?tls=no", options)
        request.addfinalizer(directory.close)
        return directory

    return made


@pytest.fixture
def http(consul: engines.Server) -> Iterator[HttpProxy]:
    proxy = HttpProxy(consul.port)
    yield proxy
    proxy.close()


def ask(server: Any, path: str, body: object, token: str = "") -> Any:
    """Consul's answer to a PUT, past our driver."""
    url, headers = f"http://127.0.0.1:{server.port}/v1/{path}", {"X-Consul-Token": token} if token else {}
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT")
    return json.loads(urllib.request.urlopen(asked, timeout=20).read())


def manages(server: Any, token: str) -> bool:
    """Whether access control has come up: some time after the server."""
    with suppress(urllib.error.HTTPError):
        return bool(ask(server, "acl/policy", {"Name": "first", "Rules": ""}, token))
    return False


def lost_once(ending: str) -> Callable[[str, str], Reply | None]:
    """The first answer to a path that ends so is lost on the way back."""
    left = [Reply(502, b"")]
    return lambda _method, asked: left.pop() if asked.endswith(ending) and left else None


@pytest.mark.parametrize("path", ["/v1/txn", "/v1/session/create", "/v1/catalog/register", "?consistent="])
def test_an_answer_lost_on_the_way_gives_no_second_owner_and_no_second_fence(
    path: str, opened: Opener, http: HttpProxy
) -> None:
    http.after = lost_once(path)
    lease = opened(http.port).acquire(NAME, "a", 60)
    there = opened().owner(NAME)
    assert lease is not None and there is not None and lease.fence == there.fence
    assert opened().acquire(NAME, "b", 60) is None
    session = str((opened()._find(NAME) or {}).get("Session"))
    http.after = lost_once(session)
    renewed = opened(http.port).renew(lease)
    assert renewed is not None and renewed.fence == lease.fence
    http.after = lost_once(session)
    opened(http.port).release(lease)
    taken = opened().acquire(NAME, "b", 60)
    assert taken is not None and taken.fence > lease.fence


def test_an_expiry_is_never_told_later_than_it_is(opened: Opener) -> None:
    directory = opened()
    before = now_ns()
    lease = directory.acquire(NAME, "a", 30)
    assert lease is not None and before <= lease.expires_ns - 30 * SECOND <= now_ns()
    owner = opened().owner(NAME)
    assert owner is not None and owner.expires_ns <= now_ns()  # how long it still runs, Consul tells nobody
    before = now_ns()
    renewed = opened().renew(lease)
    assert renewed is not None and before <= renewed.expires_ns - 30 * SECOND <= now_ns()


def test_a_lease_shorter_or_longer_than_consul_gives_is_told_as_it_was_given(opened: Opener) -> None:
    usual = opened(session_ttl_min="10")
    for name, asked, given in (("short", 0.5, 10), ("odd", 10.2, 11), ("long", 1e6, 86400)):
        before = now_ns()
        lease = usual.acquire(name, "a", asked)
        assert lease is not None and before <= lease.expires_ns - given * SECOND <= now_ns()


def test_a_minimum_that_is_not_that_of_the_servers_is_refused_with_the_option(
    opened: Opener, http: HttpProxy
) -> None:
    said = b"Invalid Session TTL '1000000000', must be between [10s=24h0m0s]"
    http.rule = lambda _method, path: Reply(500, said) if "create" in path else None
    with pytest.raises(RefusedError) as caught:
        opened(http.port).acquire(NAME, "a", 1)
    assert "session_ttl_min" in str(caught.value.hint)


def test_control_who_trusts_its_own_clock_is_found_out_by_the_fence(opened: Opener) -> None:
    directory, give_up = opened(), time.monotonic() + 120
    sleeper = directory.acquire(NAME, "a", 1)
    while (taken := opened().acquire(NAME, "b", 60)) is None:
        assert time.monotonic() < give_up
        time.sleep(0.2)
    assert sleeper is not None and taken.fence > sleeper.fence  # what it writes now is refused by who compares
    assert directory.renew(sleeper) is None
    directory.release(sleeper)
    assert opened().owner(NAME) is not None


def test_a_session_ended_by_an_operator_is_a_lost_lease(opened: Opener, consul: engines.Server) -> None:
    directory = opened()
    lease = directory.acquire(NAME, "a", 60)
    held = directory._find(NAME)
    assert lease is not None and held is not None
    ask(consul, f"session/destroy/{held['Session']}", None)
    assert directory.renew(lease) is None and directory.owner(NAME) is None
    again = directory.acquire(NAME, "a", 60)
    assert again is not None and again.fence > lease.fence


def test_a_name_may_be_any_text(opened: Opener) -> None:
    names = ["a/../b", "b", "//x", "x", "%2e%2e", "tenant/ü €\n", "..", "?consistent=#"]
    leases = [opened().acquire(name, f"owner of {name}", 60) for name in names]
    for name, lease in zip(names, leases, strict=True):
        owner = opened().owner(name)
        assert lease is not None and owner is not None
        assert (owner.owner, owner.fence) == (f"owner of {name}", lease.fence)


@real
def test_without_a_majority_nobody_becomes_owner_and_a_lease_outlives_the_server_that_gave_it(
    request: pytest.FixtureRequest,
) -> None:
    servers = engines_stores.consul_cluster()
    for server in servers:
        request.addfinalizer(server.close)
        engines.started(server)

    def at(*order: int, **options: str) -> ConsulDirectory:
        places = ",".join(f"127.0.0.1:{servers[place].port}" for place in order)
        made = ConsulDirectory.open(f"consul://{places}/cluster?tls=no", options)
        request.addfinalizer(made.close)
        return made

    lease = at(0, 1, 2, timeout_seconds="60").acquire(NAME, "a", 300)
    assert lease is not None
    servers[0].kill()  # a minority, and the one that was asked
    patient = at(0, 1, 2, timeout_seconds="60")
    renewed = patient.renew(lease)
    assert renewed is not None and renewed.fence == lease.fence
    assert patient.acquire(NAME, "b", 60) is None
    servers[1].kill()
    hasty = at(2, timeout_seconds="2")
    for asked in (lambda: hasty.acquire("other", "b", 60), lambda: hasty.owner(NAME)):
        with pytest.raises(BackendError):
            asked()
    servers[1].restart()
    there = patient.owner(NAME)
    assert there is not None and (there.owner, there.fence) == ("a", lease.fence)


@real
def test_with_access_control_the_rules_of_the_page_are_enough_and_nothing_less_is(
    request: pytest.FixtureRequest,
) -> None:
    root, ours, others = (f"{place:08d}-0000-4000-8000-000000000000" for place in (1, 2, 3))
    tokens = f'tokens {{ initial_management = "{root}" }}'
    server = engines_stores.Consul("-hcl", f'acl {{ enabled = true default_policy = "deny" {tokens} }}')
    request.addfinalizer(server.close)
    engines.started(server)
    give_up = time.monotonic() + 120
    while not manages(server, root):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    page = (Path(__file__).parents[2] / "docs/how-to/backends/consul.md").read_text()
    rules = page.partition("```hcl\n")[2].partition("```")[0]
    assert "memory/" in rules
    for token, name, text in ((ours, "ours", rules), (others, "others", rules.replace("memory/", "elsewhere/"))):
        ask(server, "acl/policy", {"Name": name, "Rules": text}, root)
        ask(server, "acl/token", {"SecretID": token, "Policies": [{"Name": name}]}, root)

    def by(token: str) -> ConsulDirectory:
        options = {"token": token, "session_ttl_min": "1", "timeout_seconds": "30"}
        made = ConsulDirectory.open(f"consul://127.0.0.1:{server.port}/memory?tls=no", options)
        request.addfinalizer(made.close)
        return made

    lease = by(ours).acquire(NAME, "a", 60)
    assert lease is not None and by(ours).renew(lease) is not None
    by(ours).release(lease)
    assert by(ours).owner(NAME) is None
    for token in (others, "9" * 8 + "-0000-4000-8000-000000000000"):
        directory = by(token)
        for asked in (partial(directory.acquire, NAME, "b", 60), partial(directory.owner, NAME)):
            with pytest.raises(RefusedError) as caught:
                asked()
            assert token not in f"{caught.value}{caught.value.hint}"


@real
def test_by_tls_who_shows_no_certificate_is_refused(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), engines.free_port()
    certificate, key = authority.certify("server")
    files = f'ca_file = "{authority.file}" cert_file = "{certificate}" key_file = "{key}" verify_incoming = true'
    server = engines_stores.Consul("-hcl", f"tls {{ https {{ {files} }} }}", "-https-port", str(port))
    request.addfinalizer(server.close)
    engines.started(server)
    own, own_key = authority.certify("client")
    known = {"ca_file": str(authority.file), "timeout_seconds": "5"}
    shown = {"cert_file": str(own), "key_file": str(own_key)}
    patient = {**known, **shown, "timeout_seconds": "60"}
    for options, good in ((patient, True), (known, False), ({"timeout_seconds": "1"}, False)):
        directory = ConsulDirectory.open(f"consul://127.0.0.1:{port}/memory", options)
        request.addfinalizer(directory.close)
        if good:
            assert directory.acquire(NAME, "a", 60) is not None
            continue
        with pytest.raises(BackendError):
            directory.acquire(NAME, "b", 60)


def test_an_error_says_what_to_do_and_shows_no_secret(opened: Opener, http: HttpProxy) -> None:
    secret = "tok" + "en-of-the-test"
    directory = opened(http.port, timeout_seconds="0.3", token=secret)
    denied = {"Results": None, "Errors": [{"OpIndex": 0, "What": f"Permission denied: {secret}"}]}
    for status, body, kind in [
        (500, secret.encode(), BackendError),
        (429, secret.encode(), BackendError),
        (403, secret.encode(), RefusedError),
        (400, secret.encode(), RefusedError),
        (409, json.dumps(denied).encode(), RefusedError),
        (200, b'{"Results": [], "Errors": null}', RefusedError),
        (200, b'["no object"]', BackendError),
        (200, b'{"Results": [{}]}', BackendError),
        (200, b"<html>", BackendError),
    ]:
        reply = Reply(status, body)
        http.rule = lambda _method, _path, reply=reply: reply
        with pytest.raises(kind) as caught:
            directory.owner(NAME)
        assert secret not in f"{caught.value}{caught.value.hint}{directory!r}"
    with pytest.raises(BackendError):
        opened(engines.free_port(), timeout_seconds="0.2").owner(NAME)


def test_datacenter_and_namespace_stand_in_every_request(opened: Opener, http: HttpProxy) -> None:
    empty = json.dumps({"Results": [{"KV": {"Key": "k", "CreateIndex": 0}}], "Errors": None}).encode()
    http.rule = lambda _method, _path: Reply(200, empty)
    assert opened(http.port, dc="east", ns="team").owner(NAME) is None
    assert all("dc=east" in path and "ns=team" in path for _, path in http.seen) and http.seen


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("consul://", {}),
        ("consul://user:secret@host/x", {}),
        ("consul://host/x?token=secret", {}),
        ("consul://host/x?tls=no", {"token": "secret"}),
        ("consul://host/x", {"session_ttl_min": "0"}),
        ("consul://host/x", {"key_file": "x"}),
        ("consul://host/x", {"password": "secret"}),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        ConsulDirectory.open(url, options)
    assert "secret" not in str(caught.value)
