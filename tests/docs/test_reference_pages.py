"""Goal: the reference pages say exactly what the program does, no more and no less.

Method: commands, exit codes and JSON members are read from the pages and compared with the program: its parser,
its error tree, the documents that its commands print.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpora
import engines
import pytest
from program import DOCS, Terminal, commands, sections, table
from relays import RelayServer

from antsmem.cli.main import COMMANDS
from antsmem.core import errors
from antsmem.core.age import X25519Identity
from antsmem.core.errors import AntsmemError

CLI = (DOCS / "reference" / "cli.md").read_text("utf-8")
CODES = (DOCS / "reference" / "exit-codes.md").read_text("utf-8")
JSON = (DOCS / "reference" / "json.md").read_text("utf-8")


def error_classes(of: type[AntsmemError] = AntsmemError) -> Iterator[type[AntsmemError]]:
    for each in of.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from error_classes(each)


def test_the_page_of_commands_has_every_command_and_no_other() -> None:
    documented = [title for title in sections(CLI, "##") if title.startswith("antsmem")]
    assert documented == [name for name, _ in commands()]
    assert {name.split()[1] for name in documented} == set(COMMANDS)


@pytest.mark.parametrize(
    ("name", "command"), [*commands()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_page_of_commands_has_every_option_as_the_program_says_it(name: str, command: Any) -> None:
    section = sections(CLI, "##")[name]
    assert section.strip().startswith(command.help)
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == table(command)


def test_the_page_of_exit_codes_lists_every_error_with_its_code() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (yes|no) \| ", CODES, re.MULTILINE)
    actual = {(each.slug, str(each.exit_code), "yes" if each.transient else "no") for each in error_classes()}
    assert set(rows) == actual and len(rows) == len(actual)


def test_the_page_of_exit_codes_explains_every_code() -> None:
    explained = {
        int(code) for row in re.findall(r"^\| ([\d, ]+) \| ", CODES, re.MULTILINE) for code in row.split(",")
    }
    assert {each.exit_code for each in error_classes()} | {0, 1, 3, 5, 129, 130, 141, 143} == explained


def members(schema: str) -> dict[str, str]:
    """Member → type, of one schema of the page."""
    return dict(re.findall(r"^\| `(.+?)` \| (.+?) \|", sections(JSON, "###")[schema], re.MULTILINE))


def found(value: Any, known: dict[str, str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(member, value) of a document, named as the page names them."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = f"{prefix}.{key}" if prefix else key
            if any(row.startswith(f"{prefix}.*.") for row in known):
                yield from found(item, known, f"{prefix}.*")
            elif prefix in known and known[prefix] == "object" and name not in known:
                continue  # a map from names to plain values
            else:
                yield name, item
                yield from found(item, known, name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from found(item, known, f"{prefix}[]")


TYPES = {
    "text": str,
    "number": (int, float),
    "yes/no": bool,
    "list": list,
    "list of text": list,
    "list of [path, class]": list,
    "object": dict,
}


def fits(value: Any, kind: str) -> bool:
    allowed = kind.split(" or ")
    return any(value is None if each == "null" else isinstance(value, TYPES[each]) for each in allowed)


def ways_back(at: Terminal) -> list[dict[str, Any]]:
    """What guardians, a rotation and the end of an epoch print."""
    kit = ("--kit", "kit.txt")
    guardian = str(X25519Identity.generate().recipient)
    printed = [
        at.json("-C", "kevin", "recovery", "add-guardian", guardian, *kit),
        at.json("-C", "kevin", "recovery", "drill", *kit, code=3),
        at.json("-C", "kevin", "recovery", "show"),
        at.json("-C", "kevin", "identity", "rotate", *kit),
        at.json("-C", "kevin", "backup"),
        listed := at.json("-C", "kevin", "epoch", "list"),
    ]
    first, last = [row["name"] for row in listed["epochs"] if row["tier"] == "hot"]
    return [
        *printed,
        at.json("-C", "kevin", "epoch", "destroy", first, "--dry-run"),
        at.json("-C", "kevin", "epoch", "destroy", first, "--yes"),
        at.json("-C", "kevin", "keys", "rewrap", *kit),
        at.json("-C", "kevin", "keys", "rewrap", "--epoch", last, "--reseal"),
    ]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What every command prints with `--json` in the life of an agent, by schema."""
    home = tmp_path_factory.mktemp("home")
    workspace = home / "kevin"
    corpora.sample_agent(workspace)
    at = Terminal(home)
    printed = [
        at.json("init", "kevin", "--adopt", "--recovery-out", "kit.txt", "--repository", "stick/kevin"),
        at.json("-C", "kevin", "repository", "add", "nas", "./nas"),
        at.json("-C", "kevin", "repository", "list"),
        at.json("-C", "kevin", "repository", "init", "nas"),
        at.json("-C", "kevin", "repository", "test"),
        at.json("-C", "kevin", "log", "hello"),
    ]
    (home / "values.json").write_text('{"a": "1", "b": "2"}')
    printed += [
        at.json("-C", "kevin", "secret", "import", "values.json"),
        at.json("-C", "kevin", "secret", "revoke", "a"),
        at.json("-C", "kevin", "secret", "list"),
        at.json("-C", "kevin", "secret", "get", "b"),
    ]
    (workspace / "TOOLS.md").write_text(corpora.secret("token gh", "p_", "Zk7Qw2Lx9Rt4Vb8Nm1Hs6Jd3Fg5Pc0Ya2Ue7\n"))
    printed += [
        at.json("-C", "kevin", "backup", code=21),
        at.json("-C", "kevin", "scan", code=21),
        at.json("-C", "kevin", "waive", "TOOLS.md", "--reason", "a test"),
        at.json("-C", "kevin", "backup"),
        at.json("-C", "kevin", "backup", "--tier", "cold"),
    ]
    (workspace / "new.md").write_text("new\n")
    printed += [
        at.json("-C", "kevin", "backup"),
        listing := at.json("-C", "kevin", "snapshots"),
        at.json("-C", "kevin", "ls", "--path", "bin"),
        at.json("-C", "kevin", "find", "new.md"),
        at.json("-C", "kevin", "diff", listing["snapshots"][0]["id"]),
        at.json("-C", "kevin", "restore", listing["snapshots"][0]["id"], "--in-place", "--plan"),
        at.json("-C", "kevin", "restore", listing["snapshots"][0]["id"], "--in-place"),
        at.json("-C", "kevin", "check"),
        at.json("-C", "kevin", "prune"),
        at.json("-C", "kevin", "status"),
        at.json("-C", "kevin", "config", "show"),
        *guarded(at, workspace),
        *planned(at, workspace),
        *ways_back(at),
        *met(at),
        *effects(at),
        *wakes(at, workspace),
        *moved(at),
        *synced(at, workspace),
        at.json("recover", "again", "--kit", "kit.txt", "--repository", "./stick/kevin", "--instead"),
    ]
    by_schema: dict[str, list[dict[str, Any]]] = {}
    for document in printed:
        by_schema.setdefault(document.pop("schema"), []).append(document)
    return by_schema


