"""Goal: `antsmem once`, and what belongs to it, do what a shell script may rely on.

Method: the commands are run as a terminal would, with and without a workspace, rightly and wrongly.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from made_homes import TRACE, Home

POST = ("sh", "-c", 'echo "$ANTSMEM_KEY" >> "$HOME/world"; echo posted; echo hm >&2')
WAITS = "touch $HOME/started; until [ -e $HOME/go ]; do sleep 0.02; done"


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A home without any agent."""
    return Home(tmp_path)


def world(home: Home) -> list[str]:
    path = home.home / "world"
    return path.read_text().splitlines() if path.exists() else []


def test_it_needs_no_workspace_and_no_identity(bare: Home) -> None:
    first = bare.run("once", "post-1", "--", *POST)
    assert (first.code, first.out, first.err) == (0, "posted\n", "hm\n")
    again = bare.run("once", "post-1", "--", *POST)
    assert (again.code, again.out) == (0, "posted\n")
    assert "not run again" in again.err
    assert bare.run("-q", "once", "post-1", "--", *POST).err == ""
    assert world(bare) == ["post-1"]
    assert (bare.home / ".local/state/antsmem/once/journal").is_dir()


def test_in_a_workspace_the_journal_travels_with_the_agent(home: Home) -> None:
    home.must("once", "post-1", "--", *POST)
    assert list((home.workspace / ".antsmem/heartbeat/journal").iterdir())
    home.must("backup")
    assert home.run("once", "post-1", "--", *POST).code == 0, "outside of the workspace: another journal"
    assert world(home) == ["post-1", "post-1"]


def test_nothing_of_it_touches_a_key(home: Home) -> None:
    for path in (home.home / ".config/antsmem/keys").iterdir():
        path.unlink()
    home.must("once", "post-1", "--", *POST)
    assert home.must("heartbeat", "log", "--json").document["held"] == []


