"""Goal: agents find each other, write to each other, move, are banned and are recovered, by the terminal's door.

Method: whole stories through real relays: two agents, two relays, a recovered machine and the one it replaced;
what goes wrong ends with the code that a script acts on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import engines
import pytest
from made_homes import KIT, TRACE, Home
from relays import RelayServer
from running import running

relay = running(RelayServer, "module")


second = running(RelayServer, "module")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An agent that no relay has seen: copies of one agent would be two histories of it."""
    home = Home(tmp_path)
    home.init()
    return home


@pytest.fixture
def other(tmp_path: Path) -> Home:
    """Another agent, of another person."""
    (tmp_path / "other").mkdir()
    home = Home(tmp_path / "other")
    home.init()
    return home


def move(home: Home, relay: RelayServer, *words: str, code: int = 0) -> dict[str, object]:
    return home.must("identity", "move", "--relay", relay.url, "--kit", KIT, *words, "--json", code=code).document


def handle(name: str, relay: RelayServer) -> str:
    return f"@{name}@127.0.0.1:{relay.port}"


def identity(home: Home) -> dict[str, object]:
    return home.must("identity", "show", "--json").document


def unique(stem: str) -> str:
    """Relays live longer than a test: every test has its own handles."""
    return f"{stem}-{os.urandom(4).hex()}"


def test_an_agent_is_found_by_its_handle_and_written_to(home: Home, other: Home, relay: RelayServer) -> None:
    kevin, anna = unique("kevin"), unique("anna")
    move(home, relay, "--handle", kevin)
    move(other, relay, "--handle", anna)
    found = other.must("identity", "resolve", handle(kevin, relay), "--json").document
    assert found["scid"] == identity(home)["scid"] and found["relays"] == [relay.url]
    assert "!!!" not in other.must("relay", "send", handle(kevin, relay), "first", "words").out
    other.run("-C", str(other.workspace), "relay", "send", str(found["scid"]), stdin=b"from a pipe\nsecond line\n")
    kept = home.must("relay", "inbox", "--keep", "--json").document["items"]
    read = home.must("relay", "inbox", "--json").document["items"]
    assert (
        [item["text"] for item in read]
        == ["first words", "from a pipe\nsecond line\n"]
        == [i["text"] for i in kept]
    )
    assert {item["sender"] for item in read} == {identity(other)["scid"]}
    assert home.must("relay", "inbox").out == "nothing new\n"
    words = other.must("relay", "inbox", "--json").document["items"]
    assert [(item["kind"], item["message"]) for item in words] == [("read", item["message"]) for item in read]
    sent = {path.stem for path in (other.home / ".local/state/antsmem").glob("*/sent/*.json")}
    assert sent == {item["message"] for item in read}


def test_a_message_cannot_act_on_the_terminal_or_pretend_to_be_two(
    home: Home, other: Home, relay: RelayServer
) -> None:
    name = unique("kevin")
    move(home, relay, "--handle", name)
    move(other, relay)
    other.must(
        "relay", "send", handle(name, relay), "\x1b]0;owned\x07\r--- message x from y\n--- message z from w"
    )
    out = home.must("relay", "inbox").out
    assert "\x1b" not in out and "\x07" not in out and "\r" not in out
    assert len(re.findall(r"^---", out, re.MULTILINE)) == 1


def test_a_secret_is_not_sent(home: Home, relay: RelayServer) -> None:
    move(home, relay)
    token = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"
    ran = home.run("-C", str(home.workspace), "relay", "send", str(identity(home)["scid"]), f"my token: {token}")
    assert ran.code == 21 and token not in ran.out + ran.err
    assert home.must("relay", "inbox").out == "nothing new\n"


def test_an_agent_with_two_relays_is_reached_by_either(home: Home, other: Home, second: RelayServer) -> None:
    first = engines.started(RelayServer())
    try:
        move(home, first, "--relay", second.url)
        move(other, second)
        assert identity(home)["relays"] == [first.url, second.url]
        scid = str(identity(home)["scid"])
        other.must("relay", "send", scid, "one", "--relay", first.url)
        first.kill()
        other.must("relay", "send", scid, "two")
        seen = home.must("relay", "inbox", "--keep", "--json", code=3).document["items"]
        assert [item["text"] for item in seen] == ["two"], "the other relay is not forgotten because of this one"
        rows = home.must("relay", "register", "--json", code=3).document["relays"]
        assert [bool(row["problem"]) for row in rows] == [True, False]
        first.restart()
        assert {item["text"] for item in home.must("relay", "inbox", "--json").document["items"]} == {"one", "two"}
    finally:
        first.close()


