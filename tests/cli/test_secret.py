"""Goal: secrets go in and come out where they are asked for and nowhere else, and what was revoked stays revoked.

Method: the commands as a terminal runs them, with real repositories and a real git remote, up to a recovery on
another machine that is given old copies. Control: the same recovery where nobody is asked brings the credential
back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import engines
import pytest
from made_homes import CLOSED, KIT, TRACE, Home
from relays import RelayServer
from secret_homes import VALUE, escrow, machine, recover, secrets, with_secret


@pytest.fixture
def agent(home: Home) -> Home:
    return with_secret(home)


def test_a_value_comes_out_as_it_went_in(home: Home) -> None:
    for name, value, wanted in (
        ("line", b"one line\n", b"one line"),
        ("bare", b"no newline", b"no newline"),
        ("many", b"two\nlines\n", b"two\nlines\n"),
        ("bytes", bytes(range(256)), bytes(range(256))),
    ):
        home.must("secret", "set", name, stdin=value)
        assert os.fsencode(home.must("secret", "get", name).out) == wanted
    document = home.must("secret", "get", "bytes", "--json").document
    assert document["encoding"] == "base64" and len(document["value"]) == 344


def test_a_value_comes_from_a_descriptor(home: Home) -> None:
    code = "import os, sys; r, w = os.pipe(); os.write(w, b'by fd'); os.close(w); os.set_inheritable(r, True)\n"
    code += "sys.argv += [str(r)]"
    running = home.start(code, "secret", "set", "token", "--fd")
    out, err = running.communicate()
    assert running.returncode == 0, out + err
    assert home.must("secret", "get", "token").out == "by fd"
    assert home.run("-C", str(home.workspace), "secret", "set", "other", "--fd", CLOSED).code == 2


def test_no_value_is_no_secret(home: Home) -> None:
    ran = home.must("secret", "set", "token", code=2)
    assert "no value" in ran.err
    assert secrets(home) == {}


def test_the_value_is_in_no_output_and_in_no_file(agent: Home) -> None:
    agent.must("secret", "rotate", "token", stdin=VALUE + b"2")
    told = [
        agent.must(*words, "-v").out + agent.must(*words, "--json").out
        for words in (["secret", "list"], ["secret", "verify"], ["secret", "revoke", "token"], ["status"])
        if words[0] != "status"
    ]
    assert VALUE.decode() not in "".join(told)
    for path in agent.root.rglob("*"):
        if path.is_file():
            assert VALUE not in path.read_bytes(), path


def test_the_argument_list_takes_no_value(home: Home) -> None:
    ran = home.must("secret", "set", "token", "the-value", code=2)
    assert secrets(home) == {}
    assert TRACE not in ran.err


@pytest.mark.parametrize("text", [
    'A=1\nexport B = two words # comment\n# no\n\nC="x\\ny # z" # c\nD=\'$x "\'\nE=a#b\n',
    '{"A": "1", "B": "two words", "C": "x\\ny # z", "D": "$x \\"", "E": "a#b"}',
])  # fmt: skip
def test_a_file_is_imported_by_name_and_left_as_it_is(home: Home, text: str) -> None:
    path = home.root / "file"
    path.write_text(text)
    ran = home.must("secret", "import", str(path))
    assert "two words" not in ran.out + ran.err
    wanted = {"A": "1", "B": "two words", "C": "x\ny # z", "D": '$x "', "E": "a#b"}
    assert {name: home.must("secret", "get", name).out for name in wanted} == wanted
    assert path.read_text() == text
    home.must("secret", "import", str(path))  # again changes nothing
    path.write_text(text.replace("two", "other"))
    home.must("secret", "import", str(path), code=11)
    home.must("secret", "import", str(path), "--replace")
    assert home.must("secret", "get", "B").out == "other words"
    assert "A 2" not in secrets(home)


@pytest.mark.parametrize("text", [
    b"", b"# nothing\n", b"no pair\n", b"A=1\nA=2\n", b'A="open\n', b"A='x' y\n", b"\xff=1\n", b"{}", b"[]",
    b'{"A": 1}', b'{"A": "1", "A": "2"}', b'{"a b": "1"}', b"A=\n", b'{"A": {"B": "c"}}',
])  # fmt: skip
def test_a_file_that_cannot_be_understood_changes_nothing(home: Home, text: bytes) -> None:
    ran = home.must("secret", "import", stdin=text, code=2)
    assert TRACE not in ran.err
    assert secrets(home) == {}


def test_revoking_needs_an_anchor_off_this_host(agent: Home) -> None:
    away = agent.repository.with_name("away")
    agent.repository.rename(away)
    ran = agent.must("secret", "revoke", "token", "--json", code=40)
    assert ran.error["transient"] and "no anchor" in ran.error["message"]
    assert secrets(agent) == {"token 1": "revoked"}, "here it is revoked all the same"
    agent.must("secret", "revoke", "token", "--offline")
    away.rename(away.with_name("repository"))
    document = agent.must("secret", "revoke", "token", "--json").document
    assert document["anchors"] == ["default"]
    agent.must("secret", "get", "token", code=10)


def test_a_backup_publishes_what_is_pending_and_asks_for_nothing_else(agent: Home) -> None:
    published = agent.repository / "anchors/ledger.json"
    before = published.read_bytes(), published.stat().st_mtime_ns
    agent.must("backup")
    assert (published.read_bytes(), published.stat().st_mtime_ns) == before
    agent.must("secret", "set", "second", stdin=b"x")
    assert published.read_bytes() == before[0]
    agent.must("backup")
    assert published.read_bytes() != before[0]


def test_a_backup_without_secrets_loads_nothing_of_the_ledger(home: Home) -> None:
    told = "import atexit, sys\natexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))"
    running = home.start(told, "backup")
    _, err = running.communicate()
    assert running.returncode == 0
    assert "antsmem.backup.hot" in err.split()
    assert not {"antsmem.identity.custody", "antsmem.identity.ledger", "antsmem.identity.anchor"} & set(
        err.split()
    )


def test_getting_a_secret_loads_no_parser_and_no_engine(agent: Home) -> None:
    told = "import atexit, sys\natexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))"
    running = agent.start(told, "secret", "get", "token")
    out, err = running.communicate()
    assert running.returncode == 0 and out == VALUE.decode()
    loaded = set(err.split())
    assert not {"typer", "rich", "cryptography", "antsmem.identity.custody", "antsmem.backup.hot"} & loaded


def test_old_copies_of_the_files_bring_nothing_back(agent: Home) -> None:
    keystore = agent.workspace / ".antsmem/keystore"
    shutil.copytree(keystore, agent.root / "keystore")
    agent.must("secret", "revoke", "token")
    shutil.copyfile(agent.root / "keystore/keystore.age", keystore / "keystore.age")
    agent.must("secret", "get", "token", code=10)
    for name in ("ledger.age", "head.json"):
        shutil.copyfile(agent.root / "keystore" / name, keystore / name)
    agent.must("secret", "get", "token", code=31)
    agent.must("backup", code=31)
    agent.must("secret", "verify")  # what the repository has is taken over
    agent.must("secret", "get", "token", code=10)
    agent.must("backup")


def test_a_recovery_from_old_copies_does_not_bring_a_revoked_credential_back(agent: Home) -> None:
    agent.must("repository", "add", "second", str(agent.root / "second"))
    agent.must("secret", "revoke", "token", "--reason", "leaked")
    other = machine(agent)
    old = ("--secrets", str(agent.root / "old-secrets.age"))
    ran = recover(other, agent.root / "old-repository", *old, "--anchor", str(agent.root / "second"))
    assert ran.code == 0, ran
    assert secrets(other) == {"token 1": "revoked"}
    assert other.run("-C", str(other.workspace), "secret", "get", "token").code == 10


def test_control_where_nobody_is_asked_the_same_recovery_brings_it_back(agent: Home) -> None:
    agent.must("secret", "revoke", "token", "--reason", "leaked")
    other = machine(agent)
    old = ("--secrets", str(agent.root / "old-secrets.age"))
    assert recover(other, agent.root / "old-repository", *old, "--accept-stale").code == 0
    assert other.must("secret", "get", "token").out == VALUE.decode()


def test_where_nobody_answers_it_waits_for_a_person(agent: Home) -> None:
    other = machine(agent)
    ran = recover(other, agent.repository, "--secrets", str(escrow(agent)), "--anchor", "git+/nowhere")
    assert ran.code == 3 and set(ran.document["silent"]) == {"anchor-1"}  # and it could not be told
    assert [row["state"] for row in ran.document["secrets"]] == ["quarantined"]
    refused = other.must("secret", "get", "token", code=2)
    assert "antsmem secret verify token" in refused.err
    other.must("secret", "verify", "token", code=3)
    assert other.must("secret", "get", "token").out == VALUE.decode()


@pytest.mark.parametrize("spelt", ["{}", "{}/", "file://{}", "file://localhost{}/"])
def test_the_repository_itself_is_no_second_opinion(agent: Home, spelt: str) -> None:
    other, again = machine(agent), spelt.format(agent.repository)
    ran = recover(other, agent.repository, "--secrets", str(escrow(agent)), "--anchor", again)
    assert ran.code == 0, ran
    assert [row["state"] for row in ran.document["secrets"]] == ["quarantined"]


def test_a_git_remote_vouches_and_is_told_who_goes_on(agent: Home) -> None:
    remote = agent.root / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", remote], check=True)
    (config,) = (agent.home / ".config/antsmem/agents").iterdir()
    config.write_text(config.read_text() + f'anchors:\n  forge: "git+{remote}"\n')
    assert "forge" in agent.must("secret", "verify").out
    other = machine(agent)
    ran = recover(other, agent.repository, "--secrets", str(escrow(agent)), "--anchor", f"git+{remote}")
    assert ran.code == 0, ran
    assert ran.document["witnesses"] == ["default", "anchor-1"]
    assert other.must("secret", "get", "token").out == VALUE.decode()
    assert "anchor-1" in other.must("secret", "verify").out
    log = subprocess.run(
        ["git", "-C", remote, "log", "--oneline", "refs/antsmem/ledger"], capture_output=True, check=True
    )
    assert log.stdout.count(b"\n") == 2


def test_a_relay_remembers_as_a_repository_does(agent: Home) -> None:
    relay = engines.started(RelayServer())
    try:
        moved = ("identity", "move", "--relay", relay.url, "--kit", KIT)
        assert agent.run("-C", str(agent.workspace), *moved).code == 0
        assert agent.must("secret", "revoke", "token", "--json").document["anchors"] == ["default", relay.url]
        away = agent.repository.with_name("away")
        agent.repository.rename(away)
        agent.must("secret", "set", "second", stdin=b"x")
        document = agent.must("secret", "revoke", "second", "--json", code=3).document
        assert document["anchors"] == [relay.url] and set(document["failed"]) == {"default"}
        away.rename(away.with_name("repository"))
        agent.must("secret", "set", "third", stdin=b"good")
        agent.must("secret", "verify")
        other = machine(agent)
        old = ("--secrets", str(agent.root / "old-secrets.age"))
        ran = recover(other, agent.root / "old-repository", *old, "--host", "newbox")
        assert relay.url not in ran.document["witnesses"], "an old identity log names no relay"
        other = machine(agent)
        agent.must("backup")
        ran = recover(other, agent.repository, "--secrets", str(escrow(agent)))
        assert ran.code == 0 and relay.url in ran.document["witnesses"], ran
        assert other.must("secret", "get", "third").out == "good"
    finally:
        relay.close()


def tampered(path: Path, change: Any) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("what", ["flipped", "cut", "empty", "foreign"])
@pytest.mark.parametrize("where", ["repository", "secrets"])
def test_a_forged_ledger_stops_a_recovery_before_any_file_is_made(agent: Home, what: str, where: str) -> None:
    changes: dict[str, Any] = {
        "flipped": lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
        "cut": lambda data: data[:-30],
        "empty": lambda _data: b"",
        "foreign": lambda _data: b'{"schema":"something else"}\n',
    }
    file = agent.root / "secrets.age"
    shutil.copyfile(escrow(agent), file)
    tampered(file if where == "secrets" else agent.repository / "anchors/ledger.json", changes[what])
    other = machine(agent)
    before = sorted(other.root.rglob("*"))
    ran = recover(other, agent.repository, "--secrets", str(file))
    assert ran.code == 30 and TRACE not in ran.err, ran
    assert sorted(other.root.rglob("*")) == before


def pin_of(home: Home) -> Path:
    (found,) = (home.home / ".local/state/antsmem").glob("*/ledger-pin.json")
    return found


def test_a_rolled_back_ledger_stops_a_recovery_before_any_file_is_made(agent: Home) -> None:
    """The machine that is recovered on remembers more than anybody offers."""
    agent.must("secret", "set", "more", stdin=b"x")
    other = machine(agent)
    remembered = other.home / pin_of(agent).relative_to(agent.home)
    remembered.parent.mkdir(parents=True)
    shutil.copyfile(pin_of(agent), remembered)
    before = sorted(other.root.rglob("*"))
    ran = recover(other, agent.repository, "--secrets", str(agent.root / "old-secrets.age"))
    assert ran.code == 31 and "has seen row 2" in ran.error["message"]
    assert sorted(other.root.rglob("*")) == before
    remembered.unlink()
    assert recover(other, agent.repository, "--secrets", str(agent.root / "old-secrets.age")).code == 0


def test_a_forked_ledger_stops_a_recovery_before_any_file_is_made(agent: Home) -> None:
    """A copy of the host went on by itself, and told another repository."""
    agent.must("repository", "add", "second", str(agent.root / "second"))
    keystore = agent.workspace / ".antsmem/keystore"
    shutil.copytree(keystore, agent.root / "keystore")
    shutil.copyfile(pin_of(agent), agent.root / "pin")
    agent.must("secret", "set", "one", stdin=b"x")
    agent.must("backup", "--repository", "default")
    shutil.rmtree(keystore)
    shutil.copytree(agent.root / "keystore", keystore)
    shutil.copyfile(agent.root / "pin", pin_of(agent))
    agent.must("secret", "set", "two", stdin=b"x")
    agent.must("backup", "--repository", "second")
    assert "two histories" in agent.must("secret", "verify", code=31).err
    other = machine(agent)
    before = sorted(other.root.rglob("*"))
    ran = recover(other, agent.repository, "--anchor", str(agent.root / "second"))
    assert ran.code == 31 and "two histories" in ran.error["message"]
    assert sorted(other.root.rglob("*")) == before


def test_a_waiver_and_the_secrets_go_on_after_a_recovery(agent: Home) -> None:
    leak = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi\n"
    (agent.workspace / "leak.md").write_text(leak)
    agent.must("backup", code=21)
    agent.must("waive", "leak.md", "--reason", "an example")
    agent.must("backup")
    other = machine(agent)
    assert recover(other, agent.repository, "--secrets", str(escrow(agent))).code == 0
    other.must("backup")
    other.must("secret", "set", "next", stdin=b"x")
    other.must("secret", "revoke", "token")
    other.must("backup")
    third = machine(agent)
    assert recover(third, agent.repository, "--secrets", str(escrow(other))).code == 0
    assert secrets(third) == {"token 1": "revoked", "next 1": "quarantined"}
    third.must("backup")


def test_the_escrow_that_this_machine_keeps_is_found(agent: Home) -> None:
    shutil.rmtree(agent.workspace)
    for path in (agent.home / ".config/antsmem/keys").iterdir():
        path.unlink()
    ran = recover(agent, agent.repository)
    assert [row["state"] for row in ran.document["secrets"]] == ["quarantined"]