def test_the_codes_say_what_to_do(bare: Home) -> None:
    assert bare.run("once", "a", "--effect", "pure", "--", "false").code == 5
    assert bare.run("once", "b", "--", "/nowhere").code == 5
    held = bare.run("once", "c", "--", "false")
    assert held.code == 3 and "antsmem heartbeat resolve c done|redo|drop" in held.err
    assert bare.run("once", "c", "--", *POST).code == 3 and world(bare) == []
    assert "HELD → PLANNED" in bare.run("heartbeat", "resolve", "c", "redo").out
    assert bare.run("once", "c", "--", *POST).code == 0
    assert bare.run("heartbeat", "resolve", "c", "done").code == 2
    assert bare.run("heartbeat", "resolve", "nobody", "done").code == 10
    assert bare.run("heartbeat", "resolve", "c", "perhaps").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["once"],
        ["once", "k"],
        ["once", "k", "--"],
        ["once", "a b", "--", "true"],
        ["once", "", "--", "true"],
        ["once", "k", "--effect", "sometimes", "--", "true"],
        ["once", "k", "--effect", "verify", "--", "true"],
        ["once", "k", "--effect", "pure", "--verify", "true", "--", "true"],
        ["once", "k", "--verify", "'", "--", "true"],
        ["once", "k", "--timeout", "soon", "--", "true"],
        ["once", "k", "--timeout", "0", "--", "true"],
        ["once", "k", "--timeout", "8d", "--", "true"],
        ["heartbeat", "resolve", "k"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_and_nothing_runs(bare: Home, words: list[str]) -> None:
    ran = bare.run(*words)
    assert ran.code == 2 and TRACE not in ran.err
    assert not (bare.home / ".local").exists()


def test_a_missing_file_or_workspace_is_told(bare: Home) -> None:
    assert bare.run("once", "k", "--key-from", "none", "--", "true").code == 10
    assert bare.run("-C", "nowhere", "once", "k", "--", "true").code == 10
    assert bare.run("heartbeat", "log", "nobody").code == 10
    assert bare.run("heartbeat", "take-over").code == 10
    assert bare.run("heartbeat", "log").out == "nothing yet\n"


def test_the_same_text_goes_out_once_whatever_the_key(bare: Home) -> None:
    for text in ("Hello,  world!\n", "Hello, world!", "Hello, you!"):
        (bare.root / "post.md").write_text(text)
        assert bare.run("once", "moltbook", "--key-from", "post.md", "--", *POST).code == 0
    assert len(world(bare)) == 2 and all(key.startswith("moltbook:") for key in world(bare))


def test_standard_input_reaches_the_command(bare: Home) -> None:
    assert bare.run("once", "k", "--", "cat", stdin=b"said\n").out == "said\n"
    assert bare.run("once", "k", "--", "cat", stdin=b"other\n").out == "said\n"


def test_a_secret_of_the_environment_is_kept_nowhere(bare: Home) -> None:
    value = "q7RtZ2mVx9KpL4s"
    ran = bare.run("once", "k", "--", "sh", "-c", "echo got $MY_TOKEN", more={"MY_TOKEN": value})
    assert ran.out == "got [secret:MY_TOKEN]\n"
    kept = [path for path in (bare.home / ".local").rglob("*") if path.is_file()]
    assert kept and not any(value.encode() in path.read_bytes() for path in kept)


def test_json_says_it_all(bare: Home) -> None:
    found = bare.run("--json", "once", "k", "--", *POST).document
    assert found["schema"] == "antsmem.once/1"
    assert (found["key"], found["state"], found["ran"], found["stdout"]) == ("k", "DONE", True, "posted\n")
    log = bare.run("--json", "heartbeat", "log", "k").document
    assert [row["state"] for row in log["entries"]] == ["PLANNED", "STARTED", "DONE"]
    assert log["health"] == {"records": 4, "bad": 0, "missing": 0}


def test_damage_is_told_and_ends_with_three(bare: Home) -> None:
    bare.run("once", "a", "--", "true")
    bare.run("once", "b", "--", "true")
    (month,) = (bare.home / ".local/state/antsmem/once/journal").iterdir()
    data = bytearray(month.read_bytes())
    data[data.index(b'"STARTED"') + 2] ^= 1
    month.write_bytes(data)
    ran = bare.run("heartbeat", "log")
    assert ran.code == 3 and "1 bad lines, 1 records are missing" in ran.err
    assert bare.run("once", "c", "--", "true").code == 0


def test_a_key_that_is_being_done_is_busy(bare: Home) -> None:
    child = os.fork()
    if child == 0:
        os._exit(bare.run("once", "k", "--", "sh", "-c", WAITS).code)
    while not (bare.home / "started").exists():
        time.sleep(0.01)
    ran = bare.run("--json", "once", "k", "--", *POST)
    assert ran.code == 75 and ran.error["error"] == "busy" and ran.error["transient"] is True
    (bare.home / "go").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert world(bare) == []


@pytest.mark.parametrize("given", [(), ("--json",)])
def test_an_interrupt_ends_the_command_and_the_next_call_asks(home: Home, given: tuple[str, ...]) -> None:
    running = home.start("", *given, "once", "k", "--", "sh", "-c", "touch $HOME/started; exec sleep 600")
    while not (home.home / "started").exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate()
    assert running.returncode == 130 and TRACE not in told and "resolve" in told
    assert not given or json.loads(told)["exit_code"] == 130
    assert home.must("once", "k", "--", *POST, code=3).out == "" and world(home) == []


def test_a_copy_of_the_workspace_starts_nothing_before_it_takes_over(home: Home) -> None:
    home.must("once", "a", "--", *POST)
    copied = home.root / "elsewhere"
    shutil.copytree(home.workspace, copied)
    home.must("once", "b", "--", *POST)
    ran = home.run("-C", str(copied), "once", "c", "--", *POST)
    assert ran.code == 4 and "take-over" in ran.err
    assert home.run("-C", str(copied), "once", "a", "--", *POST).code == 0, "replaying is no work"
    assert home.run("-C", str(copied), "heartbeat", "take-over").code == 2
    assert "epoch 1" in home.run("-C", str(copied), "heartbeat", "take-over", "--old-host-off").out
    assert home.run("-C", str(copied), "once", "c", "--", *POST).code == 0
    home.must("once", "d", "--", *POST, code=4)
    assert world(home) == ["a", "b", "c"]


def test_a_retired_host_starts_nothing(home: Home) -> None:
    home.must("once", "a", "--", *POST)
    home.must("heartbeat", "retire")
    home.must("once", "b", "--", *POST, code=4)
    home.must("heartbeat", "take-over", "--old-host-off")
    home.must("once", "b", "--", *POST)
    assert world(home) == ["a", "b"]


def test_a_restore_of_yesterday_does_not_make_today_happen_again(home: Home) -> None:
    home.must("backup")
    home.must("once", "today", "--", *POST)
    home.must("restore", "--in-place")
    assert home.must("once", "today", "--", *POST, code=4).out == ""
    assert world(home) == ["today"]
