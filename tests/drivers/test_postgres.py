"""Goal: a commit to PostgreSQL that is acknowledged is there, once, whatever happened on the way.

Method: real servers, killed, hung and cut off by a proxy; afterwards rows, counter and outbox are looked at past
the proxy. Controls: without the comparison an update is lost; without the look-up a lost answer counts twice.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import engines
import engines_stores
import psycopg
import pytest
from certificates import Authority
from counting import STREAM, count, count_together, look, record, record_history
from faultproxy import TcpProxy
from register import linearizable, together

from antsmem.core.errors import BackendError, ConfigError, ConflictError, NotFoundError, RefusedError
from antsmem.drivers import postgres as driver
from antsmem.drivers.postgres import PostgresStore
from antsmem.memory.roles import Change, LogRecord

pytestmark = pytest.mark.server
Opener = Callable[..., PostgresStore]


def opener(server: engines.Server, request: pytest.FixtureRequest) -> Opener:
    """Stores in a new database of `server`, through `port` of a proxy if given; with the tables made."""
    assert isinstance(server, engines_stores.Postgres)
    database = server.database()

    def opened(port: int | None = None, **options: str) -> PostgresStore:
        url = f"postgres://antsmem@127.0.0.1:{port or server.port}/{database}?tls=no"
        store = PostgresStore.open(url, options)
        request.addfinalizer(store.close)
        return store

    opened().create()
    return opened


@pytest.fixture
def opened(postgres: engines.Server, request: pytest.FixtureRequest) -> Opener:
    return opener(postgres, request)


@pytest.fixture
def victim() -> Iterator[engines_stores.Postgres]:
    """A server of its own, to be killed. What it wrote is the system's then, on the disk or not yet."""
    server = engines.started(engines_stores.Postgres())
    assert isinstance(server, engines_stores.Postgres)
    yield server
    server.close()


@pytest.fixture
def tcp(postgres: engines.Server) -> Iterator[TcpProxy]:
    proxy = TcpProxy(postgres.port)
    yield proxy
    proxy.close()