def guarded(at: Terminal, workspace: Path) -> list[dict[str, Any]]:
    """What is printed about a memory that is lost, and brought back."""
    first = at.json("-C", "kevin", "doctor")
    memory = workspace / "MEMORY.md"
    memory.write_text("".join(f"- fact {number} of thing {number}\n" for number in range(50)))
    calls = [("guard", 0), ("watch --once --no-backup", 0), ("status", 3), ("guard", 3), ("history MEMORY.md", 0),
             ("history", 0), ("diff MEMORY.md", 0), ("undo MEMORY.md", 0), ("now --next x", 0)]  # fmt: skip
    printed = [first]
    for words, code in calls:
        printed.append(at.json("-C", "kevin", *words.split(), code=code))
        if len(printed) == 2:
            memory.write_text("- fact 1 of thing 1\n")
    return printed


def planned(at: Terminal, workspace: Path) -> list[dict[str, Any]]:
    """What is printed about a HEARTBEAT.md with something of everything."""
    (workspace / "HEARTBEAT.md").write_text(
        "- look\n## Around 9:00\n- a {every=1h\n- b {once}\n- c {every=09:00}\n#- d\n"
    )
    plan = at.json("-C", "kevin", "heartbeat", "plan", code=2)
    quiet = "---\nheartbeat: 1\nquiet: 22:00-07:00\n---\n- a {every=1h timeout=5m budget=1usd verify=x}\n"
    (workspace / "HEARTBEAT.md").write_text(quiet)
    return [plan, at.json("-C", "kevin", "heartbeat", "plan"), at.json("-C", "kevin", "heartbeat", "next")]