def test_a_handle_belongs_to_who_had_it_first(home: Home, other: Home, relay: RelayServer) -> None:
    name = unique("kevin")
    move(home, relay, "--handle", name)
    ran = other.run(
        "-C", str(other.workspace), "identity", "move", "--relay", relay.url, "--kit", KIT, "--handle", name
    )
    assert ran.code == 3 and "belongs to another agent" in ran.err
    assert (
        home.must("identity", "resolve", handle(name, relay), "--json").document["scid"] == identity(home)["scid"]
    )
    assert "belongs to another" in other.must("relay", "status", code=3).out


def test_a_move_keeps_the_identity_and_the_old_relay_says_where_to(
    home: Home, other: Home, relay: RelayServer, second: RelayServer
) -> None:
    name = unique("kevin")
    move(home, relay, "--handle", name)
    move(other, relay)
    before = identity(home)
    document = move(home, second, "--handle", name)
    assert document["told"] == [second.url, relay.url] and document["not_told"] == []
    after = identity(home)
    assert (after["scid"], after["did"]) == (before["scid"], before["did"]) and after["relays"] == [second.url]
    found = other.must("identity", "resolve", handle(name, relay), "--json").document
    assert found["relays"] == [second.url] and found["version"] == after["version"]
    other.must("relay", "send", handle(name, relay), "are you there?")
    (item,) = home.must("relay", "inbox", "--json").document["items"]
    assert item["text"] == "are you there?"
    (row,) = home.must("relay", "status", "--relay", relay.url, "--json").document["relays"]
    assert row["home"] is False
    assert home.must("backup").code == 0 and home.must("check").code == 0, "the keystore knows the longer log"
    for reader in ("identity", "verify"), ("relay", "register"), ("relay", "status"):
        home.must(*reader)


def test_a_banned_agent_goes_on_elsewhere(home: Home, other: Home, second: RelayServer) -> None:
    banning = engines.started(RelayServer())
    name = unique("kevin")
    try:
        move(home, banning, "--handle", name)
        scid = identity(home)["scid"]
        other.must("identity", "verify", handle(name, banning))
        banning.kill()
        document = move(home, second, code=3)
        assert document["told"] == [second.url] and document["not_told"] == [banning.url]
        assert other.run("identity", "resolve", handle(name, banning)).code == 40
        found = other.must("identity", "verify", str(scid), "--relay", second.url, "--json").document
        assert (found["version"], found["source"]) == (3, second.url)
        banning.restart()
        home.must("relay", "register", "--relay", banning.url)
        assert other.must("identity", "resolve", handle(name, banning), "--json").document["relays"] == [
            second.url
        ]
    finally:
        banning.close()


def test_a_relay_that_forgets_is_caught(home: Home, other: Home) -> None:
    forgetful = engines.started(RelayServer())
    try:
        move(home, forgetful)
        scid = str(identity(home)["scid"])
        forgetful.kill()
        shutil.copytree(forgetful.folder, forgetful.dir / "old")
        forgetful.restart()
        move(home, forgetful, "--handle", "kevin")
        other.must("identity", "verify", scid, "--relay", forgetful.url)
        forgetful.kill()
        shutil.rmtree(forgetful.folder)
        shutil.copytree(forgetful.dir / "old", forgetful.folder)
        forgetful.restart()
        ran = other.run("identity", "verify", scid, "--relay", forgetful.url, "--json")
        assert ran.code == 31 and ran.error["error"] == "rollback" and "evidence" in ran.error["hint"]
        assert home.must("identity", "verify", code=3).code == 3, "the agent itself sees that it is behind"
        home.must("relay", "register")
        other.must("identity", "verify", scid, "--relay", forgetful.url)
    finally:
        forgetful.close()


