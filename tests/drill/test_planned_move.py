"""Goal: a planned move ends with exactly one host, whatever goes wrong, and no key crosses on the way.

Method: two homes, two users, two network namespaces joined by a cable on which every packet is kept; offers and
parcels that are wrong, changed, for another host; a move that is cut off.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from tempfile import mkdtemp
from typing import NoReturn

import pytest
from far_machines import NOBODY
from made_homes import KIT, TRACE, Home

import antsmem
from antsmem.cli.commands import migrate
from antsmem.core.errors import AntsmemError, DiskError
from antsmem.drill.namespace import require_namespaces
from antsmem.drill.tree import look
from antsmem.identity.handover import code_of, is_handed_over, read_offer

PARTS = [each.name for each in walk_packages(antsmem.__path__, "antsmem.")]
LOADED = [
    *(
        "ctypes",
        "encodings.ascii",
        "encodings.latin_1",
        "encodings.utf_16_le",
        "encodings.utf_16_be",
        "getpass",
        "resource",
        "linecache",
        "tokenize",
    ),
    "tarfile",
    "zstandard",
    "ahocorasick_rs",
    "blake3",
    *(name for name in PARTS if "__main__" not in name and ".drivers." not in name),
]


@pytest.fixture
def new(tmp_path: Path, home: Home) -> Home:
    """Another machine, which has made an offer."""
    found = Home(tmp_path / "new")
    assert found.run("migrate", "prepare", "--host", "newbox", "--out", "offer").code == 0
    return found


def finished(home: Home, new: Home, out: str = "parcel") -> None:
    """The old machine's part."""
    offer = new.root / "offer"
    words = ("--code", code_of(offer.read_bytes()), "--kit", KIT, "--out", out)
    home.must("migrate", "finish", str(offer), *words)


def test_the_agent_goes_on_where_it_moved_to_and_only_there(home: Home, new: Home) -> None:
    home.must("secret", "set", "token", stdin=b"a value that moves")
    finished(home, new)
    assert home.must("backup", code=4).err.startswith("antsmem: the op key of host")
    home.must("once", "other", "--", "true", code=4)
    ran = new.run("migrate", "accept", str(new.workspace), str(home.root / "parcel"), "--json")
    assert ran.code == 0 and (ran.document["host"], ran.document["epoch"]) == ("newbox", 1)
    assert new.must("secret", "get", "token").out == "a value that moves"
    assert "not run again" in new.must("once", "letter", "--", "true").err
    new.must("once", "other", "--", "true")
    new.must("backup")
    assert new.must("check", "--read-data").out.endswith("no problem found\n")
    hosts = new.must("identity", "show", "--json").document["hosts"]
    assert [row["host"] for row in hosts if not row["until"]] == ["newbox"]
    assert not list((new.home / ".config/antsmem/moves").iterdir()), "the offer is used up"


def files_of(home: Home) -> dict[bytes, str]:
    """Every file of the agent, and what is in it; what is derived and locks do not count."""
    files = {path: seen.content for path, seen in look(home.workspace).items() if seen.kind == "file"}
    return {path: said for path, said in files.items() if b"/cache/" not in path and not path.endswith(b".lock")}


WRITING = [
    ("log", "more"), ("now", "--objective", "x"), ("compact",), ("undo", "MEMORY.md"), ("watch", "--once"),
    ("guard", "accept", "SOUL.md"), ("waive", "MEMORY.md:1", "--reason", "x"), ("scan", "--remember"), ("sync",),
    ("once", "other", "--", "true"), ("report", "letter", "done"), ("secret", "set", "more"), ("backup",),
    ("heartbeat",), ("heartbeat", "pause", "task"), ("heartbeat", "resume", "task"), ("heartbeat", "approve"),
    ("heartbeat", "resolve", "letter", "done"),
]  # fmt: skip


def test_a_host_that_has_retired_writes_nothing_and_can_still_be_read(home: Home, new: Home) -> None:
    home.must("guard")
    finished(home, new)
    soul = home.workspace / "SOUL.md"
    soul.write_text("# Soul\n\nAnother one than it was, in words that nobody had said before.\n")
    before = files_of(home)
    for words in WRITING:
        ran = home.must(*words, code=4, stdin=b"text")
        assert TRACE not in ran.err and "→" in ran.err, words
    assert files_of(home) == before
    for words, code in ((("now",), 0), (("guard",), 3), (("history",), 0), (("diff", "SOUL.md"), 0)):
        home.must(*words, code=code)
    assert "is on host `newbox`" in home.must("log", "more", code=4).err
    (home.workspace / ".antsmem/keystore/retired").unlink()
    home.must("log", "control: the mark is what is looked at")


