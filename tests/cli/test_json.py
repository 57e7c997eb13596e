"""Goal: a program that reads antsmem's JSON never meets anything else.

Method: every command runs with `--json`; stdout is one document of the schema that belongs to it, stderr is empty
or one error; odd names, warnings and failures change nothing about that.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_homes import KIT, TRACE, Home

from antsmem.cli.main import COMMANDS
from antsmem.core.age import X25519Identity

GUARDIAN = str(X25519Identity.generate().recipient)
WORDS: dict[str, tuple[list[str], str]] = {
    "init": (["init", "other", "--recovery-out", "other-kit"], "init"),
    "backup": (["backup"], "backup"),
    "backup cold": (["backup", "--tier", "cold"], "backup"),
    "snapshots": (["snapshots"], "snapshots"),
    "restore": (["restore", "--to", "there"], "restore"),
    "restore in place": (["restore", "--in-place"], "restore"),
    "restore plan": (["restore", "--plan"], "restore-plan"),
    "recover": (["recover", "new", "--kit", KIT, "--repository", "REPOSITORY", "--instead"], "recover"),
    "check": (["check", "--read-data"], "check"),
    "check repair": (["check", "--repair"], "check"),
    "prune": (["prune"], "prune"),
    "forget": (["forget", "OLDEST"], "prune"),
    "ls": (["ls"], "ls"),
    "find": (["find", "*.md"], "find"),
    "diff": (["diff", "OLDEST"], "diff"),
    "repository add": (["repository", "add", "second", "second"], "repository-add"),
    "repository list": (["repository", "list"], "repository-list"),
    "repository init": (["repository", "init", "default"], "repository-init"),
    "repository test": (["repository", "test"], "repository-test"),
    "secret set": (["secret", "set", "new"], "secret"),
    "secret get": (["secret", "get", "old"], "secret-get"),
    "secret list": (["secret", "list"], "secret-list"),
    "secret rotate": (["secret", "rotate", "old"], "secret"),
    "secret revoke": (["secret", "revoke", "old"], "secret"),
    "secret destroy": (["secret", "destroy", "old"], "secret"),
    "secret verify": (["secret", "verify"], "secret"),
    "secret import": (["secret", "import"], "secret"),
    "waive": (["waive", "leak.md", "--reason", "an example"], "waive"),
    "scan": (["scan"], "scan"),
    "log": (["log", "something happened"], "log"),
    "now": (["now", "--next", "go on"], "now"),
    "guard": (["guard"], "guard"),
    "history": (["history"], "history"),
    "undo": (["undo", "MEMORY.md", "--to", "HEAD"], "undo"),
    "watch": (["watch", "--once", "--no-backup"], "watch"),
    "doctor": (["doctor"], "doctor"),
    "status": (["status"], "status"),
    "once": (["once", "key", "--", "true"], "once"),
    "heartbeat": (["heartbeat", "plan"], "heartbeat-plan"),
    "heartbeat status": (["heartbeat", "status"], "heartbeat-status"),
    "heartbeat install": (["heartbeat", "install", "--cron"], "heartbeat-install"),
    "wake": (["wake"], "wake"),
    "compact": (["compact"], "compact"),
    "heartbeat wake": (["heartbeat"], "heartbeat-wake"),
    "heartbeat approve": (["heartbeat", "approve"], "heartbeat-approve"),
    "heartbeat next": (["heartbeat", "next"], "heartbeat-next"),
    "sync": (["sync"], "sync"),
    "sync push": (["sync", "push"], "sync"),
    "sync pull": (["sync", "pull"], "sync"),
    "sync status": (["sync", "status"], "sync-status"),
    "sync conflicts": (["sync", "conflicts"], "sync-conflicts"),
    "backend": (["backend", "add", "embedded", "place"], "backend-add"),
    "backend list": (["backend", "list"], "backend-list"),
    "events": (["events", "tail"], "events-tail"),
    "events verify": (["events", "verify"], "events-verify"),
    "events replay": (["events", "replay", "--until", "1h", "--into", "then"], "events-replay"),
    "config": (["config", "show", "--origin"], "config"),
    "identity rotate": (["identity", "rotate", "--kit", KIT], "identity-rotate"),
    "recovery show": (["recovery", "show"], "recovery-show"),
    "recovery add-guardian": (["recovery", "add-guardian", GUARDIAN, "--kit", KIT], "recovery-guardians"),
    "epoch list": (["epoch", "list"], "epoch-list"),
    "keys rewrap": (["keys", "rewrap", "--kit", KIT], "keys-rewrap"),
    "identity": (["identity", "show"], "identity"),
    "migrate": (["migrate", "prepare"], "migrate-prepare"),
    "migrate-test": (["migrate-test"], "migrate-test"),
    "identity verify": (["identity", "verify"], "identity-verify"),
}


@pytest.fixture
def lived(home: Home) -> Home:
    """An agent with two snapshots and odd names."""
    (home.workspace / "two\nlines.md").write_text("odd\n")
    (home.workspace / os.fsdecode(b"not-utf8-\xff.md")).write_text("odd\n")
    home.must("backup")
    (home.workspace / "MEMORY.md").write_text("changed\n")
    home.must("backup")
    return home


@pytest.mark.parametrize("name", WORDS)
def test_a_command_prints_one_document_of_its_schema(lived: Home, name: str) -> None:
    words, schema = WORDS[name]
    ids = lived.ids
    if name == "waive":
        (lived.workspace / "leak.md").write_text("gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi\n")
    words = [{"REPOSITORY": str(lived.repository), "OLDEST": ids[0]}.get(word, word) for word in words]
    if words[0] == "undo":
        lived.must("history")
    if words[0] == "secret":
        lived.must("secret", "set", "old", stdin=b"not a secret")
    ran = lived.run("--json", "-C", str(lived.workspace), *words, stdin=b"NAME=value\n")
    assert ran.code == 0, ran
    assert ran.err == "", "nothing but the document"
    assert ran.document["schema"] == f"antsmem.{schema}/1"
    assert TRACE not in ran.out


def test_every_command_is_among_them() -> None:
    """`show`, `exec` and `secret resolve` print what is not ours, whatever the options: they have no document.
    `relay` needs one that runs, `report` a turn that is under way."""
    known = {name.split()[0] for name in WORDS} | {"show", "exec", "secret", "relay", "report"}
    assert known == set(COMMANDS)


def test_what_the_document_says_is_what_happened(lived: Home) -> None:
    (row,) = lived.must("backup", "--json").document["snapshots"]
    listed = lived.must("snapshots", "--json").document["snapshots"]
    assert row["snapshot"] == listed[-1]["id"] and row["files"] == listed[-1]["files"]
    assert row["left_out"] == {"secret": 1} and row["warnings"] == []
    paths = [entry["path"] for entry in lived.must("ls", "--json").document["entries"]]
    assert "two\\0012lines.md" in paths and "not-utf8-\\0377.md" in paths
    (found,) = lived.must("find", "MEMORY.md", "--json").document["versions"][:1]
    assert found["first"] == listed[0]["id"]
    changes = lived.must("diff", listed[0]["id"], "--json").document["changes"]
    assert {"sign": "M", "path": "MEMORY.md"} in changes


def test_a_path_that_is_no_utf8_is_valid_json_and_comes_back(lived: Home) -> None:
    target = os.fsdecode(b"back-\xff")
    document = lived.must("restore", "--to", target, "--json").document
    assert os.fsencode(document["target"]) == b"back-\xff"
    assert (lived.root / target / "SOUL.md").exists()


def test_warnings_are_in_the_document_and_not_beside_it(lived: Home) -> None:
    (lived.workspace / "memory.db").write_bytes(b"SQLite format 3\0".ljust(4096, b"x"))
    ran = lived.run("-C", str(lived.workspace), "backup", "--json")
    assert ran.code == 3 and ran.err == ""
    assert "memory.db" in ran.document["snapshots"][0]["warnings"][0]


def test_a_check_that_finds_something_prints_its_result_and_its_error(lived: Home) -> None:
    pack = next((lived.repository / "packs").iterdir())
    pack.write_bytes(b"damaged")
    ran = lived.run("-C", str(lived.workspace), "check", "--json")
    assert ran.code == ran.error["exit_code"] == 30
    assert ran.document["repositories"][0]["problems"]
    assert pack.stem in ran.document["repositories"][0]["damaged"]


def test_a_wrong_call_is_an_error_in_json_too(home: Home) -> None:
    for words in (
        ["backup", "--nope"],
        ["nope"],
        ["restore", "--at"],
        ["check", "--sample", "x"],
        ["forget"],
        ["-C"],
    ):
        ran = home.run("--json", *words)
        assert ran.code == 2 and ran.out == "", (words, ran)
        assert ran.error["error"] == "usage" and ran.error["hint"]


def test_several_repositories_fail_and_succeed_in_one_document(lived: Home) -> None:
    lived.must("repository", "add", "second", "second")
    (lived.root / "second/repository.json").write_bytes(b"{}")
    ran = lived.run("-C", str(lived.workspace), "backup", "--json")
    assert ran.code == 3
    assert len(ran.document["snapshots"]) == 1 and "second" in ran.document["failed"]
    assert ran.error["error"] == "integrity"


def test_show_prints_the_file_itself(lived: Home, tmp_path: Path) -> None:
    ran = lived.must("show", "latest:MEMORY.md", "--json")
    assert ran.out == "changed\n"
    with pytest.raises(json.JSONDecodeError):
        json.loads(ran.out)
