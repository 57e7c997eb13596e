"""Goal: a git remote keeps the newest ledger, whatever else is in it and whoever pushes.

Method: real bare repositories, reached by path and over a real SSH server; servers that refuse rewritten history,
refuse everything, hold something else, or are not there; two hosts that push at the same moment.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest

from antsmem.core.errors import (
    BackendError,
    ConflictError,
    DriverMissingError,
    IntegrityError,
    RefusedError,
    RollbackError,
)
from antsmem.core.record import replace
from antsmem.drivers import git
from antsmem.drivers.git import REF, GitAnchor
from antsmem.identity.anchor import Publication, publication_to_bytes, sign_head
from antsmem.identity.ledger import Ledger, extended, secret_row
from antsmem.identity.signing import SigningKey

KEY = SigningKey(bytes(range(32)))
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def publication(count: int, name: str = "token") -> bytes:
    rows = [secret_row("set", f"{name}-{number}", 1, "static") for number in range(count)]
    ledger = extended(Ledger("QmAgent", bytes(32)), rows, KEY, 1_795_188_211_000_000_000)
    return publication_to_bytes(Publication(sign_head(ledger, "laptop", KEY), b"sealed %d" % count))


def in_git(place: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", place, *words], env=ENVIRONMENT, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("the program `git` is not installed: apt install git")
    place = tmp_path / "remote.git"
    place.mkdir()
    in_git(place, "init", "--quiet", "--bare")
    in_git(place, "config", "receive.denyNonFastForwards", "true")
    return place


@pytest.fixture
def anchor(remote: Path, tmp_path: Path) -> GitAnchor:
    return GitAnchor("forge", str(remote), tmp_path / "scratch", ENVIRONMENT)


def test_a_remote_keeps_the_newest_and_its_history(anchor: GitAnchor, remote: Path) -> None:
    assert anchor.fetch() is None
    for count in (1, 2, 5):
        anchor.publish(publication(count))
        anchor.publish(publication(count))
        assert anchor.fetch() == publication(count)
    assert in_git(remote, "log", "--format=%s", REF).splitlines() == [
        "ledger, row 5",
        "ledger, row 2",
        "ledger, row 1",
    ]
    assert in_git(remote, "for-each-ref", "--format=%(refname)") == REF


def test_another_host_sees_it_and_goes_on(anchor: GitAnchor, tmp_path: Path) -> None:
    anchor.publish(publication(1))
    anchor.publish(publication(2))
    other = replace(anchor, scratch=tmp_path / "other")
    assert other.fetch() == publication(2)
    other.publish(publication(3))
    assert anchor.fetch() == publication(3)
    shutil.rmtree(anchor.scratch)
    anchor.publish(publication(4))


def test_an_older_or_another_ledger_is_refused(anchor: GitAnchor) -> None:
    anchor.publish(publication(3))
    for data in (publication(2), publication(3, "other")):
        with pytest.raises(RollbackError, match="`forge`"):
            anchor.publish(data)
    assert anchor.fetch() == publication(3)


def test_a_push_that_comes_second_changes_nothing(
    anchor: GitAnchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor.publish(publication(1))
    other = replace(anchor, scratch=tmp_path / "other")
    checked = git.refuse_older

    def overtaken(name: str, there: bytes | None, data: bytes) -> bool:
        monkeypatch.setattr(git, "refuse_older", checked)
        other.publish(publication(5))
        return True

    monkeypatch.setattr(git, "refuse_older", overtaken)
    with pytest.raises(ConflictError):
        anchor.publish(publication(2))
    assert anchor.fetch() == publication(5)


def test_a_server_that_takes_no_push_is_told(anchor: GitAnchor, remote: Path) -> None:
    hook = remote / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RefusedError, match="did not take"):
        anchor.publish(publication(1))


def test_a_remote_that_is_not_there_does_not_answer(anchor: GitAnchor, remote: Path) -> None:
    shutil.rmtree(remote)
    for act in (anchor.fetch, lambda: anchor.publish(publication(1))):
        with pytest.raises(BackendError) as told:
            act()
        assert str(remote) not in str(told.value)  # an address may hold a token


def test_an_address_is_never_an_option_nor_a_command(anchor: GitAnchor, tmp_path: Path) -> None:
    for url in (f"--upload-pack=touch {tmp_path}/owned", f"ext::sh -c touch% {tmp_path}/owned"):
        with pytest.raises(BackendError):
            replace(anchor, url=url).fetch()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["ledger.json", "other.json"])
def test_something_else_under_the_ref_is_no_ledger(anchor: GitAnchor, remote: Path, name: str) -> None:
    made = subprocess.run(
        ["git", "-C", remote, "hash-object", "-w", "--stdin"], input=b"{}", capture_output=True, check=True
    )
    tree = subprocess.run(
        ["git", "-C", remote, "mktree"],
        input=b"100644 blob %b\t%b\n" % (made.stdout.strip(), name.encode()),
        capture_output=True,
        check=True,
    ).stdout.decode().strip()  # fmt: skip
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    in_git(remote, "update-ref", REF, in_git(remote, *who, "commit-tree", tree, "-m", "x"))
    with pytest.raises(IntegrityError, match="`forge`"):
        anchor.publish(publication(1))


def test_something_too_large_is_not_read(anchor: GitAnchor, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor.publish(publication(1))
    monkeypatch.setattr(git, "MAX_BYTES", 100)
    with pytest.raises(IntegrityError):
        anchor.fetch()


def test_git_hooks_environment_does_not_lead_elsewhere(anchor: GitAnchor, tmp_path: Path) -> None:
    """As when antsmem is called from a hook of the agent's own repository."""
    own = tmp_path / "own"
    own.mkdir()
    in_git(own, "init", "--quiet")
    led = {**ENVIRONMENT, "GIT_DIR": str(own / ".git"), "GIT_INDEX_FILE": str(own / ".git/index")}
    replace(anchor, environment=led).publish(publication(1))
    assert in_git(own, "for-each-ref") == ""
    assert anchor.fetch() == publication(1)


