"""Goal: a repository in a folder survives killed runs, full, read-only and unmounted disks, and costs no start-up.

Method: real file systems. What needs root mounts a small tmpfs; a killed run is a child process that is killed; a
file system without hard links is one whose link(2) strace makes fail. What every store must do is in
`conformance/`.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from mounts import small_disk
from racing import together

from antsmem.core.clock import now_ns
from antsmem.core.disk import is_temp
from antsmem.core.errors import (
    BackendError,
    ConfigError,
    ConflictError,
    DiskError,
    NotFoundError,
    RefusedError,
    WouldOverwriteError,
)
from antsmem.drivers.file import FileStore


def made(root: Path) -> FileStore:
    store = FileStore.open(str(root), {})
    store.put("repository.json", [b"{}"])
    return store


def temps(root: Path) -> list[str]:
    return [name for _, _, names in os.walk(root) for name in names if is_temp(name)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    with small_disk(tmp_path / "disk") as place:
        yield place


def test_an_url_names_an_absolute_path(tmp_path: Path) -> None:
    assert FileStore.open("file:///a%20b/c/", {}).url == "/a b/c"
    assert FileStore.open("file://localhost/a", {}).url == "/a"
    assert FileStore.open("/a/./b/../c", {}).url == "/a/c"
    refused = [
        "",
        "a",
        "./a",
        "~/a",
        "file:a",
        "file://host/a",
        "file://[/a",
        "file:///a?b=c",
        "file:///a#b",
        "file:///a%00b",
        "/\0",
    ]
    for url in refused:
        with pytest.raises(ConfigError):
            FileStore.open(url, {})


def test_everything_is_made_for_the_owner_only(tmp_path: Path) -> None:
    root = tmp_path / "new" / "folder"
    old = os.umask(0)
    try:
        store = made(root)
        store.put("packs/a", [b"x"])
        store.swap("anchors/a", b"x", None)
    finally:
        os.umask(old)
    for place in (root.parent, root, root / "packs"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for file in (root / "repository.json", root / "packs" / "a", root / "anchors" / "a"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_no_regular_file_is_no_object(tmp_path: Path) -> None:
    store = made(tmp_path / "r")
    store.put("packs/real", [b"x"])
    packs = tmp_path / "r" / "packs"
    (packs / "link").symlink_to(packs / "real")
    (packs / "folder").mkdir()
    os.mkfifo(packs / "pipe")
    assert [item.name for item in store.list("packs")] == ["packs/real"]
    for name in ("link", "folder", "pipe"):
        with pytest.raises(RefusedError):
            store.get(f"packs/{name}")
        with pytest.raises(RefusedError):
            store.stat(f"packs/{name}")
    (tmp_path / "r" / "index").write_bytes(b"a file where a folder should be")
    with pytest.raises(RefusedError):
        store.put("index/a", [b"x"])
    with pytest.raises(RefusedError):
        store.list("index")
    assert store.stat("index/a") is None


def test_a_killed_run_leaves_the_old_object_and_what_it_left_is_swept(tmp_path: Path) -> None:
    store = made(tmp_path / "r")
    store.put("cold/a", [b"old"])
    script = (
        "import sys; from antsmem.drivers.file import FileStore\n"
        "def chunks():\n"
        "    yield b'half' * 100_000\n"
        "    print('now', flush=True)\n"
        "    sys.stdin.read()\n"
        f"FileStore.open({str(tmp_path / 'r')!r}, {{}}).upload('cold/a', chunks())\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"now\n"
        child.send_signal(signal.SIGKILL)
    assert store.get("cold/a") == b"old"
    assert [item.name for item in store.list("cold")] == ["cold/a"]
    assert len(temps(tmp_path)) == 1
    assert store.sweep(now_ns() - 60_000_000_000) == 0
    assert store.sweep(now_ns() + 60_000_000_000) == 1
    assert temps(tmp_path) == []


def test_a_full_disk_is_an_error_and_harms_nothing(disk: Path) -> None:
    store = made(disk / "r")
    store.put("packs/a", [b"old" * 1000])
    for write in (
        lambda: store.put("packs/a", [b"x" * (2 << 20)]),
        lambda: store.put("packs/b", [b"x" * (2 << 20)], new=True),
        lambda: store.upload("packs/b", iter([b"x" * (512 << 10)] * 4)),
        lambda: store.swap("packs/b", b"x" * (2 << 20), None),
    ):
        with pytest.raises(DiskError):
            write()
    assert store.get("packs/a") == b"old" * 1000
    assert store.stat("packs/b") is None
    assert temps(disk) == []
    store.put("packs/b", [b"there is room for this"])


def test_a_read_only_disk_refuses(disk: Path) -> None:
    store = made(disk / "r")
    store.put("packs/a", [b"x"])
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for change in (
        lambda: store.put("packs/b", [b"x"]),
        lambda: store.put("index/b", [b"x"]),
        lambda: store.upload("packs/b", iter([b"x"])),
        lambda: store.delete("packs/a"),
        lambda: store.swap("packs/a", b"y", "token"),
    ):
        with pytest.raises(RefusedError):
            change()
    assert store.get("packs/a") == b"x"
    assert [item.name for item in store.list("packs")] == ["packs/a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_folder_of_somebody_else_refuses(tmp_path: Path) -> None:
    store = made(tmp_path / "r")
    store.put("packs/a", [b"x"])
    (tmp_path / "r" / "packs").chmod(0)
    try:
        with pytest.raises(RefusedError):
            store.put("packs/b", [b"x"])
        with pytest.raises(RefusedError):
            store.get("packs/a")
    finally:
        (tmp_path / "r" / "packs").chmod(0o700)


def test_a_disk_that_was_unmounted_is_told_and_never_written_under(disk: Path) -> None:
    store = made(disk)  # the mount point itself is the repository: it stays, empty
    store.put("packs/a", [b"x"])
    subprocess.run(["umount", str(disk)], check=True)
    for call in (
        lambda: store.put("packs/b", [b"x"]),
        lambda: store.put("repository.json", [b"x"]),
        lambda: store.upload("packs/b", iter([b"x"])),
        lambda: store.get("packs/a"),
        lambda: next(store.download("packs/a")),
        lambda: store.stat("packs/a"),
        lambda: store.read("packs/a"),
        lambda: store.list("packs"),
        lambda: store.delete("packs/a"),
        lambda: store.swap("packs/a", b"y", "token"),
        lambda: store.sweep(0),
    ):
        with pytest.raises(BackendError, match="is gone"):
            call()
    assert list(disk.iterdir()) == []
    with pytest.raises(NotFoundError):
        FileStore.open(str(disk), {}).get("repository.json")


def test_a_folder_that_vanishes_is_told(tmp_path: Path) -> None:
    store = made(tmp_path / "r")
    (tmp_path / "r").rename(tmp_path / "elsewhere")
    with pytest.raises(BackendError, match="is gone"):
        store.put("packs/b", [b"x"])
    with pytest.raises(BackendError, match="is gone"):
        store.list("")
    (tmp_path / "elsewhere").rename(tmp_path / "r")
    store.put("packs/b", [b"x"])


def test_an_error_of_the_disk_that_a_stream_is_read_from_is_not_told_as_ours(tmp_path: Path) -> None:
    store = made(tmp_path / "r")
    theirs = DiskError("could not read `/elsewhere`")
    theirs.__cause__ = OSError(5, "Input/output error")

    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise theirs

    with pytest.raises(DiskError) as caught:
        store.upload("cold/a", chunks())
    assert caught.value is theirs


RACE = """
import os, sys
from antsmem.core.errors import ConflictError, WouldOverwriteError
from antsmem.drivers.file import FileStore
store = FileStore.open(sys.argv[1], {})
sys.stdin.readline()
won = 0
for turn in range(20):
    try:
        store.put(f"packs/{turn}", [sys.argv[2].encode()], new=True)
        won += 1
    except WouldOverwriteError:
        pass
