"""Goal: `heartbeat plan` and `heartbeat next` say what HEARTBEAT.md asks for, of whatever file, with no key.

Method: files into the workspace of an agent, commands on them; what is loaded is looked at as for other commands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from made_homes import TRACE, Home

WAKE = """
import sys
from antsmem.cli.context import Context, Options
from antsmem.cli.heartbeats import read_heartbeat
from antsmem.heartbeat.due import Progress, decide
context = Context(Options())
plan = read_heartbeat(context).plan
assert not decide(plan, {task.id: Progress(0, context.now_ns) for task in plan.tasks}, context.now_ns).due
print("\\n".join(sys.modules))
"""


def write(home: Home, text: str | bytes, name: str = "HEARTBEAT.md") -> None:
    (home.workspace / name).write_bytes(text.encode() if isinstance(text, str) else text)


def test_the_plan_says_how_the_file_was_understood(home: Home) -> None:
    write(home, "# H\n- look\n## Every 4 hours\n- forum\n## Weekdays 9:00\n- brief\n")
    rows = home.must("heartbeat", "plan").out.splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["2", "3", "5"]
    assert "every 4h" in rows[2] and "weekdays 09:00" in rows[3]


def test_no_file_and_an_empty_one_ask_for_nothing(home: Home) -> None:
    (home.workspace / "HEARTBEAT.md").unlink()
    assert "no HEARTBEAT.md" in home.must("heartbeat", "plan").out
    assert home.must("heartbeat", "next").out == "nothing to do\n"
    write(home, "# Heartbeat\n")
    assert "asks for nothing" in home.must("heartbeat", "plan").out


@pytest.mark.parametrize("template", ["default", "minimal", "openclaw"])
def test_a_new_agent_has_nothing_to_do(home: Home, template: str) -> None:
    directory = home.root / f"new-{template}"
    ran = home.run("init", str(directory), "--template", template, "--recovery-out", f"kit-{template}")
    assert ran.code == 0, ran
    ran = home.run("-C", str(directory), "heartbeat", "plan")
    assert ran.code == 0 and "asks for nothing" in ran.out and ran.err == ""


def test_an_error_names_the_line_and_ends_with_2(home: Home) -> None:
    write(home, "- a\n- b {evry=4h}\n")
    ran = home.must("heartbeat", "plan", code=2)
    assert "HEARTBEAT.md:2: error: unknown key `evry`: did you mean `every`?" in ran.err
    home.must("heartbeat", "next")


def test_a_file_cannot_talk_to_the_terminal(home: Home) -> None:
    write(home, b"## \x1b[2J\x1b]0;owned\x07 (daily)\n- a\n## Around 9:00 \x1b[31m\n- b {x\x1b=1}\n")
    ran = home.must("heartbeat", "plan")
    assert "\x1b" not in ran.out + ran.err + home.must("heartbeat", "next").out


def test_the_clock_is_that_of_the_first_who_says(home: Home) -> None:
    write(home, "- a {every=09:00}\n")

    def clock(**more: str) -> dict[str, str]:
        ran = home.run("-C", str(home.workspace), "--json", "heartbeat", "plan", more=more)
        found = ran.document["time_zone"]
        assert isinstance(found, dict)
        return found

    settings = home.workspace / ".antsmem/agent.yaml"
    write(home, "- **Zona horaria**: America/Lima\n", "USER.md")
    assert clock() == {"name": "America/Lima", "origin": "USER.md"}
    write(home, "nothing\n", "USER.md")
    assert clock()["origin"] == "agent.yaml"
    lines = settings.read_text().splitlines()
    settings.write_text("\n".join(line for line in lines if "time_zone" not in line))
    assert clock(TZ="Asia/Tokyo") == {"name": "Asia/Tokyo", "origin": "host"}


def test_neither_the_keystore_nor_a_key_is_needed(home: Home) -> None:
    write(home, "- a\n")
    shutil.rmtree(home.workspace / ".antsmem/keystore")
    shutil.rmtree(home.home / ".config")
    assert "now" in home.must("heartbeat", "plan").out


@pytest.mark.parametrize("what", ["directory", "pipe", "symlink", "large", "unreadable"])
def test_what_is_no_file_is_refused_in_one_line(home: Home, what: str) -> None:
    place = home.workspace / "HEARTBEAT.md"
    place.unlink()
    if what == "directory":
        place.mkdir()
    elif what == "pipe":
        os.mkfifo(place)
    elif what == "symlink":
        place.symlink_to("SOUL.md")
    elif what == "large":
        place.write_bytes(b"- a\n" * 100_000)
    else:
        place.write_bytes(b"- a\n")
        place.chmod(0)
    ran = home.run("-C", str(home.workspace), "heartbeat", "plan")
    if what == "unreadable" and os.geteuid() == 0:
        assert ran.code == 0
        return
    if what == "pipe":
        assert ran.code in {0, 2}
        return
    assert ran.code == 2 and TRACE not in ran.err and "HEARTBEAT.md" in ran.err, ran


def test_a_wake_with_nothing_due_loads_little(home: Home) -> None:
    write(home, "# Heartbeat\n\n- Look at the inbox.\n\n## Every 4 hours\n- Forum\n")
    done = subprocess.run(
        [sys.executable, "-c", WAKE], cwd=home.workspace, env=home.environment, capture_output=True, check=True
    )
    loaded = set(done.stdout.decode().split())
    heavy = ("typer", "rich", "yaml", "nacl", "cryptography", "cronsim", "calendar", "difflib", "json", "datetime")
    assert not [name for name in loaded if name.split(".")[0] in heavy]
    rooms = ("antsmem.backup", "antsmem.identity.keystore", "antsmem.drivers", "antsmem.workspace.settings")
    assert not [name for name in loaded if name.startswith(rooms)]
