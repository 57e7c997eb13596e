"""Goal: a script that looks at exit codes alone acts rightly.

Method: each code of the list in `core/errors.py` is brought about from outside, as a user would meet it; with
`--json` the same failure is one document on stderr that names it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_homes import KIT, TRACE, Home

from antsmem.core import errors


def secret(*parts: str) -> str:
    return "".join(parts)


TOKEN = secret("gh", "p_", "q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi")


def nothing(_home: Home) -> None:
    """No preparation."""


def backed_up(home: Home) -> None:
    home.must("backup")


def restored(home: Home) -> None:
    home.must("backup")
    (home.root / "there").mkdir()
    (home.root / "there/mine.md").write_text("mine\n")


def locked(home: Home) -> None:
    home.must("backup")
    (lock,) = (home.home / ".local/state/antsmem").glob("*/workspace.lock")
    fcntl.flock(os.open(lock, os.O_RDWR), fcntl.LOCK_EX)  # until this process ends: nobody else uses this copy


def keyless(home: Home) -> None:
    home.must("backup")
    for key in (home.home / ".config/antsmem/keys").iterdir():
        key.unlink()


def leaking(home: Home) -> None:
    (home.workspace / "notes.md").write_text(f"token\n{TOKEN}\n")


def damaged(home: Home) -> None:
    home.must("backup")
    pack = next((home.repository / "packs").iterdir())
    pack.write_bytes(pack.read_bytes()[:-1])


def rolled_back(home: Home) -> None:
    home.must("backup")
    shutil.copytree(home.repository, home.root / "older")
    (home.workspace / "MEMORY.md").write_text("newer\n")
    home.must("backup")
    place = home.repository
    shutil.rmtree(place)
    shutil.copytree(home.root / "older", place)


def no_repository(home: Home) -> None:
    shutil.rmtree(home.repository)


def retired(home: Home) -> None:
    home.must("backup")
    name = home.must("status", "--json").document["host"]
    elsewhere = Home(home.root / "elsewhere")
    kit, place = str(home.root / KIT), str(home.repository)
    ran = elsewhere.run("recover", "agent", "--kit", kit, "--repository", place, "--host", name)
    assert ran.code == 0, ran


def unreadable_database(home: Home) -> None:
    (home.workspace / "memory.db").write_bytes(b"SQLite format 3\0".ljust(4096, b"x"))


def not_a_folder(home: Home) -> None:
    shutil.rmtree(home.repository / "anchors")
    (home.repository / "anchors").write_text("not a folder\n")


def unreachable(home: Home) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (config,) = (home.home / ".config/antsmem/agents").iterdir()
    options = (
        '    options:\n      tls: "no"\n      timeout_seconds: "0.1"\n      username: "u"\n      password: "p"\n'
    )
    text = re.sub(r'    url: ".*"\n', f'    url: "webdav://127.0.0.1:{port}/x"\n{options}', config.read_text())
    config.write_text(text)


def bad_configuration(home: Home) -> None:
    (home.home / ".config/antsmem/config.yaml").write_text("key_surces: []\n")


CASES: list[tuple[int, str, Callable[[Home], None], list[str]]] = [
    (0, "", nothing, ["backup"]),
    (0, "", backed_up, ["check", "--read-data"]),
    (2, "usage", nothing, ["backup", "--tier", "warm"]),
    (2, "usage", nothing, ["backup", "--nonsense"]),
    (2, "usage", nothing, ["nonsense"]),
    (2, "usage", nothing, ["restore"]),
    (2, "usage", nothing, ["backup", "--repository", "nobody"]),
    (2, "config", bad_configuration, ["backup"]),
    (3, "", unreadable_database, ["backup"]),
    (0, "", nothing, ["status"]),
    (3, "", no_repository, ["status"]),
    (4, "retired", retired, ["backup"]),
    (4, "retired", retired, ["restore", "--in-place"]),
    (4, "retired", retired, ["identity", "rotate", "--kit", KIT]),
    (10, "not-found", nothing, ["restore", "--to", "x"]),
    (10, "not-found", backed_up, ["restore", "20200101", "--to", "x"]),
    (10, "not-found", backed_up, ["restore", "--path", "no/such", "--to", "x"]),
    (10, "not-found", no_repository, ["backup"]),
    (10, "not-found", backed_up, ["show", "latest:no/such"]),
    (10, "not-found", backed_up, ["forget", "20200101T000000.000Z-00000000"]),
    (11, "would-overwrite", restored, ["restore", "--to", "there"]),
    (11, "would-overwrite", nothing, ["init", "agent", "--recovery-out", "other"]),
    (12, "locked", locked, ["backup"]),
    (20, "cannot-unlock", keyless, ["backup"]),
    (20, "cannot-unlock", keyless, ["restore", "--to", "x"]),
    (21, "leak", leaking, ["backup"]),
    (21, "leak", leaking, ["backup", "--tier", "cold"]),
    (30, "integrity", damaged, ["check"]),
    (30, "integrity", damaged, ["restore", "--to", "x"]),
    (31, "rollback", rolled_back, ["backup"]),
    (31, "rollback", rolled_back, ["restore", "--to", "x"]),
    (31, "rollback", rolled_back, ["check"]),
    (40, "backend-unreachable", unreachable, ["backup"]),
    (41, "backend-refused", not_a_folder, ["backup"]),
    (42, "driver-missing", nothing, ["repository", "add", "x", "gopher://example.org/"]),
]


@pytest.mark.parametrize(
    ("code", "slug", "prepare", "words"), CASES, ids=[f"{case[0]} {' '.join(case[3])[:30]}" for case in CASES]
)
def test_a_command_ends_with_the_code_of_what_happened(
    home: Home, code: int, slug: str, prepare: Callable[[Home], None], words: list[str]
) -> None:
    prepare(home)
    plain = home.run("-C", str(home.workspace), *words)
    assert plain.code == code, plain
    assert TRACE not in plain.err
    if slug not in {"", "usage"} and words[0] != "check":
        first, *rest = plain.err.splitlines()
        assert first.startswith("antsmem: ") and len(rest) <= 1, "one line, and one that helps"
    told = home.run("-C", str(home.workspace), "--json", *words)
    assert told.code == code and TRACE not in told.err
    if slug:
        assert (told.error["error"], told.error["exit_code"]) == (slug, code)
        assert told.error["message"] and "\n" not in told.error["message"]
        if words[0] != "check":
            assert told.out == "", "a failure has no result"
    else:
        assert told.document["schema"].startswith("antsmem.") and told.err == ""


def test_every_error_of_the_tree_is_met_here_or_elsewhere() -> None:
    """A class that nothing can bring about would be a lie in the list of exit codes."""
    met = {slug for _, slug, _, _ in CASES}
    others = {"error", "conflict", "disk"}  # the root; races (tests/backup); full disks (tests/faults)
    others |= {"busy"}  # tests/cli/test_effect_commands.py
    others |= {"migration-test"}  # tests/drill
    others |= {"version-conflict"}  # tests/drivers/conformance/test_durables.py
    others |= {"retired"}  # tests/cli/test_relay_commands.py
    classes = [errors.AntsmemError]
    for each in classes:
        classes += each.__subclasses__()
    assert {each.slug for each in classes} <= met | others


def test_a_problem_that_waiting_may_solve_is_called_transient(home: Home) -> None:
    locked(home)
    assert home.run("-C", str(home.workspace), "--json", "backup").error["transient"] is True
    other = home.run("-C", str(home.root / "nowhere"), "--json", "backup").error
    assert other["transient"] is False and other["error"] == "not-found"


def test_outside_of_any_workspace_every_command_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for words in (
        ["backup"],
        ["status"],
        ["snapshots"],
        ["log", "x"],
        ["check"],
        ["prune"],
        ["restore", "--to", "x"],
        ["ls"],
        ["find", "*"],
        ["show", "latest:MEMORY.md"],
        ["repository", "list"],
        ["repository", "test"],
    ):
        ran = home.run(*words)
        assert ran.code == 10, (words, ran)
        assert "no workspace at or above" in ran.err and "antsmem init" in ran.err, (words, ran)


def test_a_key_of_somebody_else_opens_nothing(home: Home, tmp_path: Path) -> None:
    home.must("backup")
    other = Home(tmp_path / "other")
    other.root.mkdir(exist_ok=True)
    other.init()
    ran = home.run("restore", "--kit", f"other/{KIT}", "--repository", str(home.repository), "--to", "x")
    assert ran.code == 20 and "another agent" in ran.err


def test_a_test_of_backends_whose_library_is_missing_says_what_to_install(home: Home) -> None:
    def gone() -> None:
        for name in [*sys.modules, "confluent_kafka"]:
            if name.partition(".")[0] == "confluent_kafka":
                sys.modules[name] = None  # type: ignore[assignment]

    home.must("backend", "add", "log", "kafka://127.0.0.1:9/topic")
    words = ("-C", str(home.workspace), "backend", "test")
    ran = home.run(*words, before=gone)
    said = ["log kafka://127.0.0.1:9/topic: the library `confluent-kafka` is not installed"]
    assert ran.code == 42 and ran.out.splitlines() == [*said, "  → pip install 'antsmem[kafka]'"], ran
    home.must("backend", "add", "cache", "redis://127.0.0.1:9/no-number")
    assert home.run(*words, before=gone).code == 40, "another failed for another reason"
