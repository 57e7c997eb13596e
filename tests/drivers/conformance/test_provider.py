"""Goal: a secret is the same wherever it is kept, and a failure is one of ours that shows nothing of it.

Method: one suite against every provider, on the real thing: GNOME's keyring on a message bus, Vault's own
key/value engine, AWS as moto serves it, systemd's credentials out of a TPM in software, programs, variables. What
a provider says it cannot do must be refused; what it says it can do is done, by two at once where it compares.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from engines import free_port
from keepers import KEEPERS, Keeper
from racing import together

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    ConflictError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
    UsageError,
)

VALUE = "".join(["Zk7Qw2", "Lx9Rt4", "Vb8Nm1", "é\n"]).encode()
CANARY = "canary-in-a-foreign-text"
REMOTE = ["aws", "vault"]


@pytest.fixture(params=sorted(KEEPERS))
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Keeper:
    return KEEPERS[request.param](request, tmp_path)


@contextmanager
def answering(status: int, said: list[bytes]) -> Iterator[str]:
    """A server that answers every question with what `said` begins with."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))  # else closing resets the connection
            self.send_response(status)
            self.send_header("Content-Length", str(len(said[0])))
            self.end_headers()
            self.wfile.write(said[0])

        do_GET = do_POST = do_PUT = do_LIST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server that answers every question with an error full of what must not be repeated."""
    body = f'{{"errors": ["{CANARY}"], "__type": "{CANARY} x", "message": "{CANARY}"}}'
    with answering(418, [body.encode()]) as url:
        yield url


def test_what_is_kept_is_given(keeper: Keeper) -> None:
    keeper.put("db_password", VALUE)
    given = keeper.open().get("db_password")
    assert given.data == VALUE
    assert "Zk7Qw2" not in repr(given)


def test_an_object_is_given_as_json(keeper: Keeper) -> None:
    keeper.put("account", b'{"user":"kim","password":"x y"}')
    assert keeper.open().get("account").data == b'{"user":"kim","password":"x y"}'


def test_what_is_missing_is_not_found(keeper: Keeper) -> None:
    keeper.put("other", VALUE)
    for name in ("nothing", "never_set", "not_listed"):
        with pytest.raises(NotFoundError) as caught:
            keeper.open().get(name)
        assert "Zk7Qw2" not in str(caught.value) and "seen by nobody" not in str(caught.value)


def test_bytes_are_kept_or_refused_but_never_changed(keeper: Keeper) -> None:
    value = bytes(range(1, 256))
    provider = keeper.open()
    if keeper.holds_bytes:
        keeper.put("bytes", value)
        assert provider.get("bytes").data == value
    elif provider.can.write:
        with pytest.raises(UsageError):
            provider.put("bytes", value)
        with pytest.raises(NotFoundError):
            provider.get("bytes")


def test_what_it_cannot_do_is_refused(keeper: Keeper) -> None:
    keeper.put("name", VALUE)
    provider = keeper.open()
    if not provider.can.write:
        with pytest.raises(UsageError):
            provider.put("name", b"other")
    if not provider.can.list:
        with pytest.raises(UsageError):
            provider.names()
    if not provider.can.versions:
        for ask in (lambda: provider.versions("name"), lambda: provider.get("name", "1")):
            with pytest.raises(UsageError):
                ask()
    if provider.can.write and not provider.can.compare_and_set:
        with pytest.raises(UsageError):
            provider.put("name", b"other", expected="1")
    assert provider.get("name").data == VALUE


def test_what_it_lists_is_what_is_there(keeper: Keeper) -> None:
    names = ["one", "three", "two"]
    for name in names:
        keeper.put(name, VALUE)
    provider = keeper.open()
    if provider.can.list:
        assert provider.names() == names


def test_names_with_slashes_are_kept_apart(keeper: Keeper) -> None:
    if keeper.kind in {"credentials", "env", "exec"}:
        pytest.skip("has names without slashes")
    keeper.put("a/b", b"deep")
    keeper.put("a", b"flat")
    assert (keeper.open().get("a/b").data, keeper.open().get("a").data) == (b"deep", b"flat")
    if keeper.open().can.list:
        assert keeper.open().names() == ["a", "a/b"]


def test_the_newest_counts_and_older_ones_are_kept(keeper: Keeper) -> None:
    provider = keeper.open()
    if not provider.can.write:
        pytest.skip("cannot be written")
    first = provider.put("name", b"first")
    second = provider.put("name", b"second")
    assert provider.get("name").data == b"second"
    if provider.can.versions:
        assert provider.get("name").version == second != first
        assert provider.versions("name") == [first, second]
        assert provider.get("name", first).data == b"first"
        with pytest.raises((NotFoundError, RefusedError, UsageError)):
            provider.get("name", "99")


def test_of_two_writers_one_wins(keeper: Keeper) -> None:
    if not keeper.open().can.compare_and_set:
        pytest.skip("cannot compare")
    first = keeper.open().put("name", b"first", expected="")
    for stale in ("", "7"):
        with pytest.raises(ConflictError):
            keeper.open().put("name", b"late", expected=stale)
    won: list[bytes] = []

    def write(value: bytes) -> None:
        try:
            keeper.open().put("name", value, expected=first)
            won.append(value)
        except ConflictError:
            pass

    together([partial(write, b"writer %d" % number) for number in range(8)])
    assert won == [keeper.open().get("name").data]


def test_an_option_that_there_is_not_is_refused(keeper: Keeper) -> None:
    with pytest.raises(ConfigError, match="`colour`"):
        keeper.open(colour="red")


def test_a_missing_library_is_named(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    if not keeper.missing_library:
        pytest.skip("needs none")
    import sys

    for name in [*sys.modules, keeper.missing_library]:
        if name.partition(".")[0] in {keeper.missing_library, "botocore"}:
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DriverMissingError) as caught:
        keeper.open().get("name")
    assert f"antsmem[{keeper.kind}]" in caught.value.hint


@pytest.mark.parametrize("kind", REMOTE)
def test_a_server_that_does_not_answer_may_answer_later(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    keeper = KEEPERS[kind](request, tmp_path)
    where = {"vault": "url", "aws": "endpoint"}[kind]
    with pytest.raises(BackendError):
        keeper.open(**{where: nobody, "timeout_seconds": "0.5"}).get("name")


@pytest.mark.parametrize("kind", REMOTE)
def test_nothing_of_a_servers_own_text_is_repeated(
    request: pytest.FixtureRequest, tmp_path: Path, deaf: str, kind: str
) -> None:
    provider = KEEPERS[kind](request, tmp_path).open(**{{"vault": "url", "aws": "endpoint"}[kind]: deaf})
    for ask in (
        lambda: provider.get("name"),
        lambda: provider.put("name", VALUE),
        provider.names,
        lambda: provider.versions("name"),
    ):
        with pytest.raises(AntsmemError) as caught:
            ask()
        assert CANARY not in str(caught.value) + caught.value.hint + repr(caught.value.__cause__)


@pytest.mark.parametrize("kind", REMOTE)
def test_an_answer_that_cannot_be_is_refused(kind: str) -> None:
    half = b'{"SecretString": "\\ud800", "VersionId": "1", "data": {"data": {"value": "\\ud800"}, "metadata": %s}}'
    wrong = b'{"SecretList": 5, "Versions": [5], "VersionId": [], "SecretString": 5, "data": [5]}'
    said = [b"{}", b"[]", b"5", wrong, half % b'{"version": 1}', b"[" * 100_000]
    with answering(200, said) as url:
        where = {
            "aws": {"endpoint": url, "region": "us-east-1", "access_key_id": "x", "secret_access_key": "x"},
            "vault": {"url": url, "token": "x"},
        }
        provider = Keeper(kind, where[kind]).open()
        while said:
            for ask in (lambda: provider.get("name"), provider.names, lambda: provider.versions("name")):
                with pytest.raises(RefusedError):
                    ask()
            del said[0]


def test_an_answer_of_vault_without_an_end_is_not_read() -> None:
    endless = [b" " * ((16 << 20) + 1)]
    with answering(200, endless) as url, pytest.raises(RefusedError, match="more than 16 MiB: not read"):
        Keeper("vault", {"url": url, "token": "x"}).open().get("name")


def test_a_wrong_token_is_refused(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    keeper = KEEPERS["vault"](request, tmp_path)
    with pytest.raises(RefusedError) as caught:
        keeper.open(token=CANARY).get("name")
    assert CANARY not in str(caught.value)


def test_an_object_of_somebody_else_in_vault_is_given_whole(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import hvac

    keeper = KEEPERS["vault"](request, tmp_path)
    client = hvac.Client(url=keeper.options["url"], token=keeper.options["token"])
    path = f"{keeper.options['prefix']}/theirs"
    client.secrets.kv.v2.create_or_update_secret(path, {"user": "kim", "port": 5432})
    assert keeper.open().get("theirs").data == b'{"port":5432,"user":"kim"}'
    client.secrets.kv.v2.delete_latest_version_of_secret(path)
    client.adapter.close()
    with pytest.raises(NotFoundError):
        keeper.open().get("theirs")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("exit 3", RefusedError),
        ("echo no json", RefusedError),
        ('echo \'{"protocolVersion": 2, "values": {}}\'', RefusedError),
        ("echo '{\"protocolVersion\": 1}'", RefusedError),
        ('echo \'{"protocolVersion": 1, "values": {"other": "x"}}\'', NotFoundError),
        ('echo \'{"protocolVersion": 1, "values": {"name": null}}\'', NotFoundError),
        ('echo \'{"protocolVersion": 1, "values": {}, "errors": {"name": {"message": "C"}}}\'', NotFoundError),
        ("exec sleep 60", BackendError),
        ("(sleep 60 &) ; exec cat /dev/zero", BackendError),
        ("exec 1>&-; exec sleep 60", BackendError),
    ],
)
def test_a_program_that_misbehaves_is_ended_and_not_repeated(
    request: pytest.FixtureRequest, tmp_path: Path, script: str, error: type[AntsmemError]
) -> None:
    keeper = KEEPERS["exec"](request, tmp_path)
    Path(keeper.options["command"]).write_text(
        f"#!/bin/sh\necho {CANARY} >&2\n{script}\n".replace('C"', CANARY + '"')
    )
    bound = "0.5" if error is BackendError else "60"
    with pytest.raises(error) as caught:
        keeper.open(timeout_seconds=bound).get("name")
    assert CANARY not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("output", ["", " >/dev/null 2>&1"])
def test_what_a_program_leaves_running_is_ended(
    request: pytest.FixtureRequest, tmp_path: Path, output: str
) -> None:
    keeper = KEEPERS["exec"](request, tmp_path)
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    alive = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    said = '{"protocolVersion": 1, "values": {"name": "x"}}'
    Path(keeper.options["command"]).write_text(f"#!/bin/sh\nexec 3>{fifo}\nsleep 60{output} &\necho '{said}'\n")
    with suppress(BackendError):  # whoever holds the output open has not answered yet
        keeper.open(timeout_seconds="0.5").get("name")
    assert select.select([alive], [], [], 10)[0] and not os.read(alive, 1), "nobody holds the other end"


def test_a_program_that_others_can_change_is_not_started(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    keeper = KEEPERS["exec"](request, tmp_path)
    Path(keeper.options["command"]).chmod(0o722)
    with pytest.raises(UsageError, match="not started"):
        keeper.open().get("name")
    for command in ("program", "", "'"):
        with pytest.raises(ConfigError):
            keeper.open(command=command)


def test_a_program_gets_no_environment_but_what_is_listed(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    keeper = KEEPERS["exec"](request, tmp_path)
    keeper.environment.update(ONE="1", TWO="2")
    said = '{"protocolVersion": 1, "values": {"name": "\'"$ONE-$TWO"\'"}}'
    Path(keeper.options["command"]).write_text(f"#!/bin/sh\necho '{said}'\n")
    assert keeper.open(environment="ONE THREE").get("name").data == b"1-"


@pytest.mark.parametrize("fault", ["readable by others", "a link", "a pipe"])
def test_a_credential_that_is_not_private_is_refused(tmp_path: Path, fault: str) -> None:
    keeper = Keeper("credentials", environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    place = tmp_path / "name"
    if fault == "a pipe":
        import os

        os.mkfifo(place, 0o600)
    elif fault == "a link":
        (tmp_path / "other").write_bytes(VALUE)
        place.symlink_to(tmp_path / "other")
    else:
        place.write_bytes(VALUE)
        place.chmod(0o644)
    with pytest.raises(UsageError):
        keeper.open().get("name")


def test_without_a_service_there_are_no_credentials() -> None:
    with pytest.raises(NotFoundError, match="CREDENTIALS_DIRECTORY"):
        Keeper("credentials").open().get("name")