def test_a_watch_ends_when_the_agent_moves_away(home: Home, new: Home) -> None:
    with home.start("", "watch", "--no-backup") as process:
        assert process.stderr is not None and "watching" in process.stderr.readline()
        finished(home, new)
        (home.workspace / "MEMORY.md").write_text("one more")
        assert process.wait(60) == 4


def test_an_offer_without_its_code_gets_nothing(home: Home, new: Home) -> None:
    offer = new.root / "offer"
    words = ("--kit", KIT, "--out", "parcel")
    home.must("migrate", "finish", str(offer), "--code", "ABCD-EFGH-IJKL-MNOP", *words, code=2)
    changed = home.root / "changed"
    changed.write_bytes(offer.read_bytes().replace(b"newbox", b"badbox"))
    home.must("migrate", "finish", str(changed), "--code", code_of(changed.read_bytes()), *words, code=30)
    home.must("backup")
    assert not (home.root / "parcel").exists()


def test_a_parcel_is_for_one_host_and_once(home: Home, new: Home) -> None:
    finished(home, new)
    parcel = home.root / "parcel"
    other = Home(home.root / "other")
    assert other.run("migrate", "accept", "agent", str(parcel)).code == 20
    assert other.run("migrate", "prepare").code == 0
    assert other.run("migrate", "accept", "agent", str(parcel)).code == 20
    torn = home.root / "torn"
    torn.write_bytes(parcel.read_bytes()[:-100])
    ran = new.run("migrate", "accept", "agent", str(torn))
    assert ran.code in {20, 30} and TRACE not in ran.err and not new.workspace.exists()
    assert new.run("migrate", "accept", "agent", str(parcel)).code == 0
    assert new.run("migrate", "accept", "again", str(parcel)).code == 20


def test_a_move_that_was_cut_off_is_finished_by_the_same_command(home: Home, new: Home) -> None:
    offer = new.root / "offer"
    words = ("--code", code_of(offer.read_bytes()), "--kit", KIT, "--out")
    home.must("migrate", "finish", str(offer), *words, "nowhere/parcel", code=10)
    assert not is_handed_over_at(home, offer), "what cannot be written is seen first"

    def full() -> None:
        def failing(*_: object, **__: object) -> NoReturn:
            raise DiskError("could not write: no space left")

        migrate.write_file = failing  # type: ignore[attr-defined]

    ran = home.run("-C", "agent", "migrate", "finish", str(offer), *words, "parcel", before=full)
    assert ran.code == 40 and "has retired" in ran.err and "makes the parcel" in ran.err
    log = home.must("identity", "show", "--json").document
    assert [row["host"] for row in log["hosts"] if not row["until"]] == ["newbox"], "the log was first"
    home.must("migrate", "finish", str(offer), *words, "parcel")
    assert home.must("identity", "show", "--json").document["version"] == log["version"]
    assert new.run("migrate", "accept", "agent", str(home.root / "parcel")).code == 0


@pytest.mark.parametrize("name", ["ledger.age", "epochs"])
def test_what_does_not_open_is_seen_before_anything_is_handed_over(home: Home, new: Home, name: str) -> None:
    home.must("secret", "set", "token", stdin=b"a value that moves")
    home.must("backup")
    path = home.workspace / ".antsmem/keystore" / name
    path = next(path.glob("hot-*")) if path.is_dir() else path
    path.write_bytes(path.read_bytes()[:-40])
    offer = new.root / "offer"
    words = ("--code", code_of(offer.read_bytes()), "--kit", KIT, "--out", "parcel")
    home.must("migrate", "finish", str(offer), *words, code=30)
    assert not is_handed_over_at(home, offer)


def test_what_was_revoked_does_not_move_with_an_old_keystore(home: Home, new: Home) -> None:
    home.must("secret", "set", "token", stdin=b"a value that was revoked")
    keystore = home.workspace / ".antsmem/keystore/keystore.age"
    before = keystore.read_bytes()
    home.must("secret", "revoke", "token")
    keystore.write_bytes(before)
    finished(home, new)
    for pin in (home.home / ".local/state").glob("*/*/ledger-pin.json"):
        pin.unlink()  # private to the host, safe to lose: also by one that has retired
    finished(home, new, "again")
    assert new.run("migrate", "accept", "agent", str(home.root / "again")).code == 0
    new.must("secret", "get", "token", code=10)
    assert not list((home.home / ".local/state").glob("*/*/ledger-pin.json")), "control: it is not there again"


