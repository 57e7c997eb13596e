"""Goal: a secret does not get into logs, nor from there into the agent's memory, by way of what antsmem prints.

Method: the secret is put wherever a command repeats what it was given or met (paths, URLs, file contents, a
crash), in several spellings; all output is searched in all spellings. The way from a program's output into the
daily log is walked to its end. Controls: with the mask taken away each of these shows the secret, and the scanner
finds it.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_homes import Home
from made_secrets import plant

from antsmem.core.spellings import KnownValues

SECRET = "".join(["Zk7Qw2", "Lx9Rt4", "Vb8Nm1", "Hs6Jd3"])
CODE = base64.b64encode(SECRET.encode()).decode()
BARE = "from antsmem.cli.output import Output\nOutput.hide = lambda self, values: None"
CRASH = f"""
import antsmem.cli.commands.status as status
def broken(*_):
    raise RuntimeError("forced, with {SECRET} and {CODE}")
status._repository = broken
"""
CALLS = {
    "a path that is not there": ["restore", f"latest-{SECRET}", "--to", "x"],
    "a path in JSON": ["restore", f"latest-{SECRET}", "--to", "x", "--json"],
    "a file in a snapshot": ["show", "latest:note.md"],
    "a name in a snapshot": ["ls"],
    "names in JSON": ["ls", "--json"],
    "a URL": ["status", "-v"],
}


@pytest.fixture
def kept(home: Home) -> Home:
    """An agent that was careless before the secret was known."""
    (home.workspace / "note.md").write_text(f"one {CODE}\ntwo {SECRET}\n")
    (home.workspace / f"{SECRET}.md").write_text("its name is the secret\n")
    home.must("backup")
    home.must("repository", "add", "second", f"./{SECRET}")
    plant(home, db=SECRET.encode())
    return home


def leaks(text: str) -> bool:
    return bool(KnownValues([SECRET.encode()]).search(text.encode(errors="surrogateescape")))


def said(home: Home, script: str, *words: str) -> str:
    out, err = home.start(script, *words).communicate(timeout=300)
    return out + err


@pytest.mark.parametrize("name", CALLS)
def test_what_a_command_repeats_is_masked(kept: Home, name: str) -> None:
    text = said(kept, "", *CALLS[name])
    assert "[secret:db]" in text and not leaks(text)
    assert leaks(said(kept, BARE, *CALLS[name])), "the control: without the mask it shows"


def test_a_crash_is_masked_too(kept: Home) -> None:
    text = said(kept, CRASH, "status")
    assert "Traceback" in text and text.count("[secret:db]") > 1 and not leaks(text)
    assert leaks(said(kept, f"{BARE}\n{CRASH}", "status"))


def test_the_keystores_own_keys_are_masked(kept: Home) -> None:
    (key,) = (kept.home / ".config/antsmem/keys").glob("*.key")
    host = key.read_text().splitlines()[-1]
    crash = CRASH.replace(SECRET, host)
    assert host not in said(kept, crash, "status") and host in said(kept, f"{BARE}\n{crash}", "status")


def test_what_is_not_unlocked_is_not_touched(kept: Home) -> None:
    assert SECRET in said(kept, "", "log", "--", SECRET, "-C") or leaks(said(kept, "", "config", "show"))
    script = "import atexit, sys; atexit.register(lambda: print('antsmem.core.mask' in sys.modules))"
    assert "False" in said(kept, script, "log", "x"), "and costs nothing"


def test_a_quiet_command_builds_no_mask(home: Home) -> None:
    plant(home, db=SECRET.encode())
    loaded = "str('antsmem.core.mask' in sys.modules)"
    script = f"import atexit, sys; atexit.register(lambda: sys.__stdout__.write({loaded}))"
    assert said(home, script, "-q", "backup") == "False"
    assert said(home, script, "backup").endswith("True")


@pytest.mark.parametrize("guarded", [True, False])
def test_a_programs_output_reaches_log_and_memory_without_its_secret(home: Home, guarded: bool) -> None:
    plant(home, db=SECRET.encode())
    bare = "import antsmem.identity.launch as l\nl.Stream.feed = lambda self, data: data"
    script = f'echo "connected with {CODE[:0]}$DB"; printf %s "$DB" | base64'
    words = ["exec", "--env", "DB=secret://db", "--", "sh", "-c", script]
    process = home.start("" if guarded else bare, *words)
    logged = home.run("-C", "agent", "log", stdin=process.communicate(timeout=300)[0].encode())
    assert logged.code == 0
    (day,) = (home.workspace / "memory").glob("20*.md")
    assert "connected with" in day.read_text() and leaks(day.read_text()) is not guarded
    assert home.run("-C", "agent", "scan").code == (0 if guarded else 21)


def test_output_that_is_no_text_comes_through_unchanged(home: Home) -> None:
    data = bytes(range(256)) * 1000
    (home.workspace / "odd.bin").write_bytes(data)
    home.must("backup")
    plant(home, db=SECRET.encode())
    antsmem = Path(sys.executable).parent / "antsmem"
    command = [str(antsmem), "-C", str(home.workspace), "show", "latest:odd.bin"]
    assert subprocess.run(command, env=home.environment, capture_output=True, check=True).stdout == data


def test_what_only_begins_like_a_secret_is_not_lost_at_the_end(home: Home) -> None:
    (home.workspace / "begins.txt").write_text(f"text\n{SECRET[:16]}")
    (home.workspace / "hardly.txt").write_text(f"text\n{SECRET[:5]}")
    home.must("backup")
    plant(home, db=SECRET.encode())
    assert home.must("show", "latest:begins.txt").out == "text\n[secret:cut off]"
    assert home.must("show", "latest:hardly.txt").out == f"text\n{SECRET[:5]}"


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2], [1, 2]])
def test_what_is_closed_leads_nowhere_and_not_into_a_file(home: Home, closed: list[int]) -> None:
    plant(home, db=SECRET.encode())
    marks = " ".join(f"{number}>&-" for number in closed)
    antsmem = f"{Path(sys.executable).parent / 'antsmem'} -C {home.workspace}"
    request = '{"protocolVersion": 1, "ids": ["db"]}'
    for words in (
        "status",
        "exec --file DB=secret://db -- sh -c 'cat $DB; echo out; echo err >&2'",
        "secret resolve",
    ):
        command = f"echo '{request}' | {antsmem} {words} {marks}; true"
        done = subprocess.run(
            ["sh", "-c", command], env=home.environment, capture_output=True, text=True, check=True
        )
        assert "Traceback" not in done.stderr and not leaks(done.stderr), (words, done)
        assert 1 not in closed or done.stdout == ""
    for folder, _, names in os.walk(home.root):
        for name in names:
            assert b"out\n" not in (Path(folder) / name).read_bytes()[:9]
