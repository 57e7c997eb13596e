"""Goal: weeks can be listed and destroyed, and moved to other keys, without losing what is still in use.

Method: rotations make several epochs in one week; each is listed, destroyed, moved, with repositories out of
reach, with answers on a terminal and without one. What must be unreadable is tried with every key that is left.
"""

from __future__ import annotations

import os
import pty
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from made_homes import KIT, TRACE, Home

from antsmem.core.age import opened_by, unseal
from antsmem.core.errors import CannotUnlockError
from antsmem.identity.epochs import open_epoch
from antsmem.identity.recovery import RecoveryKit


def kit(home: Home) -> str:
    return str(home.root / KIT)


def epochs(home: Home, *words: str) -> dict[str, dict[str, Any]]:
    listed = home.must("epoch", "list", *words, "--json").document["epochs"]
    return {row["name"]: row for row in listed}


def hot(home: Home) -> list[str]:
    """The hot epochs, oldest first."""
    return [name for name, row in epochs(home).items() if row["tier"] == "hot" and not row["destroyed"]]


@pytest.fixture
def lived(home: Home) -> Home:
    """Snapshots sealed to two epochs, with files that both hold; a cold archive of each."""
    (home.workspace / "first.md").write_text("only in the first\n")
    home.must("backup")
    home.must("backup", "--tier", "cold")
    (home.workspace / "first.md").unlink()
    home.must("identity", "rotate", "--kit", kit(home))
    (home.workspace / "second.md").write_text("second\n")
    home.must("backup")
    home.must("backup", "--tier", "cold")
    return home


def test_the_list_says_what_is_sealed_to_which_epoch(lived: Home) -> None:
    rows = epochs(lived, "--kit", kit(lived))
    assert [row["current"] for row in rows.values()] == [False, True, False, True]
    for name, row in rows.items():
        (use,) = row["uses"]
        assert row["opened_by"] == (["host", "kit"] if row["tier"] == "hot" else ["kit"])
        assert (use["hot"], use["cold"]) == ((1, 0) if row["tier"] == "hot" else (0, 1)), name
        assert use["size_bytes"] > 0 and row["first_day"] < row["last_day"]
    text = lived.must("epoch", "list").out
    assert all(name in text for name in rows) and text.count("current") == 2


def test_what_was_destroyed_opens_no_more_and_all_else_does(lived: Home) -> None:
    name, first = hot(lived)[0], lived.ids[0]
    sealed = {path: path.read_bytes() for path in lived.repository.rglob("*.age")}
    secret = RecoveryKit.parse((lived.root / KIT).read_text()).identity
    key = open_epoch(name, sealed[lived.repository / f"keys/{name}.age"], [secret])
    assert lived.must("show", f"{first}:first.md").out == "only in the first\n", "the control"
    ran = lived.must("epoch", "destroy", name, "--yes")
    assert first in ran.err and "copies elsewhere are not" in ran.out
    assert lived.must("show", f"{first}:first.md", code=10).err
    lived.must("check", "--read-data", "--kit", kit(lived))
    assert lived.must("show", "latest:SOUL.md").out
    assert not list(lived.root.rglob(f"{name}.age")), "nowhere: neither here nor in the repository"
    left = [
        open_epoch(path.stem, path.read_bytes(), [secret])
        for path in (lived.workspace / ".antsmem/keystore/epochs").iterdir()
    ]
    gone = [data for data in sealed.values() if opened_by(data, [key]) is not None]
    assert len(gone) >= 2
    for data in gone:
        unseal(data, [key])  # a copy of both still opens: that is what the command says
        with pytest.raises(CannotUnlockError):
            unseal(data, [*left, secret])
    assert epochs(lived)[name]["destroyed"] is True
    lived.must("epoch", "destroy", name, "--yes")