def effects(at: Terminal) -> list[dict[str, Any]]:
    """What is printed about effects."""
    calls = [
        ("once done true", 0), ("once failed /nowhere", 5), ("once unknown false", 3), ("heartbeat log", 0),
        ("heartbeat resolve unknown done", 0), ("heartbeat retire", 0), ("heartbeat take-over --old-host-off", 0),
        ("heartbeat install --cron", 0), ("once asked false", 3), ("heartbeat status", 3),
    ]  # fmt: skip
    return [at.json("-C", "kevin", *words.split(), code=code) for words, code in calls] + turns(at)


def turns(at: Terminal) -> list[dict[str, Any]]:
    """What is printed to and about an agent, also within its turn."""
    workspace = at.home / "kevin"
    program = at.home / "agent"
    program.write_text(
        "#!/bin/sh\necho what I know | antsmem --json compact > compact\n"
        'antsmem --json report "$ANTSMEM_KEY" blocked --note "which one?" > report\n'
    )
    program.chmod(0o755)
    operator = at.home / ".config/antsmem/config.yaml"
    before = operator.read_text() if operator.exists() else ""
    operator.write_text(f"agent:\n  preset: shell\n  command: [{program}]\n")
    (workspace / "HEARTBEAT.md").write_text("- look {id=look every=1h}\n")
    soul = (workspace / "SOUL.md").read_bytes()
    (workspace / "SOUL.md").write_text(corpora.secret("gh", "p_", "Zk7Qw2Lx9Rt4Vb8Nm1Hs6Jd3Fg5Pc0Ya2Ue7\n"))
    (workspace / "NOW.md").unlink(missing_ok=True)
    (workspace / "NOW.md").mkdir()
    printed = [at.json("-C", "kevin", "wake", "--tokens", "1000")]
    at.run("-C", "kevin", "heartbeat", code=3)
    printed += [json.loads((workspace / name).read_text()) for name in ("compact", "report")]
    printed += [at.json("-C", "kevin", "heartbeat", "log"), at.json("-C", "kevin", "heartbeat", "doctor", code=3)]
    operator.write_text(before)
    (workspace / "NOW.md").rmdir()
    (workspace / "SOUL.md").write_bytes(soul)
    return printed


def wakes(at: Terminal, workspace: Path) -> list[dict[str, Any]]:
    """What is printed by wakes: something that is held, something that is skipped."""
    (at.home / ".config/antsmem/config.yaml").write_text('heartbeat:\n  allow:\n    - "*"\n')
    (workspace / "HEARTBEAT.md").write_text(
        "- run: false {id=a every=1h}\n- run: false {id=b every=1h effect=pure}\n"
    )
    first = at.json("-C", "kevin", "heartbeat", code=3)
    for _ in range(5):
        at.run("-C", "kevin", "heartbeat", "run", "b", code=5)
    broken = at.json("-C", "kevin", "heartbeat", "status", code=3)
    (workspace / "HEARTBEAT.md").write_text("- run: true {id=c every=1h}\n")
    calls = ["heartbeat pause c", "heartbeat resume c", "heartbeat approve"]
    second = at.json("-C", "kevin", "heartbeat", code=3)
    return [first, broken, second, *(at.json("-C", "kevin", *words.split()) for words in calls)]


