"""Goal: `antsmem heartbeat` is fit for cron: silent unless a person is needed, quick when idle, right when it is
interrupted, and the same exit codes always.

Method: commands in the home of an agent, real signals to real processes; system calls and imports of an idle wake
are counted, its time is not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_homes import TRACE, Home
from test_imports import loaded, within

RUN = '- run: sh -c "echo $ANTSMEM_KEY >> out" {id=post every=1h}\n'
SLOW = '- run: sh -c "echo ready >> out; exec sleep 600" {id=slow every=1h}\n'


@pytest.fixture
def home(home: Home) -> Home:
    """An agent on a host whose operator allows every command."""
    (home.workspace / "USER.md").write_text("- Time zone: UTC\n")
    operator(home, 'heartbeat:\n  allow:\n    - "*"\n')
    return home


def operator(home: Home, text: str) -> None:
    (home.home / ".config/antsmem/config.yaml").write_text(text)


def write(home: Home, text: str) -> None:
    (home.workspace / "HEARTBEAT.md").write_text(text)


def test_cron_hears_nothing_unless_a_person_is_needed(home: Home) -> None:
    write(home, RUN)
    for _ in range(3):
        ran = home.must("heartbeat")
        assert (ran.out, ran.err) == ("", "")
    assert (home.workspace / "out").read_text().count("post@") == 1
    write(home, "- run: false {id=bad every=1h}\n")
    ran = home.must("heartbeat", code=3)
    assert "bad@" in ran.out and "resolve" in ran.out and ran.err == ""
    ran = home.must("heartbeat", code=3)
    assert (ran.out, ran.err) == ("", ""), "told once a day"
    key = home.run("-C", str(home.workspace), "--json", "heartbeat").document["questions"][0]["key"]
    home.must("heartbeat", "resolve", key, "drop")
    ran = home.must("heartbeat")
    assert (ran.out, ran.err) == ("", "")


def test_an_exit_code_is_the_worst_that_a_person_can_mend(home: Home) -> None:
    write(home, "- run: false {id=a every=1h effect=pure}\n")
    home.must("heartbeat", code=5)
    write(home, "- run: false {id=b every=1h}\n- run: false {id=c every=1h effect=pure}\n")
    home.must("heartbeat", code=3)
    write(home, "- run: false {id=d every=1h}\n- e {evry=1h}\n")
    home.must("heartbeat", code=2)
    home.must("heartbeat", "retire")
    assert "retired" in home.must("heartbeat", code=4).err


def test_options_and_json(home: Home) -> None:
    write(home, RUN + "- run: true {id=other every=1h}\n")
    assert home.must("heartbeat", "--dry-run").out.count("would run") == 2
    assert not (home.workspace / "out").exists()
    document = home.must("--json", "heartbeat", "--only", "other").document
    assert document["schema"] == "antsmem.heartbeat-wake/1"
    assert [done["task"] for done in document["done"]] == ["other"]
    home.must("heartbeat", "--only", "nobody", code=10)


def test_a_wrong_configuration_is_one_line_with_what_was_meant(home: Home) -> None:
    write(home, RUN)
    for text, meant in [
        ("heartbeat:\n  allows:\n    - x\n", "did you mean `allow`"),
        ("heartbeat:\n  trust: never\n", "one of open, pin"),
        ("heartbeat:\n  budget:\n    run: 5euro\n", "0.50usd"),
        ("heartbeat:\n  budget:\n    week: 5usd\n", "unknown key"),
        ('heartbeat:\n  allow:\n    - "a \'b"\n', "as a shell reads words"),
        ("heartbeat:\n  timeout: soon\n", "`90s`"),
    ]:
        operator(home, text)
        ran = home.must("heartbeat", code=2)
        assert meant in ran.err and "config.yaml:" in ran.err and TRACE not in ran.err


def test_a_person_s_hand_on_a_task(home: Home) -> None:
    write(home, RUN)
    home.must("heartbeat", "pause", "post")
    assert home.must("heartbeat").out == "" and not (home.workspace / "out").exists()
    home.must("heartbeat", "resume", "post")
    home.must("heartbeat", "run", "post")
    home.must("heartbeat", "run", "post")
    assert (home.workspace / "out").read_text().count("post@") == 2
    for verb in ("run", "pause", "resume"):
        home.must("heartbeat", verb, "nobody", code=10)


def test_what_was_approved_runs_and_what_was_changed_since_does_not(home: Home) -> None:
    operator(home, 'heartbeat:\n  trust: pin\n  allow:\n    - "*"\n')
    write(home, RUN)
    assert "approve" in home.must("heartbeat", code=3).out
    home.must("heartbeat", "approve")
    home.must("heartbeat")
    write(home, RUN + "- run: true {id=x every=1h}\n")
    home.must("heartbeat", code=3)
    assert (home.workspace / "out").read_text().count("post@") == 1


def test_plan_and_next_know_what_was_done(home: Home) -> None:
    write(home, "- run: true {id=post every=4h}\n")
    assert "now" in home.must("heartbeat", "plan").out
    home.must("heartbeat")
    assert " now" not in home.must("heartbeat", "plan").out
    slots = home.must("--json", "heartbeat", "next").document["slots"]
    assert not slots[0]["due"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["wake", "once"])
def test_an_interrupt_holds_what_was_under_way_and_says_so(
    home: Home, number: signal.Signals, command: str
) -> None:
    write(home, SLOW if command == "wake" else "")
    out = home.workspace / "out"
    once = ["once", "k", "--", "sh", "-c", f"echo ready >> {out}; exec sleep 600"]
    process = home.start("", *(["heartbeat"] if command == "wake" else once))
    wait_for(out)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + number, said
    key = "slow@" if command == "wake" else "`k`"
    assert key in said and "held" in said and "heartbeat resolve" in said and TRACE not in said
    assert "begins anew" not in said
    (state,) = home.must("--json", "heartbeat", "log", "--last", "1").document["entries"]
    assert (state["state"], state["why"]) == ("HELD", "interrupted")
    if command == "wake":
        told = home.run("-C", str(home.workspace), "--json", "heartbeat", "status")
        assert told.document["exit"] == 128 + number
    home.must("heartbeat", code=3 if command == "wake" else 0)
    assert out.read_text() == "ready\n"


def test_a_wake_that_is_killed_leaves_a_task_that_goes_on_and_the_next_wake_leaves_it_alone(home: Home) -> None:
    write(home, SLOW.replace("exec sleep 600", "until [ -e go ]; do sleep 0.02; done"))
    out = home.workspace / "out"
    process = home.start("", "heartbeat")
    wait_for(out)
    process.kill()
    process.communicate()

    def busy() -> list[str]:
        document = home.run("-C", str(home.workspace), "--json", "heartbeat").document
        assert not any(done["ran"] for done in document["done"])
        found: list[str] = document["busy"]
        return found

    assert len(busy()) == 1
    (home.workspace / "go").touch()
    until = time.monotonic() + 120
    while busy():
        assert time.monotonic() < until
    home.must("heartbeat", code=3)
    assert out.read_text() == "ready\n"


def wait_for(path: Path) -> None:
    """Until something stands in `path`."""
    until = time.monotonic() + 120
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_idle_wake_loads_little_and_opens_no_journal(home: Home) -> None:
    write(home, RUN)
    home.must("heartbeat")
    home.must("heartbeat")
    modules = loaded(home, "-C", str(home.workspace), "heartbeat")
    heavy = (
        "typer",
        "rich",
        "yaml",
        "nacl",
        "cryptography",
        "cronsim",
        "json",
        "datetime",
        "subprocess",
        "zoneinfo",
    )
    assert within(modules, *heavy, "antsmem.cli.commands", "antsmem.backup", "antsmem.drivers") == set()
    unread = ("journal", "fold", "plan", "reading", "wake", "once", "schedule")
    assert within(modules, *(f"antsmem.heartbeat.{name}" for name in unread), "antsmem.identity.log") == set()


def test_an_idle_wake_waits_for_no_disk_and_stays_idle_in_a_long_history(home: Home) -> None:
    if shutil.which("strace") is None:
        pytest.skip("apt-get install strace")
    write(home, RUN)
    home.must("heartbeat")
    grow(home, 20_000)
    home.must("heartbeat")
    log = home.root / "calls"
    trace = ["strace", "-f", "-qqq", "-o", str(log), "-e", "trace=fsync,fdatasync,sync,syncfs,openat"]
    argv = [sys.executable, "-m", "antsmem", "-C", str(home.workspace), "heartbeat"]
    done = subprocess.run([*trace, *argv], env=home.environment, capture_output=True, check=False)
    if done.returncode and b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    calls = log.read_text()
    assert done.returncode == 0 and "sync(" not in calls
    assert "heartbeat/journal/" not in calls and "HEARTBEAT.md" not in calls


def grow(home: Home, records: int) -> None:
    """Make the journal long: a line that counts nothing, many times."""
    from antsmem.core.canonical import dumps
    from antsmem.heartbeat.line import encode

    (month,) = (home.workspace / ".antsmem/heartbeat/journal").iterdir()
    last = json.loads(month.read_bytes().splitlines()[-1][9:])
    import hashlib

    prev = hashlib.sha256(month.read_bytes().splitlines()[-1]).hexdigest()
    lines = []
    for number in range(last["number"] + 1, last["number"] + 1 + records):
        body = {
            "at": last["at"],
            "kind": "state",
            "key": f"k{number}",
            "state": "DONE",
            "number": number,
            "prev": prev,
        }
        lines.append(encode(body))
        prev = hashlib.sha256(lines[-1][:-1]).hexdigest()
    assert dumps(last)
    with open(month, "ab") as file:
        file.write(b"".join(lines))


def test_whatever_is_touched_ends_the_rest(home: Home) -> None:
    """What an idle wake trusts is looked at: HEARTBEAT.md, the clock's zone, the journal, the configuration."""
    write(home, RUN)
    home.must("heartbeat")
    home.must("heartbeat")
    touched = [
        home.workspace / "HEARTBEAT.md",
        home.workspace / "USER.md",
        home.workspace / ".antsmem/agent.yaml",
        home.home / ".config/antsmem/config.yaml",
        *(home.workspace / ".antsmem/heartbeat/journal").iterdir(),
    ]
    for path in touched:
        assert "antsmem.heartbeat.wake" not in loaded(home, "-C", str(home.workspace), "heartbeat"), path
        os.utime(path)
        assert "antsmem.heartbeat.wake" in loaded(home, "-C", str(home.workspace), "heartbeat"), path


def test_no_key_is_needed(home: Home) -> None:
    write(home, RUN)
    shutil.rmtree(home.home / ".config/antsmem/keys")
    shutil.rmtree(home.workspace / ".antsmem/keystore")
    home.must("heartbeat")
    assert (home.workspace / "out").read_text().count("post@") == 1