def test_a_destroyed_epoch_does_not_come_back_in_a_recovery(lived: Home) -> None:
    name = hot(lived)[0]
    key = lived.repository / f"keys/{name}.age"
    stale = key.read_bytes()
    lived.must("epoch", "destroy", name, "--yes")
    key.write_bytes(stale)
    other = Home(lived.root / "other")
    words = ("--kit", kit(lived), "--repository", str(lived.repository), "--host", "other")
    assert other.run("recover", "agent", *words).code == 0
    assert not (other.workspace / f".antsmem/keystore/epochs/{name}.age").exists()
    assert epochs(other)[name]["destroyed"] is True, "nor is its name used again"
    other.must("backup")
    other.must("prune")
    assert not key.exists()


def test_a_repository_out_of_reach_keeps_the_key_until_it_is_there(lived: Home) -> None:
    lived.must("repository", "add", "second", "second")
    lived.must("backup")
    name = hot(lived)[0]
    here = lived.workspace / f".antsmem/keystore/epochs/{name}.age"
    shutil.move(lived.root / "second", lived.root / "away")
    ran = lived.must("epoch", "destroy", name, "--yes", code=3)
    assert "run the same command again" in ran.out and here.exists()
    assert not (lived.repository / f"keys/{name}.age").exists()
    shutil.move(lived.root / "away", lived.root / "second")
    lived.must("backup")
    assert not (lived.repository / f"keys/{name}.age").exists(), "its tombstone keeps it away"
    lived.must("epoch", "destroy", name, "--yes")
    assert not list(lived.root.rglob(f"{name}.age"))
    lived.must("check", "--read-data")


def test_what_another_host_still_needs_is_kept(home: Home) -> None:
    """Its snapshots are sealed to keys that this host has not, and share objects: the kit tells which."""
    home.must("backup")
    other = Home(home.root / "other")
    words = ("--kit", kit(home), "--repository", str(home.repository), "--host", "other")
    assert other.run("recover", "agent", *words).code == 0
    home.must("backup")
    home.must("identity", "rotate", "--kit", kit(home))
    (home.workspace / "SOUL.md").write_text("changed here\n")
    home.must("backup")
    other.must("backup")
    shared = other.must("show", "latest:SOUL.md").out
    (other.workspace / "SOUL.md").write_text("changed there\n")
    other.must("backup")
    home.must("backup")
    name = hot(home)[0]
    before = {path: path.read_bytes() for path in home.repository.rglob("*.age")}
    ran = home.must("epoch", "destroy", name, "--yes", code=20)
    assert "snapshots of another host" in ran.err and "--kit" in ran.err
    assert {path: path.read_bytes() for path in home.repository.rglob("*.age")} == before
    home.must("epoch", "destroy", name, "--yes", "--kit", kit(home))
    home.must("check", "--read-data", "--kit", kit(home))
    rows = home.must("snapshots", "--json").document["snapshots"]
    (first, *_rest) = [row["id"] for row in rows if row["tier"] == "hot"]
    assert other.must("show", f"{other.ids[-2]}:SOUL.md").code == 0 and shared and first
    other.must("backup")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("CURRENT", 2, "sealed now"),
        ("hot-20200106", 10, "no epoch is named"),
        ("nonsense", 10, "no epoch is named"),
        ("../../x", 10, "no epoch is named"),
    ],
)
def test_what_is_not_destroyed(lived: Home, name: str, code: int, says: str) -> None:
    ran = lived.must("epoch", "destroy", {"CURRENT": hot(lived)[-1]}.get(name, name), "--yes", code=code)
    assert says in ran.err and TRACE not in ran.err


def test_the_newest_snapshot_is_not_destroyed(home: Home) -> None:
    home.must("backup")
    home.must("identity", "rotate", "--kit", kit(home))
    name = hot(home)[0]
    ran = home.must("epoch", "destroy", name, "--yes", code=2)
    assert "the newest hot snapshot" in ran.err and "antsmem backup --tier hot" in ran.err
    assert hot(home)[0] == name


def test_cold_archives_of_a_week_with_two_epochs_are_told_apart_by_the_kit(lived: Home) -> None:
    name = next(name for name in epochs(lived) if name.startswith("cold-"))
    archives = sorted(path.name for path in (lived.repository / "cold").iterdir())
    assert "only the kit tells" in lived.must("epoch", "destroy", name, "--yes", code=2).err
    lived.must("epoch", "destroy", name, "--yes", "--kit", kit(lived))
    assert sorted(path.name for path in (lived.repository / "cold").iterdir()) == archives[2:]
    lived.must("check", "--read-data", "--kit", kit(lived))
    target = str(lived.root / "thawed")
    lived.must("restore", "cold", "--to", target, "--kit", kit(lived), "--repository", str(lived.repository))
    assert Path(target, "second.md").exists()