def test_a_machine_without_git_is_told_so(anchor: GitAnchor, tmp_path: Path) -> None:
    with pytest.raises(DriverMissingError, match="git"):
        replace(anchor, environment={"PATH": str(tmp_path)}).fetch()


def test_a_remote_that_hangs_is_given_up_with_all_it_started(
    anchor: GitAnchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(git, "_SECONDS", 5)
    hanging = replace(anchor, url="ssh://nobody@localhost/x", environment={**ENVIRONMENT, "GIT_SSH": str(program)})
    with pytest.raises(BackendError, match="5 s"):
        hanging.fetch()
    pid = (tmp_path / "pid").read_text().strip()
    give_up = time.monotonic() + 60
    while state(pid)[:1] not in {"", "Z"}:  # gone, or dead and not yet collected
        assert time.monotonic() < give_up, "it is still there"
        time.sleep(0.01)


def state(pid: str) -> str:
    """What `ps` says of a process; empty if there is none."""
    return subprocess.run(
        ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False
    ).stdout.strip()


class GitSshd(engines.Sshd):
    """The SSH server, with more than SFTP."""

    def command(self) -> list[str]:
        argv = super().command()
        config = self.dir / "config"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if not line.startswith("ForceCommand")))
        return argv


@pytest.fixture
def shell() -> Iterator[engines.Server]:
    server = engines.started(GitSshd())
    yield server
    server.close()


@pytest.mark.server
def test_over_a_real_ssh_server(shell: GitSshd, remote: Path, tmp_path: Path) -> None:
    ssh = f"ssh -i {shell.key_file} -o UserKnownHostsFile={shell.known_hosts} -o BatchMode=yes"
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{shell.port}{remote}"
    anchor = GitAnchor("forge", url, tmp_path / "scratch", {**ENVIRONMENT, "GIT_SSH_COMMAND": ssh})
    for count in (1, 2):
        anchor.publish(publication(count))
    assert anchor.fetch() == publication(2)
