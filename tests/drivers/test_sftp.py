"""Goal: the SFTP driver talks only to a host it knows, tells what a server lacks, and trusts no byte it is sent.

Method: OpenSSH's sshd with host keys, log-ins and extensions as each test needs them; made-up bytes for the
protocol. What every store must do is in `conformance/`.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import engines
import pytest
from engines import started
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.disk import is_temp
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    RefusedError,
    WouldOverwriteError,
)
from antsmem.drivers.sftp import SftpStore
from antsmem.drivers.sftp_link import Link, Status

pytestmark = pytest.mark.server


def address(server: engines.Sshd, path: str) -> str:
    return f"sftp://{getpass.getuser()}@127.0.0.1:{server.port}{path}"


def login(server: engines.Sshd, **more: str) -> dict[str, str]:
    return {
        "key_file": str(server.key_file),
        "known_hosts": str(server.known_hosts),
        "timeout_seconds": "30",
        **more,
    }


def made(server: engines.Sshd, **more: str) -> SftpStore:
    store = SftpStore.open(address(server, f"{server.root}/{uuid.uuid4().hex[:8]}"), login(server, **more))
    store.put("repository.json", [b"{}"])
    return store


@pytest.fixture
def special(request: pytest.FixtureRequest) -> Iterator[engines.Sshd]:
    """A server with the words of the test's parameter given to its `internal-sftp`."""
    server = started(engines.Sshd(*request.param))
    yield server
    server.close()


