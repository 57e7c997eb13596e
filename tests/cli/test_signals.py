"""Goal: a command that is interrupted leaves no lock, no temporary file and no half snapshot.

Method: a real process is stopped at a chosen call of the store, by a script that runs before the command; it gets
the signal there. What it leaves behind is looked at, and the same command must go through right after.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from made_homes import TRACE, Home

from antsmem.core.disk import is_temp

STOP = """
import os, threading, time
from antsmem.drivers.file import FileStore
real = FileStore.{call}
def a_while():
    while not os.path.exists(os.environ["HOME"] + "/told"):
        time.sleep(0.01)
    time.sleep(0.5)
def stopping(self, name, *given, **how):
    if name.startswith({prefix!r}):
        print("stopped", flush=True)
        {wait}
    return real(self, name, *given, **how)
FileStore.{call} = stopping
"""
FOREVER = "time.sleep(600)"
"""In the main thread: the signal's handler ends it."""
A_WHILE = "a_while()"
"""In a thread of its own: a store that is slow until the signal was sent, and then a while; the command waits for
what is under way, and no longer."""


def leftovers(home: Home) -> list[str]:
    """What no ended command may leave: half-written files, leases, staging directories."""
    found = []
    for folder, folders, files in os.walk(home.root):
        for name in (*folders, *files):
            if is_temp(name) or name == "lease.json" or name.startswith(".antsmem-restoring"):
                found.append(os.path.join(folder, name))
    return found


def interrupt(home: Home, script: str, number: int, *words: str) -> tuple[int, str]:
    """Start the command, send the signal when it stands still; (exit code, stderr)."""
    process = home.start(script, *words)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "stopped\n", (line, process.communicate())
    process.send_signal(number)
    (home.home / "told").touch()
    _, said = process.communicate(timeout=300)
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_an_interrupted_backup_leaves_nothing_and_the_next_one_goes_through(
    home: Home, number: signal.Signals, tier: str
) -> None:
    prefix, call, wait = ("packs/", "put", FOREVER) if tier == "hot" else ("cold/", "upload", A_WHILE)
    script = STOP.format(call=call, prefix=prefix, wait=wait)
    code, said = interrupt(home, script, number, "backup", "--tier", tier)
    assert code == 128 + number, said
    assert "interrupted" in said and TRACE not in said
    assert leftovers(home) == []
    assert home.ids == []
    home.must("backup", "--tier", tier)
    assert len(home.ids) == 1
    home.must("check", "--read-data")


def test_a_backup_that_is_interrupted_while_threads_seal_waits_for_them_only(home: Home) -> None:
    for number in range(8):
        (home.workspace / f"{number}.bin").write_bytes(os.urandom(4 << 20))
    script = STOP.format(call="put", prefix="packs/", wait=A_WHILE)
    code, said = interrupt(home, script, signal.SIGINT, "backup")
    assert code == 130 and TRACE not in said, said
    assert leftovers(home) == [] and not any((home.repository / "packs").iterdir())
    home.must("backup")
    home.must("check", "--read-data")


def test_a_snapshot_that_was_committed_before_the_signal_counts(home: Home) -> None:
    script = STOP.format(call="swap", prefix="anchors/snapshots", wait=FOREVER)
    code, said = interrupt(home, script, signal.SIGTERM, "backup")
    assert code == 143 and leftovers(home) == [], said
    assert len(home.ids) == 1
    home.must("check", "--read-data")
    home.must("backup")
    assert len(set(home.ids)) == len(home.ids) == 2


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_an_interrupted_restore_leaves_neither_target_nor_staging(home: Home, tier: str, tmp_path: Path) -> None:
    home.must("backup", "--tier", tier)
    prefix, call = ("packs/", "get") if tier == "hot" else ("cold/", "download")
    script = STOP.format(call=call, prefix=prefix, wait=A_WHILE if tier == "hot" else FOREVER)
    words = ["restore", "--to", "there/back"]
    if tier == "cold":
        words += ["cold", "--kit", "kit.txt", "--repository", str(home.repository)]
    code, said = interrupt(home, script, signal.SIGINT, *words)
    assert code == 130 and TRACE not in said, said
    assert leftovers(home) == [] and not (home.root / "there/back").exists()
    home.must(*words)
    assert (home.root / "there/back/SOUL.md").exists()


def test_an_interrupted_prune_leaves_a_whole_repository(home: Home) -> None:
    for text in ("one\n", "two\n", "three\n"):
        (home.workspace / "MEMORY.md").write_text(text * 1000)
        home.must("backup")
    script = STOP.format(call="delete", prefix="snapshots/", wait=FOREVER)
    code, said = interrupt(home, script, signal.SIGINT, "forget", home.ids[0], "--grace-hours", "0")
    assert code == 130 and leftovers(home) == [], said
    home.must("check", "--read-data")
    home.must("prune", "--grace-hours", "0")
    assert len(home.ids) == 2 - (len(home.ids) == 1)
    home.must("check", "--read-data")


def test_a_reader_that_goes_away_is_no_bug(home: Home) -> None:
    home.must("backup")
    process = home.start("", "ls")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=300) == 141 and TRACE not in said


def test_ctrl_c_while_the_program_loads_just_ends_it(home: Home) -> None:
    script = "import antsmem.__main__ as it, os, signal, sys\n" + (
        "sys.addaudithook(lambda what, given: what == 'import' and given[0] == 'antsmem.cli.context'"
        " and os.kill(os.getpid(), signal.SIGINT))\nit.main()"
    )
    process = home.start(script, "status")
    out, said = process.communicate(timeout=300)
    assert (process.returncode, out, said) == (-signal.SIGINT, "", "")


def test_input_that_ends_where_an_answer_was_asked_for_is_a_wrong_call(home: Home) -> None:
    script = "import typer\nfrom antsmem.cli import main as it\ndef app(*_, **__): raise typer.Abort\n"
    process = home.start(script + "it.single = lambda _: app", "status")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2 and "the input ended" in said and TRACE not in said
