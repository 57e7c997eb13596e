"""Goal: `scan` finds a secret wherever git or the workspace keeps it, says where, and shows nothing of it.

Method: secrets are planted in files, in the index and in the history of repositories made here; each scan must end
with 21 and name file and line. Controls: without the secret, and with a waiver, the same scan ends with 0.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from made_homes import TRACE, Home
from made_secrets import lock, plant

SECRET = "".join(["Zk7Qw2", "Lx9Rt4", "Vb8Nm1", "Hs6Jd3"])
TOKEN = "gh" + "p_" + "q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"


@pytest.fixture
def kept(home: Home) -> Home:
    plant(home, db=SECRET.encode())
    return home


def git(home: Home, *words: str, where: Path | None = None) -> str:
    known = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(home.home)}
    who = ["-c", "user.name=kim", "-c", "user.email=kim@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, *words], cwd=where or home.workspace, env=home.environment | known, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_clean_workspace_ends_with_0(kept: Home) -> None:
    ran = kept.must("scan")
    assert ran.err == "" and "files" in ran.out
    assert kept.must("scan", "-q").out == ""


def test_known_values_and_patterns_are_named_with_line_and_never_shown(kept: Home) -> None:
    (kept.workspace / "MEMORY.md").write_text(f"one\ntwo {base64.b64encode(SECRET.encode()).decode()}\n")
    (kept.workspace / "memory").mkdir(exist_ok=True)
    (kept.workspace / "memory/a.md").write_text(f"\n\n{TOKEN}\n")
    ran = kept.must("scan", code=21)
    lines = ran.out.splitlines()
    assert lines[0].startswith("MEMORY.md:2 known:db (base64) …(") and lines[1].startswith(
        "memory/a.md:3 github-token"
    )
    assert SECRET not in ran.out + ran.err and TOKEN not in ran.out + ran.err
    document = kept.must("scan", "--json", code=21).document
    assert [(each["path"], each["line"], each["waived"]) for each in document["found"]] == [
        ("MEMORY.md", 2, False), ("memory/a.md", 3, False),
    ]  # fmt: skip


def test_what_a_backup_leaves_out_is_left_out(kept: Home) -> None:
    (kept.workspace / ".env").write_text(f"TOKEN={TOKEN}\n")
    assert kept.must("scan").code == 0
    assert kept.run("-C", "agent", "scan", str(kept.workspace)).code == 0
    assert kept.run("-C", "agent", "scan", str(kept.workspace / ".env")).code == 21, "asked for by name"


def test_a_waiver_is_respected_from_wherever_the_file_is_named(kept: Home) -> None:
    (kept.workspace / "TOOLS.md").write_text(f"x\n{TOKEN}\n")
    kept.must("scan", code=21)
    kept.must("waive", "TOOLS.md:2", "--reason", "an example")
    assert "waived" in kept.must("scan").out
    for words in (["agent/TOOLS.md"], ["agent"], [str(kept.workspace / "TOOLS.md")], ["./agent/../agent"]):
        assert kept.run("-C", "agent", "scan", *words).code == 0, words
    (kept.root / "elsewhere.md").write_text(TOKEN)
    assert kept.run("-C", "agent", "scan", "elsewhere.md").code == 21


def test_any_directory_can_be_scanned_without_a_workspace(home: Home) -> None:
    (home.root / "plain").mkdir()
    (home.root / "plain/a.txt").write_text(f"{TOKEN}\n")
    (home.root / "plain/link").symlink_to("a.txt")
    os.mkfifo(home.root / "plain/pipe")
    ran = home.run("scan", "plain")
    assert ran.code == 21 and ran.out.startswith("plain/a.txt:1 github-token") and "1 files" in ran.out
    (home.root / "plain/a.txt").write_text("clean\n")
    assert home.run("scan", "plain").code == 0
    assert home.run("scan").code == 10 and home.run("scan", "nothing").code == 10


def test_large_files_are_scanned_across_windows(kept: Home) -> None:
    line = b"a line of nothing in particular\n"
    data = bytearray(line * 300_000)
    at = (4 << 20) - 10
    data[at : at + len(SECRET)] = SECRET.encode()
    (kept.workspace / "big.md").write_bytes(data)
    number = bytes(data[:at]).count(b"\n") + 1
    assert kept.must("scan", code=21).out.splitlines()[0].startswith(f"big.md:{number} known:db ")


def test_what_is_staged_is_scanned_as_it_is_staged(kept: Home) -> None:
    git(kept, "init", "-q")
    (kept.workspace / "new.md").write_text(f"one\n{SECRET}\n")
    git(kept, "add", "new.md")
    (kept.workspace / "new.md").write_text("clean again, but not staged\n")
    ran = kept.must("scan", "--staged", code=21)
    assert ran.out.splitlines()[0].startswith("new.md:2 known:db ")
    git(kept, "add", "new.md")
    assert kept.must("scan", "--staged").code == 0


def test_as_a_hook_it_stops_the_commit(kept: Home) -> None:
    import sys

    git(kept, "init", "-q")
    hook = kept.workspace / ".git/hooks/pre-commit"
    hook.write_text(f"#!/bin/sh\nexec {Path(sys.executable).parent}/antsmem scan --staged\n")
    hook.chmod(0o755)
    folder = kept.workspace / "memory"
    folder.mkdir(exist_ok=True)
    (folder / 'odd "name" é.md').write_text(TOKEN)
    git(kept, "add", "--all")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        git(kept, "commit", "-m", "first", where=folder)
    assert 'memory/odd "name" é.md:1 github-token' in caught.value.stderr + caught.value.stdout
    (folder / 'odd "name" é.md').write_text("clean\n")
    git(kept, "add", "--all")
    git(kept, "commit", "-m", "first", where=folder)


def test_the_whole_history_is_scanned(kept: Home) -> None:
    git(kept, "init", "-q")
    (kept.workspace / "old.md").write_text(f"x\ny {SECRET}\n")
    git(kept, "add", "old.md")
    git(kept, "commit", "-qm", "first")
    first = git(kept, "rev-parse", "--short", "HEAD")
    (kept.workspace / "old.md").write_text("clean\n")
    git(kept, "commit", "-qam", "second")
    assert kept.must("scan").code == 0 and kept.must("scan", "--staged").code == 0
    ran = kept.must("scan", "--history", code=21)
    assert ran.out.splitlines()[0].startswith("old.md:2 known:db ") and f"in {first}" in ran.out
    (kept.root / "elsewhere").mkdir()
    assert kept.run("-C", "agent", "scan", "--history", "agent").code == 21
    assert kept.run("-C", "agent", "scan", "--history", "elsewhere").code == 10
    git(kept, "clone", "-q", "--bare", str(kept.workspace), str(kept.root / "bare"))
    assert kept.run("-C", "agent", "scan", "--history", "bare").code == 21


def test_what_a_replacement_hides_is_still_there_and_found(kept: Home) -> None:
    git(kept, "init", "-q")
    (kept.workspace / "old.md").write_text(f"{SECRET}\n")
    git(kept, "add", "old.md")
    git(kept, "commit", "-qm", "first")
    (kept.workspace / "clean").write_text("clean\n")
    git(kept, "replace", git(kept, "rev-parse", "HEAD:old.md"), git(kept, "hash-object", "-w", "clean"))
    assert git(kept, "show", "HEAD:old.md") == "clean"
    assert kept.must("scan", "--history", code=21).out.startswith("old.md:1 known:db ")


@pytest.mark.parametrize("fails", ["diff", "rev-list", "cat-file"])
def test_a_git_that_fails_is_no_proof_that_nothing_is_there(kept: Home, fails: str) -> None:
    git(kept, "init", "-q")
    (kept.workspace / "new.md").write_text(f"{SECRET}\n")
    git(kept, "add", "new.md")
    if fails == "rev-list":
        git(kept, "commit", "-qm", "first")
    real = shutil.which("git")
    path = kept.root / "bin/git"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\ncase " $* " in *" {fails} "*) exit 128;; esac\nexec {real} "$@"\n')
    path.chmod(0o755)
    how = "--history" if fails == "rev-list" else "--staged"
    words = ("-C", str(kept.workspace), "scan", how)
    ran = kept.run(*words, more={"PATH": f"{path.parent}:{os.environ['PATH']}"})
    assert ran.code == 3 and "not all of it was looked through" in ran.err
    assert kept.run(*words).code == 21


def test_a_locked_host_finds_what_was_remembered(kept: Home) -> None:
    (kept.workspace / "MEMORY.md").write_text(f"here: {SECRET}.\n")
    opened = kept.must("scan", "--remember", "--json", code=21).document
    lock(kept)
    locked = kept.must("scan", "--json", code=21).document
    assert locked["found"] == opened["found"] and (opened["known"], locked["known"]) == ("open", "locked")
    assert kept.must("scan", "--remember", code=20).code == 20


def test_a_clone_without_the_keystore_is_scanned_for_patterns(kept: Home) -> None:
    (kept.workspace / "MEMORY.md").write_text(f"here: {TOKEN}\n")
    (kept.workspace / ".antsmem/keystore/keystore.age").unlink()
    assert "github-token" in kept.must("scan", code=21).out
    (kept.workspace / ".antsmem/identity/did.jsonl").unlink()
    assert "github-token" in kept.must("scan", code=21).out


def test_a_waiver_is_respected_on_a_locked_host_that_remembers(kept: Home) -> None:
    (kept.workspace / "TOOLS.md").write_text(f"{TOKEN}\n{SECRET}\n")
    kept.must("waive", "TOOLS.md", "--reason", "examples")
    kept.must("scan", "--remember")
    lock(kept)
    assert kept.must("scan").out.count("waived") == 2


def test_a_locked_host_that_remembers_nothing_says_so(kept: Home) -> None:
    (kept.workspace / "MEMORY.md").write_text(f"here: {SECRET}, {TOKEN}\n")
    lock(kept)
    ran = kept.must("scan", code=21)
    assert "locked" in ran.err and "github-token" in ran.out and "known" not in ran.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_told(kept: Home) -> None:
    (kept.workspace / "closed.md").write_text("x")
    (kept.workspace / "closed.md").chmod(0)
    ran = kept.must("scan", code=3)
    assert "closed.md" in ran.err


@pytest.mark.parametrize(
    ("words", "code"), [(["--staged", "--history"], 2), (["--staged"], 10), (["--history", "agent", "b"], 2)]
)
def test_a_wrong_call_is_told_off(kept: Home, words: list[str], code: int) -> None:
    ran = kept.must("scan", *words, code=code)
    assert TRACE not in ran.err