def test_nobody_is_asked_where_nobody_is_there(lived: Home) -> None:
    name = hot(lived)[0]
    ran = lived.must("epoch", "destroy", name, code=2)
    assert "nothing destroyed" in ran.err and "--yes" in ran.err
    assert hot(lived)[0] == name
    before = {path: path.read_bytes() for path in lived.repository.rglob("*") if path.is_file()}
    plan = lived.must("epoch", "destroy", name, "--dry-run", "--json").document
    (place,) = plan["repositories"]
    assert place["hot"] == [lived.ids[0]] and place["shared_objects"] > 0
    assert {path: path.read_bytes() for path in lived.repository.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("answer", "code"), [("NAME", 0), ("yes", 2), ("", 2)])
def test_on_a_terminal_the_name_has_to_be_typed(lived: Home, answer: str, code: int) -> None:
    name = hot(lived)[0]
    main, side = pty.openpty()
    child = os.fork()
    if child == 0:
        os.setsid()
        for number in range(3):
            os.dup2(side, number)
        arguments = ["-C", str(lived.workspace), "epoch", "destroy", name]
        code_text = "from antsmem.cli.main import main; import sys; main(sys.argv[1:])"
        os.execve(sys.executable, [sys.executable, "-c", code_text, *arguments], lived.environment)
    os.close(side)
    os.write(main, answer.replace("NAME", name).encode() + b"\n")
    shown = b""
    try:
        while part := os.read(main, 4096):
            shown += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(main)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == code, shown
    assert b"makes unreadable for ever" in shown and b"cannot be undone" in shown
    assert (hot(lived)[0] == name) == (code != 0)


# keys rewrap


def test_rewrap_writes_headers_and_touches_no_backup(lived: Home) -> None:
    def contents(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (lived.repository / folder).iterdir()}

    before = {folder: contents(folder) for folder in ("packs", "snapshots", "cold", "keys")}
    document = lived.must("keys", "rewrap", "--kit", kit(lived), "--json").document
    assert document["files"] == 4 and document["written_bytes"] < 8 << 10
    assert all(contents(folder) == before[folder] for folder in ("packs", "snapshots", "cold"))
    for name, data in contents("keys").items():
        old = before["keys"][name]
        if name.endswith(".age"):
            start = old.index(b"\n---") + 48
            assert data != old and data.endswith(old[start:]), "only the header is another"
    lived.must("backup")
    lived.must("check", "--read-data", "--kit", kit(lived))


def test_an_epoch_whose_key_is_known_is_moved_and_then_destroyed(lived: Home) -> None:
    name = hot(lived)[-1]
    count = len(lived.ids)
    ran = lived.must("keys", "rewrap", "--epoch", name, "--reseal")
    assert f"next: antsmem epoch destroy {name}" in ran.out
    row = epochs(lived)[name]
    assert not row["current"] and (row["uses"][0]["packs"], row["uses"][0]["hot"]) == (0, 0)
    lived.must("check", "--read-data", "--kit", kit(lived))
    assert lived.must("show", "latest:second.md").out == "second\n" and len(lived.ids) == count
    lived.must("epoch", "destroy", name, "--yes")
    lived.must("backup")
    lived.must("check", "--read-data", "--kit", kit(lived))
    assert len(lived.ids) == count + 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--epoch", "hot-20200106"], 2),
        (["--reseal"], 2),
        (["--epoch", "hot-20200106", "--reseal"], 10),
        (["--epoch", "cold-20200106", "--reseal"], 2),
        (["--kit", "missing"], 10),
        (["--no-input"], 2),
    ],
)
def test_what_rewrap_cannot_mean(lived: Home, words: list[str], code: int) -> None:
    ran = lived.must("keys", "rewrap", *words, code=code)
    assert TRACE not in ran.err
