"""Goal: what a repository holds comes back without antsmem, to the last name, mode and nanosecond.

Method: the program on the page (the same as in every repository's README) rebuilds an agent with everything that a
file system can hold; so does the page's command for a cold archive. Both trees are compared with what antsmem
restores. Controls: a damaged pack and a lost object must make the program fail.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import corpora
import pytest
from program import DOCS, Terminal

from antsmem.backup.readme import README

PAGE = (DOCS / "how-to" / "recover-without-antsmem.md").read_text("utf-8")
(PROGRAM,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, ("age", "zstd", "tar", "sh"))), reason="apt-get install age zstd tar"
)
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
Tree = dict[bytes, tuple[object, ...]]


def tree(root: Path) -> Tree:
    """Everything below `root`: kind, mode, time, owner, number of names, content."""
    found: Tree = {}
    top = os.fsencode(root)
    for folder, _, names in os.walk(top):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content: bytes | None = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            names_of = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
            mode = stat.S_IMODE(status.st_mode)
            found[os.path.relpath(path, top)] = (kind, mode, status.st_mtime_ns, status.st_uid, names_of, content)
    return found


def rebuilt(home: Path, snapshot: str, to: str, shell: str = "sh") -> subprocess.CompletedProcess[bytes]:
    """Run the program of the page."""
    (home / "recover.sh").write_text(PROGRAM)
    words = [
        *("busybox sh" if shell == "busybox" else shell).split(),
        "recover.sh",
        "kit.txt",
        "stick",
        snapshot,
        to,
    ]
    return subprocess.run(words, cwd=home, capture_output=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with a workspace, its repository `stick`, its kit, what antsmem `restored`; the snapshot's id."""
    home = tmp_path_factory.mktemp("home")
    workspace = home / "kevin"
    corpora.sample_agent(workspace, days=5)
    corpora.odd_zoo(workspace / "zoo", sparse_bytes=8 << 20)
    (workspace / "ends with a newline\n").write_text("odd\n")
    (workspace / "large.bin").write_bytes(os.urandom(2_500_001))
    writer = corpora.Writer(workspace, 7)
    writer.database("state/more.db", 1_500_000)
    at = Terminal(home)
    at.run("init", "kevin", "--adopt", "--recovery-out", "kit.txt", "--repository", "./stick")
    code = 0 if os.geteuid() == 0 else 3  # not root: the zoo has what nobody can read
    at.run("-C", "kevin", "backup", code=code)
    at.run("-C", "kevin", "backup", "--tier", "cold", code=code)
    at.run("-C", "kevin", "restore", "--to", "restored")
    (head,) = (home / "stick" / "snapshots").glob("*.age")
    return home, head.stem


def test_the_readme_of_every_repository_holds_the_program_of_the_page() -> None:
    (carried,) = re.findall(r"--- recover\.sh\n(.*?)--- end of recover\.sh", README.decode(), re.DOTALL)
    assert carried == PROGRAM


@needs_programs
@pytest.mark.parametrize("shell", SHELLS)
def test_the_program_rebuilds_a_hot_snapshot_exactly(backed_up: tuple[Path, str], shell: str) -> None:
    home, snapshot = backed_up
    done = rebuilt(home, snapshot, f"by-{shell}", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert tree(home / f"by-{shell}") == tree(home / "restored")
    assert not (home / f"by-{shell}.objects").exists()


@needs_programs
def test_the_stock_programs_unpack_a_cold_archive_exactly(backed_up: tuple[Path, str]) -> None:
    home, _ = backed_up
    (command,) = re.findall(r"^\$ (age -d .*\| tar .*)$", PAGE, re.MULTILINE)
    assert b"| tar -xp --delay-directory-restore" in README and "tar -xp --delay-directory-restore" in command
    (archive,) = (home / "stick" / "cold").glob("*.tar.zst.age")
    script = (
        "for key in stick/keys/cold-*.age; do age -d -i kit.txt $key; done > cold.keys\n"
        f"archive={archive}\n{command}"
    )
    subprocess.run(["sh", "-c", script], cwd=home, check=True, capture_output=True)
    assert tree(home / "workspace") == tree(home / "restored")


@needs_programs
def test_the_program_fails_on_a_damaged_pack(backed_up: tuple[Path, str], tmp_path: Path) -> None:
    home, snapshot = backed_up
    for name in ("stick", "kit.txt"):
        (shutil.copytree if (home / name).is_dir() else shutil.copy)(home / name, tmp_path / name)
    pack = max((tmp_path / "stick" / "packs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert rebuilt(tmp_path, snapshot, "out").returncode != 0


@needs_programs
def test_the_program_fails_where_an_object_is_lost(backed_up: tuple[Path, str], tmp_path: Path) -> None:
    home, snapshot = backed_up
    shutil.copytree(home / "stick", tmp_path / "stick")
    shutil.copy(home / "kit.txt", tmp_path)
    listed = tmp_path / "stick" / "snapshots" / f"{snapshot}.packs"
    packs = {path.stem: path.stat().st_size for path in (tmp_path / "stick" / "packs").iterdir()}
    largest = max(packs, key=lambda name: packs[name])
    assert len(packs) > 1  # else the program would fail for want of a manifest
    listed.write_text("".join(row for row in listed.read_text().splitlines(True) if largest not in row))
    assert rebuilt(tmp_path, snapshot, "out").returncode != 0
