"""Goal: a new recovery kit opens what the old one opened, secrets and ledger too; the old one opens nothing new.

Method: an agent with a secret gets a new kit; then it is recovered on another machine, with each kit, through the
commands.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest
from made_homes import KIT, Home

from antsmem.cli.commands import rotate as command
from antsmem.core import clock
from antsmem.drivers.file import FileStore


def _escrow(home: Home) -> list[Path]:
    return sorted((home.home / ".local/share/antsmem").glob("*/escrow/*secrets-escrow.age"))


def test_a_new_kit_opens_the_secrets_and_the_old_one_does_not(home: Home) -> None:
    value = b"not a secret " * 2
    home.must("secret", "set", "token", stdin=value)
    home.must("backup")
    home.must("identity", "rotate", "--kit", KIT, "--new-kit", "new-kit.txt")
    (escrow,) = _escrow(home)
    home.must("backup")
    recover = (
        "recover",
        "new",
        "--repository",
        str(home.repository),
        "--secrets",
        str(escrow),
        "--accept-stale",
        "--instead",
    )
    old = home.run(*recover, "--kit", KIT)
    assert old.code != 0 and not (home.root / "new").exists()
    new = home.run(*recover, "--kit", "new-kit.txt", "--host", "desktop")
    assert new.code == 0, new
    assert home.run("-C", "new", "secret", "get", "token").out.encode() == value


def _recovered(home: Home, kit: str) -> None:
    """With the kit and the repository alone, on a machine that keeps no escrow."""
    other = Home(home.root / "machine")
    (other.root / kit).write_bytes((home.root / kit).read_bytes())
    ran = other.run("recover", str(other.workspace), "--repository", str(home.repository), "--kit", kit, "--json")
    assert ran.code == 0, ran
    assert {row["name"]: row["state"] for row in ran.document["secrets"]} == {
        "token": "withheld",
        "old": "revoked",
    }


@pytest.fixture
def agent(home: Home) -> Home:
    """An agent with a secret, one that was revoked, and a repository that knows."""
    home.must("secret", "set", "token", stdin=b"not a secret " * 2)
    home.must("secret", "set", "old", stdin=b"no secret any more")
    home.must("backup")
    home.must("secret", "revoke", "old")
    return home


def test_a_new_kit_alone_brings_the_agent_back_from_the_repository_alone(agent: Home) -> None:
    agent.must("identity", "rotate", "--kit", KIT, "--new-kit", "new-kit.txt")
    _recovered(agent, "new-kit.txt")


def test_a_rotation_that_was_cut_off_is_finished_by_the_next_backup(agent: Home) -> None:
    def killed() -> None:
        def die(*_: object) -> NoReturn:
            os._exit(9)

        command.reseal_ledger = die  # type: ignore[attr-defined]

    words = ("identity", "rotate", "--kit", KIT, "--new-kit", "new-kit.txt")
    assert agent.run("-C", str(agent.workspace), *words, before=killed).code == 9
    (former,) = {path.read_bytes() for path in _escrow(agent)[-1:]}
    again = ("identity", "rotate", "--kit", "new-kit.txt", "--new-kit", "new-kit.txt")
    assert "keep it: it is the kit in force" in agent.must(*again, code=11).err
    agent.must("backup")
    (renewed,) = _escrow(agent)
    assert renewed.read_bytes() != former, "what the old kit opens is gone"
    agent.must("backup")
    assert "row 5, held by default" in agent.must("secret", "verify").out, "it is closed once"
    _recovered(agent, "new-kit.txt")


@pytest.mark.parametrize(
    ("step", "kit"),
    [
        (("put", "keys/hot-", 1), KIT),  # sealed to both kits by now
        (("swap", "anchors/snapshots.json", 1), KIT),
        (("put", "keys/identity.jsonl", 1), KIT),
        (("swap", "anchors/snapshots.json", 2), "new-kit.txt"),  # the log is there
        (("delete", "anchors/lease.json", 2), "new-kit.txt"),  # log and list are there
        (("put", "keys/hot-", 3), "new-kit.txt"),  # sealed to the new one only
        (("swap", "anchors/ledger.json", 2), "new-kit.txt"),
    ],
)
def test_a_host_that_is_lost_over_it_leaves_a_kit_that_recovers(
    agent: Home, step: tuple[str, str, int], kit: str
) -> None:
    """Killed before a step of the repository's, and for good."""
    verb, name, times = step

    def killed() -> None:
        real, left = getattr(FileStore, verb), [times]

        def counted(self: FileStore, path: str, *rest: object, **more: object) -> object:
            left[0] -= path.startswith(name)
            if not left[0]:
                os._exit(9)
            return real(self, path, *rest, **more)

        setattr(FileStore, verb, counted)

    words = ("identity", "rotate", "--kit", KIT, "--new-kit", "new-kit.txt")
    assert agent.run("-C", str(agent.workspace), *words, before=killed).code == 9
    _recovered(agent, kit)


def test_a_kit_that_does_not_open_the_ledger_is_told_so(agent: Home) -> None:
    """The old kit, and a repository that was told of the new one and not of its ledger."""
    before = (agent.repository / "anchors/ledger.json").read_bytes()
    agent.must("identity", "rotate", "--kit", KIT, "--new-kit", "new-kit.txt")
    (agent.repository / "anchors/ledger.json").write_bytes(before)
    other = Home(agent.root / "machine")
    words = ("--repository", str(agent.repository), "--kit", str(agent.root / "new-kit.txt"))
    ran = other.run("recover", "new", *words)
    assert ran.code == 20 and "anchor `default` holds a ledger that this kit does not open" in ran.err
    ran = other.run("restore", "--to", "files", *words)
    assert ran.code == 0, ran


@pytest.mark.parametrize("how", ["rotate", "recover"])
def test_a_clock_that_was_ahead_makes_no_row_of_a_former_key_a_forgery(agent: Home, how: str) -> None:
    def ahead() -> None:
        real = clock.now_ns
        clock.now_ns = lambda: real() + 3600 * 10**9  # type: ignore[assignment]

    words = ("-C", str(agent.workspace), "secret", "revoke", "token")
    assert agent.run(*words, before=ahead).code == 0
    if how == "rotate":
        agent.must("identity", "rotate", "--kit", KIT)
    else:
        ran = agent.run("recover", "new", "--kit", KIT, "--repository", str(agent.repository), "--instead")
        assert ran.code == 0, ran
        agent.workspace = agent.root / "new"
    agent.must("secret", "set", "another", stdin=b"x")
    agent.must("secret", "get", "token", code=10)
    agent.must("secret", "verify")