for _ in range(20):
    while True:
        data, token = store.read("anchors/count")
        try:
            store.swap("anchors/count", b"%d" % (int(data) + 1), token)
            break
        except ConflictError:
            pass
print(won)
"""
NO_LINKS = [
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "trace=link,linkat",
    "-e",
    "inject=link,linkat:error=EPERM",
]


@pytest.mark.parametrize("prefix", [[], NO_LINKS], ids=["links", "no-links"])
def test_processes_that_race_have_one_winner_a_name_and_lose_no_update(tmp_path: Path, prefix: list[str]) -> None:
    if prefix and shutil.which("strace") is None:
        pytest.skip("`strace` is not installed: apt-get install strace")
    store = made(tmp_path / "r")
    store.swap("anchors/count", b"0", None)
    pipe = subprocess.PIPE
    racers = [
        subprocess.Popen(
            [*prefix, sys.executable, "-c", RACE, str(tmp_path / "r"), str(number)],
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(won) == 20
    assert store.get("anchors/count") == b"60"
    assert temps(tmp_path) == []


def test_control_looking_first_lets_two_win(tmp_path: Path) -> None:
    """What the race above would show if `new` only looked first."""
    store = made(tmp_path / "r")
    gate = threading.Barrier(2)
    won: list[int] = []

    def careless(number: int) -> None:
        if store.stat("packs/a") is None:
            gate.wait()
            store.put("packs/a", [b"%d" % number])
            won.append(number)

    together([partial(careless, number) for number in range(2)])
    assert len(won) == 2


def test_swap_waits_for_another_process_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from antsmem.core.disk import locked
    from antsmem.core.errors import LockedError
    from antsmem.drivers import file

    monkeypatch.setattr(file, "_LOCK_SECONDS", 0.05)
    store = made(tmp_path / "r")
    store.swap("anchors/a", b"1", None)
    found = store.read("anchors/a")
    assert found is not None
    with locked(tmp_path / "r" / ".antsmem-lock", "held by the test"), pytest.raises(LockedError) as caught:
        store.swap("anchors/a", b"2", found[1])
    assert not isinstance(caught.value, ConflictError)
    store.swap("anchors/a", b"2", found[1])


def test_new_says_exists_also_when_the_name_is_a_dangling_link(tmp_path: Path) -> None:
    store = made(tmp_path / "r")
    (tmp_path / "r" / "a").symlink_to("nowhere")
    with pytest.raises(WouldOverwriteError):
        store.put("a", [b"x"], new=True)


def test_the_driver_of_the_hourly_backup_imports_nothing_heavy() -> None:
    heavy = "httpx boto3 paramiko hashlib tempfile shutil logging concurrent.futures asyncio ssl json"
    script = (
        "import sys; before = set(sys.modules)\n"
        "from antsmem.drivers.file import FileStore\n"
        "FileStore.open('/nowhere/at/all', {}).stat('x')\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-S", "-c", script]
    run = subprocess.run(command, env=path, capture_output=True, text=True, check=True)
    assert not set(heavy.split()) & set(run.stdout.split())