def test_a_host_that_is_not_known_is_not_connected_to(sshd: engines.Sshd, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    other = (sshd.dir / "host.pub").read_text().split()
    (tmp_path / "other-port").write_text(f"127.0.0.1 {other[0]} {other[1]}\n")
    for known_hosts in ("missing", "empty", "other-port"):
        options = login(sshd, known_hosts=str(tmp_path / known_hosts))
        with pytest.raises(RefusedError, match="is not known in") as caught:
            SftpStore.open(address(sshd, "/a"), options)
        assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in caught.value.hint


def test_a_host_whose_key_is_another_one_is_not_connected_to(sshd: engines.Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    kind, key, *_ = (tmp_path / "k.pub").read_text().split()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    with pytest.raises(RefusedError, match="is not the one in"):
        SftpStore.open(address(sshd, "/a"), login(sshd, known_hosts=str(tmp_path / "known")))


def test_a_hashed_entry_in_known_hosts_is_understood(sshd: engines.Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_bytes(sshd.known_hosts.read_bytes())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert b"127.0.0.1" not in known.read_bytes()
    SftpStore.open(address(sshd, str(sshd.root)), login(sshd, known_hosts=str(known))).close()


def test_a_log_in_that_is_not_accepted_is_refused_at_once(sshd: engines.Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    for wrong in ({"key_file": str(tmp_path / "k")}, {"password": "wrong"}):
        options = {"known_hosts": str(sshd.known_hosts), **wrong}
        with pytest.raises(RefusedError, match="refused the log-in"):
            SftpStore.open(address(sshd, "/a"), options)


def test_a_key_with_a_passphrase_needs_it(sshd: engines.Sshd, tmp_path: Path) -> None:
    key, phrase = tmp_path / "k", uuid.uuid4().hex
    key.write_bytes(sshd.key_file.read_bytes())
    key.chmod(0o600)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", phrase, "-f", str(key)], check=True, capture_output=True
    )
    for options in ({}, {"key_passphrase": "wrong"}):
        with pytest.raises(RefusedError) as caught:
            SftpStore.open(address(sshd, "/a"), login(sshd, key_file=str(key), **options))
        assert "key_passphrase" in caught.value.hint
    options = login(sshd, key_file=str(key), key_passphrase=phrase)
    SftpStore.open(address(sshd, str(sshd.root)), options).close()


def test_a_key_file_that_cannot_be_read_is_told(sshd: engines.Sshd, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the key file"):
        SftpStore.open(address(sshd, "/a"), login(sshd, key_file=str(tmp_path / "none")))
    (tmp_path / "nonsense").write_text("no key")
    with pytest.raises(RefusedError):
        SftpStore.open(address(sshd, "/a"), login(sshd, key_file=str(tmp_path / "nonsense")))


def test_an_url_that_is_incomplete_is_refused() -> None:
    for rest in (
        "u@/a",
        "u@host",
        "u@host/",
        "u@host:x/a",
        "u@host/a?b",
        "u@host/a#b",
        "u@host/%00",
        "u@[::1/a",
    ):
        with pytest.raises(ConfigError):
            SftpStore.open(f"sftp://{rest}", {})


def test_without_a_user_in_the_url_it_is_this_account(sshd: engines.Sshd) -> None:
    SftpStore.open(f"sftp://127.0.0.1:{sshd.port}{sshd.root}", login(sshd)).close()


def test_a_password_in_an_url_is_refused_and_not_repeated() -> None:
    secret = uuid.uuid4().hex
    with pytest.raises(ConfigError) as caught:
        SftpStore.open(f"sftp://u:{secret}@host/a", {})
    assert secret not in f"{caught.value} {caught.value.hint}"


def test_a_path_below_the_home_is_understood(sshd: engines.Sshd) -> None:
    # the server starts every session in its `root`, which is what a home is to the protocol
    name = uuid.uuid4().hex[:8]
    store = SftpStore.open(address(sshd, f"/~/{name}/below"), login(sshd))
    store.put("repository.json", [b"{}"])
    store.put("packs/a", [b"x"])
    assert (sshd.root / name / "below" / "packs" / "a").read_bytes() == b"x"
    assert [item.name for item in store.list("packs")] == ["packs/a"]
    store.close()


def test_everything_is_made_for_the_owner_only(sshd: engines.Sshd) -> None:
    store = made(sshd)
    store.put("packs/a", [b"x"], new=True)
    root = Path(store.url.partition(str(sshd.port))[2])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, root / "packs", root / "packs" / "a")}
    assert set(modes.values()) == {0o700, 0o600}
    store.close()


@pytest.mark.parametrize("special", [("-P", "hardlink"), ("-P", "fsync")], indirect=True, ids="-".join)
def test_a_server_without_an_extension_does_what_it_can(special: engines.Sshd) -> None:
    store = made(special)
    store.put("packs/a", [b"1"], new=True)
    with pytest.raises(WouldOverwriteError):
        store.put("packs/a", [b"2"], new=True)
    store.put("packs/a", [b"3"])
    assert store.get("packs/a") == b"3"
    assert not [name for name in os.listdir(store.url.partition(str(special.port))[2] + "/packs") if is_temp(name)]
    store.close()


@pytest.mark.parametrize("special", [("-P", "posix-rename")], indirect=True, ids="-".join)
def test_a_server_that_cannot_replace_in_one_step_refuses_to(special: engines.Sshd) -> None:
    store = made(special)
    store.put("packs/a", [b"1"])
    for change in (lambda: store.put("packs/a", [b"2"]), lambda: store.upload("packs/a", iter([b"2"]))):
        with pytest.raises(RefusedError, match="in one step"):
            change()
    assert store.get("packs/a") == b"1"
    assert not [name for name in os.listdir(store.url.partition(str(special.port))[2] + "/packs") if is_temp(name)]
    store.close()


@pytest.mark.parametrize("special", [("-R",)], indirect=True, ids="-".join)
def test_a_read_only_server_refuses(special: engines.Sshd) -> None:
    folder = special.root / "r" / "packs"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(b"x")
    store = SftpStore.open(address(special, f"{special.root}/r"), login(special))
    assert store.get("packs/a") == b"x"
    for change in (
        lambda: store.put("packs/b", [b"x"]),
        lambda: store.put("new/b", [b"x"]),
        lambda: store.upload("packs/b", iter([b"x"])),
        lambda: store.delete("packs/a"),
    ):
        with pytest.raises(RefusedError, match="permission denied"):
            change()
    store.close()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may mount")
def test_a_full_server_is_an_error_and_harms_nothing(sshd: engines.Sshd) -> None:
    disk = sshd.root / uuid.uuid4().hex[:8]
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        store = SftpStore.open(address(sshd, str(disk)), login(sshd))
        store.put("repository.json", [b"{}"])
        store.put("packs/a", [b"old"])
        for change in (
            lambda: store.put("packs/a", [b"x" * (2 << 20)]),
            lambda: store.put("packs/b", [b"x" * (2 << 20)], new=True),
            lambda: store.upload("packs/a", iter([b"x" * (2 << 20)])),
        ):
            with pytest.raises(RefusedError, match="is its disk full"):
                change()
            assert os.listdir(disk / "packs") == ["a"]
        assert store.get("packs/a") == b"old"
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_without_its_library_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(DriverMissingError) as caught:
        SftpStore.open("sftp://u@host/a", {})
    assert caught.value.hint == "pip install 'antsmem[sftp]'"


class _Wire:
    """Stands in for paramiko's client, transport and channel: sends a server's greeting, then `answers`."""

    def __init__(self, answers: bytes) -> None:
        self._waiting = b"\0\0\0\5\2\0\0\0\3" + answers

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self

    def recv(self, count: int) -> bytes:
        data, self._waiting = self._waiting[: min(count, 7)], self._waiting[min(count, 7) :]
        return data


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda kind, number, rest: (len(rest) + 5).to_bytes(4) + bytes([kind]) + number.to_bytes(4) + rest,
                st.sampled_from([101, 102, 103, 104, 105, 201]),
                st.integers(0, 9),
                st.binary(max_size=60),
            ),
        ),
        max_size=12,
    ).map(b"".join)
)
def test_whatever_a_server_sends_ends_in_an_answer_or_an_error(answers: bytes) -> None:
    for call in (
        lambda link: link.open("a", 1),
        lambda link: link.read(b"h", 0, 100_000),
        lambda link: link.write(b"h", 0, [b"x" * 100_000]),
        lambda link: link.entries("a"),
        lambda link: link.attributes("a"),
        lambda link: link.make_new("a", "b"),
    ):
        link = Link(_Wire(answers), (EOFError,), 1.0)
        with suppress(Status, EOFError):
            call(link)


@given(st.binary(max_size=80))
def test_whatever_a_server_greets_with_is_understood_or_an_error(hello: bytes) -> None:
    wire = _Wire(b"")
    wire._waiting = len(hello).to_bytes(4) + hello
    with suppress(EOFError):
        Link(wire, (EOFError,), 1.0)


def test_a_server_that_is_not_there_is_told_within_the_bound() -> None:
    port = engines.free_port()
    for options in ({}, {"password": "x"}):
        with pytest.raises(BackendError):
            SftpStore.open(f"sftp://u@127.0.0.1:{port}/a", {"timeout_seconds": "0.2", **options})
    with pytest.raises(AntsmemError):
        SftpStore.open("sftp://u@no-such-host.invalid/a", {"timeout_seconds": "0.2"})