def moved(at: Terminal) -> list[dict[str, Any]]:
    """What is printed about a planned move, and about a test of the unplanned one."""
    offer = at.json("migrate", "prepare", "--host", "desktop", "--out", "offer")
    words = ("-C", "moving", "migrate", "finish", "offer", "--code", offer["code"], "--kit", "moving-kit")
    at.run("init", "moving", "--recovery-out", "moving-kit")
    tested = at.json("-C", "moving", "migrate-test")
    finished = at.json(*words, "--out", "parcel")
    return [tested, offer, finished, at.json("migrate", "accept", "moved", "parcel")]


def synced(at: Terminal, workspace: Path) -> list[dict[str, Any]]:
    """What is printed about the shared memory. A device that forgets who it is and what it knew is another one."""
    calls = ["backend add embedded shared", "backend list", "backend init", "backend test"]
    printed = [at.json("-C", "kevin", *words.split()) for words in calls]
    (workspace / "photo.bin").write_bytes(b"\0 1")
    printed.append(at.json("-C", "kevin", "sync", "push"))
    (workspace / "photo.bin").write_bytes(b"\0 2")
    printed.append(at.json("-C", "kevin", "sync"))
    tail = at.json("-C", "kevin", "events", "tail", "--last", "1000")
    old = next(row["id"] for row in tail["events"] if row["path"] == "photo.bin")
    next(at.home.glob(".local/state/antsmem/*/device.json")).unlink()
    shutil.rmtree(workspace / ".antsmem/cache")
    (workspace / "photo.bin").write_bytes(b"\0 3")
    calls = ["sync", "sync status", "sync conflicts", "sync resolve photo.bin", f"events redact {old}", "sync"]
    calls += ["backend status", "backend rebuild", "events verify", "events replay --until 0m --into then"]
    return [*printed, tail, *(at.json("-C", "kevin", *words.split()) for words in calls)]


def met(at: Terminal) -> list[dict[str, Any]]:
    """What is printed about a relay."""
    relay = engines.started(RelayServer("--json"))
    try:
        move = ["identity", "move", "--relay", relay.url, "--kit", "kit.txt", "--handle", "kevin"]
        printed = [
            at.json("-C", "kevin", *words) for words in (move, ["identity", "show"], ["identity", "verify"])
        ]
        to = printed[1]["scid"]
        for words in (
            "identity export --out b",
            "relay register",
            "relay status",
            f"relay send {to} x",
            "relay inbox",
        ):
            printed.append(at.json("-C", "kevin", *words.split()))
        return [*printed, json.loads(relay.log()), at.json("-C", "kevin", "backup")]
    finally:
        relay.close()


def test_the_page_of_json_has_every_schema_and_no_other(documents: dict[str, list[dict[str, Any]]]) -> None:
    assert set(sections(JSON, "###")) == set(documents)


def test_the_page_of_json_has_every_member_with_its_type(documents: dict[str, list[dict[str, Any]]]) -> None:
    for schema, printed in documents.items():
        known = members(schema)
        seen = [pair for document in printed for pair in found(document, known)]
        assert {name for name, _ in seen} == set(known), schema
        assert [(name, value) for name, value in seen if not fits(value, known[name])] == [], schema


def test_a_member_that_the_page_lacks_is_noticed() -> None:
    known = {"a": "list", "a[].b": "text"}
    assert [name for name, _ in found({"a": [{"b": "", "c": 1}]}, known)] == ["a", "a[].b", "a[].c"]
    assert not fits(1, "text") and fits(None, "text or null") and not fits("1", "number or null")