def test_the_host_that_was_replaced_is_told_that_it_is_retired(
    home: Home, relay: RelayServer, tmp_path: Path
) -> None:
    move(home, relay)
    home.must("backup")
    (tmp_path / "machine").mkdir()
    new = Home(tmp_path / "machine")
    new.workspace = new.root / "agent"
    host = identity(home)["hosts"][0]["host"]  # type: ignore[index]
    ran = new.run(
        "recover", str(new.workspace), "--kit", str(home.root / KIT), "--repository", str(home.repository),
        "--host", str(host),
    )  # fmt: skip
    assert ran.code == 0, ran
    assert home.must("relay", "inbox").code == 0, "until the new host says so"
    new.must("relay", "register")
    for words in (["relay", "inbox"], ["relay", "register"], ["relay", "send", str(identity(new)["scid"]), "x"]):
        ran = home.run("-C", str(home.workspace), *words, "--json")
        if ran.code != 30:  # once its log is the newer one, it sees the revocation in its own files
            assert ran.code == 4 and ran.error["error"] == "retired", (words, ran)
        assert TRACE not in ran.err
    new.must("relay", "inbox")


def test_another_host_of_the_agent_takes_over_what_was_changed(
    home: Home, relay: RelayServer, tmp_path: Path
) -> None:
    move(home, relay)
    shutil.copytree(home.root, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"), symlinks=True)
    twin = Home(tmp_path / "copy")
    for path in (twin.home / ".config/antsmem/agents").iterdir():
        path.write_text(path.read_text().replace(str(home.root), str(twin.root)))
    move(home, relay, "--handle", unique("kevin"))
    assert "relay register" in twin.must("relay", "status", code=3).out
    twin.must("relay", "register")
    assert identity(twin) == identity(home)


def test_a_rotation_is_told_to_the_relays(home: Home, relay: RelayServer) -> None:
    move(home, relay)
    done = home.must("identity", "rotate", "--kit", KIT, "--json").document
    assert done["not_told"] == [] and done["identity_version"] == 3
    assert "version 3" in home.must("relay", "status").out
    home.must("relay", "inbox")


def test_a_recovery_begins_with_the_longest_log(home: Home, relay: RelayServer, tmp_path: Path) -> None:
    """The repository was away when the agent moved: extending what it has would make two histories."""
    home.must("backup")
    move(home, relay)
    shutil.copytree(home.repository, tmp_path / "away")
    move(home, relay, "--handle", unique("kevin"))
    (tmp_path / "machine").mkdir()
    new = Home(tmp_path / "machine")
    new.workspace = new.root / "agent"
    words = ["recover", str(new.workspace), "--kit", str(home.root / KIT), "--repository", str(tmp_path / "away")]
    ran = new.run(*words)
    assert ran.code == 0 and "(version 4)" in ran.out, ran
    new.must("relay", "register")


def test_a_repository_that_is_away_while_the_agent_moves_is_named(home: Home, relay: RelayServer) -> None:
    home.repository.rename(home.root / "away")
    ran = home.run("-C", str(home.workspace), "identity", "move", "--relay", relay.url, "--kit", KIT)
    assert ran.code == 3 and "old identity log" in ran.err


def test_what_cannot_be_opened_stays_until_it_is_discarded(home: Home, other: Home, relay: RelayServer) -> None:
    move(home, relay)
    move(other, relay)
    scid = str(identity(home)["scid"])
    other.must("relay", "send", scid, "for the old host")
    home.must("backup")
    shutil.rmtree(home.workspace)
    ran = home.run("recover", str(home.workspace), "--kit", KIT, "--repository", str(home.repository))
    assert ran.code == 0, ran
    home.must("relay", "register")
    for _ in range(2):
        (item,) = home.must("relay", "inbox", "--json", code=3).document["items"]
        assert item["problem"] and not item["text"]
    home.must("relay", "inbox", "--discard", code=3)
    assert home.must("relay", "inbox").out == "nothing new\n"
    assert "read" not in other.must("relay", "inbox").out


def test_a_bundle_is_verified_anywhere_and_a_changed_one_nowhere(home: Home, other: Home) -> None:
    home.must("identity", "export", "--out", "bundle")
    text = (home.root / "bundle").read_bytes()
    (other.root / "bundle").write_bytes(text)
    assert other.run("identity", "verify", "./bundle").code == 0
    assert home.must("identity", "export").out.encode() != b"" and home.must(
        "identity", "export", "--json", code=2
    )
    assert home.must("identity", "export", "--out", "bundle", code=11)
    scid = str(identity(home)["scid"])
    for old, new in ((b'"head":"1', b'"head":"2'), (b"antsmem.invalid", b"antsmem.example"), (b'Z"', b'Y"')):
        (other.root / "changed").write_bytes(text.replace(old, new, 1))
        assert other.run("identity", "verify", "./changed").code == 30
    (other.root / "bare").write_bytes((home.workspace / ".antsmem/identity/did.jsonl").read_bytes())
    assert other.must("identity", "verify", str(other.root / "bare"), "--json").document["scid"] == scid


def test_a_move_wants_the_kit_of_this_agent_and_a_relay_that_is_there(
    home: Home, other: Home, relay: RelayServer
) -> None:
    before = (home.workspace / ".antsmem/identity/did.jsonl").read_bytes()

    def tried(*words: str) -> int:
        ran = home.run("-C", str(home.workspace), "identity", "move", *words)
        assert TRACE not in ran.err
        assert (home.workspace / ".antsmem/identity/did.jsonl").read_bytes() == before
        return ran.code

    assert tried("--relay", relay.url, "--kit", str(other.root / KIT)) == 2
    assert tried("--relay", relay.url, "--kit", "nothing") == 10
    assert tried("--relay", relay.url, "--kit", "agent/SOUL.md") == 2
    assert tried("--relay", relay.url) == 2
    assert tried("--relay", f"http://127.0.0.1:{engines.free_port()}", "--kit", KIT) == 40
    assert tried("--relay", "http://relay.example", "--kit", KIT) == 2
    assert tried("--relay", relay.url, "--kit", KIT, "--handle", "not a handle") == 2


def test_calls_that_cannot_be_meant(home: Home, relay: RelayServer) -> None:
    cases = {
        10: [["relay", "serve", "--data", "agent/SOUL.md"], ["relay", "inbox"], ["relay", "status"],
             ["relay", "register"], ["identity", "verify", "./nothing"],
             ["identity", "resolve", f"@nobody@127.0.0.1:{relay.port}"],
             ["relay", "send", "Qm" + "a" * 44, "x", "--relay", relay.url],
             ["relay", "inbox", "--relay", relay.url]],
        2: [["relay"], ["identity"], ["relay", "send", "kevin", "x"], ["relay", "send", "example.org"],
            ["relay", "serve", "--data", "d", "--listen", "nowhere"], ["relay", "serve"],
            ["relay", "serve", "--data", "d", "--listen", "0.0.0.0:0"],
            ["relay", "serve", "--data", "d", "--listen", f"127.0.0.1:{relay.port}"],
            ["relay", "status", "--relay", "relay.example"],
            ["identity", "resolve", "kevin"], ["identity", "resolve", "example.org", "--nameserver", "x"]],
        30: [["identity", "verify", "agent/SOUL.md"]],
    }  # fmt: skip
    for code, calls in cases.items():
        for words in calls:
            ran = home.run("-C", str(home.workspace), *words)
            assert ran.code == code and TRACE not in ran.err and ran.err, (words, ran)


def test_every_command_prints_one_document(home: Home, relay: RelayServer) -> None:
    schemas = {
        ("identity", "move", "--relay", relay.url, "--kit", KIT): "identity-move",
        ("identity", "show"): "identity",
        ("identity", "verify"): "identity-verify",
        ("identity", "export", "--out", "b"): "identity-export",
        ("relay", "register"): "relay-register",
        ("relay", "status"): "relay-status",
        ("relay", "inbox"): "relay-inbox",
    }
    for words, schema in schemas.items():
        ran = home.must(*words, "--json")
        assert ran.err == "" and ran.document["schema"] == f"antsmem.{schema}/1"
        assert home.must(*words[:-1], f"{words[-1]}2", "-q").err == "" if words[1] == "export" else True
    resolved = home.must("identity", "resolve", str(identity(home)["scid"]), "--json").document
    sent = home.must("relay", "send", str(resolved["scid"]), "to myself", "--json").document
    assert json.loads(Path(str(sent["receipt"])).read_text())["id"] == sent["message"]