class Trap(Mapping[str, str]):
    """Headers of a record that do something when the driver reads them: on a connection that is there, before the
    transaction is sent."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def __iter__(self) -> Iterator[str]:
        action, self._action = self._action, None
        if action is not None:
            action()
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)


def trapped(action: Callable[[], None]) -> LogRecord:
    return LogRecord(STREAM, "trapped", Trap(action), b"sealed")


def wait_until(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not what():
        assert time.monotonic() < give_up, "did not happen in time"
        time.sleep(0.01)


def cut_when_committed(tcp: TcpProxy, witness: PostgresStore) -> Callable[[], None]:
    """Hold back what the server says from now on; cut the connection when the commit is there."""

    def cut() -> None:
        wait_until(lambda: witness.sequence(STREAM) == 1)
        tcp.hold.clear()
        tcp.reset()

    def spring() -> None:
        tcp.hold.add("down")
        threading.Thread(target=cut).start()

    return spring


def test_a_commit_whose_answer_is_lost_is_applied_once(opened: Opener, tcp: TcpProxy) -> None:
    store = opened(tcp.port)
    spring = cut_when_committed(tcp, opened())
    assert store.commit(STREAM, [Change("a", b"1", 0)], [trapped(spring)]) == 1
    assert tcp.connections == 2
    assert store.sequence(STREAM) == len(store.pending(STREAM, 9)) == 1


def test_control_without_the_look_up_it_would_be_applied_twice(
    opened: Opener, tcp: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_FIND", "select sequence from antsmem_commits where stream = %s and %s is null")
    store = opened(tcp.port)
    spring = cut_when_committed(tcp, opened())
    with pytest.raises(RefusedError, match="23505"):  # the token is unique: PostgreSQL itself refuses the second
        store.commit(STREAM, [Change("a", b"1")], [trapped(spring)])


def test_a_commit_cut_off_before_the_server_hears_of_it_is_applied_once(opened: Opener, tcp: TcpProxy) -> None:
    def spring() -> None:
        tcp.hold.add("up")
        threading.Timer(0.2, lambda: (tcp.reset(), tcp.hold.clear())).start()

    store = opened(tcp.port)
    assert store.commit(STREAM, [Change("a", b"1", 0)], [trapped(spring)]) == 1
    assert store.sequence(STREAM) == len(store.pending(STREAM, 9)) == 1


def disturb(
    opened: Callable[[], PostgresStore], witness: PostgresStore, fault: Callable[[], None], times: int
) -> int:
    """Count from three threads while `fault` happens `times` times, each after some more commits: work goes on
    between them however slow the machine is. Returns how many were acknowledged.

    Faults are of this thread: a server dies with the thread that started it.
    """
    stop, done = threading.Event(), [0]

    def work() -> None:
        while not stop.is_set():
            done[0] += count_together(opened, 3, 5)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(times):
            after = witness.sequence(STREAM) + 5
            wait_until(lambda after=after: witness.sequence(STREAM) >= after)  # type: ignore[misc]
            fault()
    finally:
        stop.set()
        worker.join()
    return done[0]


def test_a_server_killed_again_and_again_loses_nothing_it_acknowledged(
    victim: engines_stores.Postgres, request: pytest.FixtureRequest
) -> None:
    opened = opener(victim, request)

    def kill() -> None:
        victim.kill()
        victim.restart()

    acknowledged = disturb(lambda: opened(timeout_seconds="100"), opened(), kill, 2)
    look(opened(), acknowledged)


def test_a_network_cut_again_and_again_loses_nothing(opened: Opener, tcp: TcpProxy) -> None:
    def cut() -> None:
        tcp.refuse = True
        tcp.reset()
        time.sleep(0.05)
        tcp.refuse = False

    acknowledged = disturb(lambda: opened(tcp.port, timeout_seconds="100"), opened(), cut, 6)
    assert tcp.connections > 6
    look(opened(), acknowledged)


def test_many_writers_of_one_row_lose_nothing(opened: Opener) -> None:
    look(opened(), count_together(opened, 6, 15))


def test_control_without_the_comparison_an_update_is_lost(opened: Opener) -> None:
    gate = threading.Barrier(2)

    def add() -> None:
        store = opened()
        row = store.get(STREAM, "n")
        gate.wait()
        store.commit(STREAM, [Change("n", b"%d" % (1 if row is None else int(row.value) + 1))], [record()])

    together([add, add])
    row = opened().get(STREAM, "n")
    assert row is not None and (row.value, row.version) == (b"1", 2)


def test_a_history_of_six_threads_on_a_bad_network_is_linearizable(opened: Opener, tcp: TcpProxy) -> None:
    witness, stop = opened(), threading.Event()

    def reset() -> None:
        before = 0
        while not stop.wait(0.01):
            if (now := witness.sequence(STREAM)) >= before + 5:
                before = now
                tcp.reset()

    resetter = threading.Thread(target=reset)
    resetter.start()
    recorder = record_history(lambda: opened(tcp.port, timeout_seconds="100"), 12)
    stop.set()
    resetter.join()
    assert sum(each.kind == "write" for each in recorder.history) >= 12  # of six that read the same, one can
    assert linearizable(recorder.history)


def test_control_the_same_history_without_the_comparison_is_not(opened: Opener) -> None:
    assert not linearizable(record_history(opened, 12, compared=False).history)


def test_a_server_that_hangs_is_waited_for_no_longer_than_said(
    victim: engines_stores.Postgres, request: pytest.FixtureRequest
) -> None:
    opened = opener(victim, request)
    store = opened(timeout_seconds="3")
    assert count(store, 1) == 1
    victim.signal(signal.SIGSTOP)
    with pytest.raises(BackendError):
        store.commit(STREAM, [], [record()])
    with pytest.raises(BackendError):
        store.get(STREAM, "n")
    victim.signal(signal.SIGCONT)
    assert count(opened(), 1) == 1


def test_a_writer_that_fell_silent_does_not_lock_the_others_out(opened: Opener, tcp: TcpProxy) -> None:
    quiet = opened(tcp.port, timeout_seconds="0.5")
    with pytest.raises(BackendError):
        quiet.commit(STREAM, [Change("n", b"1")], [trapped(lambda: tcp.hold.update({"up", "down"}))])
    assert count(opened(), 1) == 1  # nothing of the quiet one holds a lock


def test_an_error_says_what_to_do_and_shows_no_secret(postgres: Any, request: pytest.FixtureRequest) -> None:
    database, secret = postgres.database(), "pass" + "word-of-the-test"
    base = f"postgres://antsmem@127.0.0.1:{postgres.port}"
    for url, kind in [
        (f"{base}/{database}?tls=no", NotFoundError),  # no tables
        (f"{base}/none?tls=no", RefusedError),
        (f"postgres://nobody@127.0.0.1:{postgres.port}/{database}?tls=no", RefusedError),
        (f"postgres://antsmem@127.0.0.1:{engines.free_port()}/x?tls=no&timeout_seconds=0.2", BackendError),
        (f"{base}/{database}", RefusedError),  # it has no TLS
    ]:
        store = PostgresStore.open(url, {"password": secret})
        request.addfinalizer(store.close)
        with pytest.raises(kind) as caught:
            store.get(STREAM, "n")
        assert type(caught.value) is kind and secret not in f"{caught.value}{caught.value.hint}{store!r}"


@pytest.fixture(scope="module")
def secured() -> Iterator[engines_stores.SecuredPostgres]:
    server = engines.started(engines_stores.SecuredPostgres())
    yield server
    server.close()


def test_certificates_are_checked_by_both_sides(secured: engines_stores.SecuredPostgres, tmp_path: Path) -> None:
    """A server that asks for a certificate, as its user's name says; a client that asks for the server's."""
    place = f"postgres://antsmem@127.0.0.1:{secured.port}/{secured.database()}"
    stranger = Authority(tmp_path)
    trust = {"ca_file": str(secured.authority.file)}
    ours, another, forged = (
        proof(*made)
        for made in (
            secured.authority.certify("antsmem"),
            secured.authority.certify("other"),
            stranger.certify("antsmem"),
        )
    )
    store = PostgresStore.open(place, {**trust, **ours})
    store.create()
    assert count(store, 1) == 1
    store.close()
    named = place.replace("127.0.0.1", "localhost")  # its certificate has another name
    for url, options in [
        (place, trust),
        (place, {**trust, **another}),
        (place, {**trust, **forged}),
        (place, {**ours, "ca_file": str(stranger.file)}),
        (place, ours),
        (named, {**trust, **ours}),
        (place, {"tls": "no"}),
    ]:
        store = PostgresStore.open(url, options)
        with pytest.raises(RefusedError):
            store.sequence(STREAM)
        store.close()


def test_a_password_is_asked_for_by_tls_alone(secured: engines_stores.SecuredPostgres) -> None:
    database = secured.database()
    with psycopg.connect(secured.conninfo(database), autocommit=True) as connection:
        connection.execute(f"create role keyed login password '{secured.password}'")
        connection.execute(f"grant all on database {database} to keyed; grant all on schema public to keyed")
    place = f"postgres://keyed@127.0.0.1:{secured.port}/{database}"
    trust = {"ca_file": str(secured.authority.file)}
    store = PostgresStore.open(place, {**trust, "password": secured.password})
    store.create()
    assert count(store, 1) == 1
    store.close()
    for options in ({**trust, "password": "not it"}, trust, {"tls": "no", "password": secured.password}):
        store = PostgresStore.open(place, options)
        with pytest.raises(RefusedError) as refused:
            store.sequence(STREAM)
        assert secured.password not in f"{refused.value}{refused.value.hint}"
        store.close()


def proof(certificate: Path, key: Path) -> dict[str, str]:
    key.chmod(0o600)
    return {"cert_file": str(certificate), "key_file": str(key)}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("postgres://user:secret@host/database", {}),
        ("postgres://host", {}),
        ("postgres://host:port/database", {}),
        ("postgres:///database", {}),
        ("postgres://host/database?password=secret", {}),
        ("postgres://host/database?sslmode=disable", {}),
        ("postgres://host/database", {"cert_file": "x"}),
        ("postgres://host/database", {"tls": "perhaps"}),
        ("postgres://host/database", {"timeout_seconds": "0"}),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        PostgresStore.open(url, options)
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_of_several_hosts_the_one_that_takes_writes_is_used(opened: Opener, postgres: engines.Server) -> None:
    database = opened().url.rpartition("/")[2]
    hosts = f"127.0.0.1:{engines.free_port()},127.0.0.1:{postgres.port}"
    store = PostgresStore.open(f"postgres://antsmem@{hosts}/{database}?tls=no", {})
    assert count(store, 1) == 1
    store.close()


def test_others_who_are_always_quicker_end_in_a_conflict(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = opened(timeout_seconds="2"), opened()
    original = driver._transact

    def late(connection: Any, *rest: Any) -> int:
        connection.execute("begin isolation level serializable")
        connection.execute("select sequence from antsmem_streams where stream = %s", (STREAM,)).fetchall()
        monkeypatch.setattr(driver, "_transact", original)
        count(other, 1)
        monkeypatch.setattr(driver, "_transact", late)
        try:
            connection.execute("insert into antsmem_streams values (%s, 7)", (STREAM,))
        finally:
            connection.execute("rollback")
        raise AssertionError

    monkeypatch.setattr(driver, "_transact", late)
    with pytest.raises(ConflictError):
        store.commit(STREAM, [], [record()])