@pytest.mark.parametrize(
    "cut",
    [
        "antsmem.backup.restore.restore_to",
        "antsmem.identity.take_in.take_in",
        "antsmem.identity.take_in.save_keystore",
        "antsmem.cli.moves.write_agent",
        "antsmem.cli.moves._told",
        "antsmem.cli.moves._taken_over",
    ],
)
def test_an_arrival_that_fails_is_gone_on_with_by_the_same_command(
    home: Home, new: Home, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.must("secret", "set", "token", stdin=b"a value that moves")
    finished(home, new)
    words = ("migrate", "accept", str(new.workspace), str(home.root / "parcel"), "--json")

    def fail(*_given: object, **_named: object) -> object:
        raise DiskError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(cut, fail)
        ran = new.run(*words)
        assert ran.code == DiskError.exit_code and TRACE not in ran.err
    ran = new.run(*words)
    assert ran.code == 0, ran
    assert ran.document["epoch"] == 1 and ran.document["restored"]["files"] > 0
    assert new.must("secret", "get", "token").out == "a value that moves"
    new.must("once", "other", "--", "true")
    new.must("backup")
    assert not list((new.home / ".config/antsmem/moves").iterdir()), "the offer is used up"


def test_an_arrival_that_was_cut_off_goes_on_in_its_directory_alone(
    home: Home, new: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(home, new)
    words = ("migrate", "accept"), str(home.root / "parcel")

    def fail(*_given: object, **_named: object) -> object:
        raise DiskError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("antsmem.cli.moves._told", fail)
        assert new.run(*words[0], "agent", words[1]).code == DiskError.exit_code
    ran = new.run(*words[0], "other", words[1])
    assert ran.code == 11 and f"antsmem migrate accept {new.workspace} PARCEL" in ran.err
    assert not (new.root / "other").exists()
    assert new.run(*words[0], "agent", words[1]).code == 0
    new.must("backup")


def test_an_arrival_takes_no_directory_that_holds_something_else(home: Home, new: Home) -> None:
    finished(home, new)
    new.workspace.mkdir()
    (new.workspace / "own").write_text("mine")
    assert new.run("migrate", "accept", str(new.workspace), str(home.root / "parcel")).code == 11
    assert [each.name for each in new.workspace.iterdir()] == ["own"]


def test_whoever_has_the_kit_of_another_agent_moves_nothing(home: Home, new: Home) -> None:
    offer, other = new.root / "offer", Home(home.root / "other")
    other.init()
    words = ("--code", code_of(offer.read_bytes()), "--kit", str(other.root / KIT), "--out", "parcel")
    ran = home.must("migrate", "finish", str(offer), *words, code=20)
    assert TRACE not in ran.err and not is_handed_over_at(home, offer)
    home.must("once", "still here", "--", "true", code=2)
    home.must("once", "still-here", "--", "true")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
def test_the_new_machine_may_be_another_users(home: Home) -> None:
    for module in LOADED:
        import_module(module)  # where another user may not read the interpreter, a fork has it loaded
    shared = Path(mkdtemp(prefix="antsmem-test-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        shared.chmod(0o755)
        other = Home(shared / "new")
        for path in (other.root, other.home):
            os.chown(path, NOBODY, NOBODY)
        offered = other.run("migrate", "prepare", "--host", "newbox", "--json", user=NOBODY)
        assert offered.code == 0, offered
        (home.root / "offer").write_text(offered.document["offer"])
        words = ("offer", "--code", offered.document["code"], "--kit", KIT, "--out", "parcel")
        home.must("migrate", "finish", *words)
        shutil.copytree(home.repository, shared / "new/stick")
        shutil.copy(home.root / "parcel", shared / "new/parcel")
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", shared / "new"], check=True)
        ran = other.run("migrate", "accept", "agent", "parcel", "--repository", "./stick", user=NOBODY)
        assert ran.code == 0, ran
        assert (shared / "new/agent/SOUL.md").stat().st_uid == NOBODY
    finally:
        shutil.rmtree(shared)


def is_handed_over_at(home: Home, offer: Path) -> bool:
    from antsmem.identity.log import parse_log

    return is_handed_over(
        parse_log((home.workspace / ".antsmem/identity/did.jsonl").read_bytes()), read_offer(offer.read_bytes())
    )


def test_between_two_networks_no_key_is_on_the_wire(tmp_path: Path) -> None:
    try:
        require_namespaces()
    except AntsmemError as error:
        pytest.skip(str(error))
    script = Path(__file__).with_name("two_networks.py")
    words = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--pid",
        "--fork",
        "--mount",
        "--mount-proc",
        "--kill-child",
    ]
    done = subprocess.run(
        [*words, sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["hits"] == [] and found["bytes"] > 10_000 and found["values"] >= 7
    assert any(hit.startswith("kit (raw)") for hit in found["control"]), "a key on the wire would have been seen"
