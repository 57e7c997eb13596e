"""Goal: an agent that `antsmem heartbeat` starts gets what it needs and says what it did, through the commands
that it would type; a person sees its questions, and `doctor` what would go wrong.

Method: a home with an agent whose program is a script. It reads its prompt, calls `antsmem` as an agent would, and
keeps what it got; then journal, daily log and the script's notes are looked at.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from made_homes import TRACE, Home
from made_secrets import lock, plant

ANTSMEM = Path(sys.executable).parent / "antsmem"
WORD = b"opensesame-4711-known"


@pytest.fixture
def home(home: Home) -> Home:
    home.environment["PATH"] = f"{ANTSMEM.parent}:{os.environ['PATH']}"
    (home.workspace / "USER.md").write_text("- Time zone: UTC\n")
    return home


def agent(home: Home, script: str, task: str = "- say hello {id=hello every=1h}\n") -> None:
    """Make `script` the agent's program, and `task` its HEARTBEAT.md."""
    program = home.root / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    config = home.home / ".config/antsmem/config.yaml"
    config.write_text(f"agent:\n  preset: shell\n  command: [{program}]\n  timeout: 50s\n")
    (home.workspace / "HEARTBEAT.md").write_text(task)


def logged(home: Home) -> str:
    (log,) = (home.workspace / "memory").glob("*.md")
    return log.read_text()


def test_a_turn_gets_its_context_and_reports(home: Home) -> None:
    agent(home, 'cat > prompt; antsmem report "$ANTSMEM_KEY" done --note "said hello"')
    ran = home.must("heartbeat")
    assert (ran.out, ran.err) == ("", "")
    prompt = (home.workspace / "prompt").read_text()
    key = prompt.split("Due: ")[1].split("\n")[0]
    assert key.startswith("hello@") and "say hello" in prompt and "HEARTBEAT_OK " in prompt
    (kept,) = home.workspace.glob(".antsmem/heartbeat/runs/*/context.md")
    assert kept.read_text() == prompt and kept.stat().st_mode & 0o777 == 0o600
    assert f"hello: said hello <!-- hb:{key} -->" in logged(home)
    row = home.run("-C", str(home.workspace), "--json", "heartbeat", "log", key).document["entries"][-1]
    assert (row["state"], row["how"], row["note"]) == ("DONE", "report", "said hello")


def test_a_question_is_shown_and_answered(home: Home) -> None:
    agent(home, 'cat > prompt; antsmem report "$ANTSMEM_KEY" blocked --note "which account?"')
    ran = home.must("heartbeat", code=3)
    assert "which account?" in ran.out
    listed = home.must("heartbeat", "log").out.splitlines()
    key = next(line.split()[2] for line in listed if "BLOCKED" in line)
    assert "which account?" in listed[-1] and "hello: asks: which account?" in logged(home)
    home.must("heartbeat", "resolve", key, "redo", "--note", "the green one")
    agent(home, 'cat > prompt; antsmem report "$ANTSMEM_KEY" done --note "used it"')
    home.must("heartbeat")
    assert "a person says: the green one" in (home.workspace / "prompt").read_text()
    assert f"<!-- hb:{key} -->" in logged(home)


def test_who_is_not_the_agent_of_this_run_cannot_report(home: Home) -> None:
    script = (
        'antsmem report "$ANTSMEM_KEY" finished; echo $? >> codes; '
        'antsmem report other done; echo $? >> codes; '
        'ANTSMEM_NONCE=0123456789abcdef0123456789abcdef antsmem report "$ANTSMEM_KEY" done; echo $? >> codes; '
        'antsmem report "$ANTSMEM_KEY" nothing; echo $? >> codes; echo "$ANTSMEM_KEY $ANTSMEM_NONCE" > stolen'
    )  # fmt: skip
    agent(home, script)
    home.must("heartbeat")
    assert (home.workspace / "codes").read_text().split() == ["2", "2", "2", "0"]
    key, nonce = (home.workspace / "stolen").read_text().split()
    late = home.run("-C", str(home.workspace), "report", key, "done", more={"ANTSMEM_NONCE": nonce})
    assert late.code == 2 and "no turn" in late.err and TRACE not in late.err
    assert home.run("-C", str(home.workspace), "report", key, "done").code == 2
    assert nonce not in home.must("heartbeat", "log").out


def test_wake_prints_the_context_and_hides_what_is_secret(home: Home) -> None:
    plant(home, door=WORD)
    (home.workspace / "MEMORY.md").write_bytes(b"the door opens with " + WORD + b"\n")
    (home.workspace / "HEARTBEAT.md").write_text("- look at the door {id=door every=1h}\n")
    ran = home.must("wake")
    assert "the door opens with [secret]" in ran.out and WORD.decode() not in ran.out + ran.err
    assert "`MEMORY.md` holds a secret (known:door)" in ran.err and "look at the door" in ran.out
    document = home.run("-C", str(home.workspace), "--json", "wake", "--tokens", "1000").document
    assert document["tokens"] <= 1000 and document["hidden"] == [{"path": "MEMORY.md", "rule": "known:door"}]


def test_a_locked_keystore_does_not_stop_a_wake(home: Home) -> None:
    word = b"q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa"
    plant(home, door=word)
    home.must("scan", "--remember")
    (home.workspace / "MEMORY.md").write_bytes(b"the door opens with " + word + b"\n")
    lock(home)
    ran = home.must("wake")
    assert "the door opens with [secret]" in ran.out and word.decode() not in ran.out + ran.err
    assert "known by their fingerprints" in home.run("-C", str(home.workspace), "heartbeat", "doctor").out
    next((home.home / ".local/state/antsmem").glob("*/fingerprints.json")).unlink()
    assert "antsmem scan --remember" in home.run("-C", str(home.workspace), "heartbeat", "doctor").out


def test_compact_saves_the_summary_and_gives_the_turn_its_context_again(home: Home) -> None:
    script = (
        'cat > prompt; echo "I had found out: the door is green" | antsmem compact > again; '
        'antsmem report "$ANTSMEM_KEY" done'
    )
    agent(home, script)
    home.must("heartbeat")
    prompt, again = (home.workspace / "prompt").read_text(), (home.workspace / "again").read_text()
    nonce = prompt.split("HEARTBEAT_OK ")[1].split("\n")[0]
    assert len(nonce) == 32 and f"HEARTBEAT_OK {nonce}\n" in again and "say hello" in again
    assert "the door is green" in again and "Summary:" in logged(home)
    assert home.run("-C", str(home.workspace), "compact").code == 2, "nothing to save"


def test_an_agent_that_forgets_to_report_is_not_believed(home: Home) -> None:
    agent(home, "cat > prompt; echo all done")
    ran = home.must("heartbeat", code=3)
    assert "no-report" in ran.out and "nobody knows whether it happened" in logged(home)


def test_doctor_says_what_is_missing(home: Home) -> None:
    ran = home.must("heartbeat", "doctor")
    assert "warn  agent" in ran.out, "nobody asks for it yet"
    (home.workspace / "HEARTBEAT.md").write_text("- say hello {id=hello every=1h}\n")
    ran = home.must("heartbeat", "doctor", code=3)
    assert "fail  agent" in ran.out
    assert "no agent is configured" in ran.out and "agent: {preset: claude}" in ran.out
    agent(home, "touch started")
    ran = home.must("heartbeat", "doctor")
    rows = {line.split()[1]: line.split()[0] for line in ran.out.splitlines() if not line.startswith("  ")}
    assert {rows[name] for name in ("agent", "program", "file", "journal", "locks", "host")} == {"ok"}
    assert not (home.workspace / "started").exists(), "nobody's own program is started by asking"
    (home.root / "program").chmod(0o644)
    (home.workspace / "HEARTBEAT.md").write_text("- a {evry=1h}\n")
    (home.workspace / "SOUL.md").unlink()
    (home.workspace / "SOUL.md").symlink_to("/etc/passwd")
    ran = home.must("heartbeat", "doctor", code=3)
    assert "is not on the PATH" in ran.out and "1 errors" in ran.out and "`SOUL.md` cannot be read" in ran.out


CLAUDE = """#!/bin/sh
case $1 in
  --version) echo "9.9.9 (Claude Code)";;
  --help) echo "Options: {options}";;
  *) touch started;;
esac
"""


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("-p, --print --output-format <f> --allowedTools, --allowed-tools <t>", 0, "names all options"),
        ("-p, --print --output <f>", 3, "does not name --output-format, --allowedTools"),
    ],
)
def test_doctor_asks_the_program_for_the_options_that_are_used(
    home: Home, options: str, code: int, said: str
) -> None:
    folder = home.root / "bin"
    folder.mkdir()
    (folder / "claude").write_text(CLAUDE.replace("{options}", options))
    (folder / "claude").chmod(0o755)
    (home.home / ".config/antsmem/config.yaml").write_text("agent:\n  preset: claude\n")
    home.environment["PATH"] = f"{folder}:{home.environment['PATH']}"
    ran = home.must("heartbeat", "doctor", code=code)
    assert said in ran.out and "9.9.9 (Claude Code)" in ran.out
    assert "with cron's own PATH" in ran.out and not list(home.root.rglob("started"))


@pytest.mark.parametrize(
    "text",
    ["agent: claude\n", "agent:\n  command: [x]\n", "agent:\n  preset: claude\n  timeout: soon\n",
     "agent:\n  preset: clade\n", "agent:\n  preset: shell\n"],
)  # fmt: skip
def test_an_agent_that_is_not_configured_well_is_named(home: Home, text: str) -> None:
    (home.workspace / "HEARTBEAT.md").write_text("- look {every=1h}\n")
    (home.home / ".config/antsmem/config.yaml").write_text(text)
    ran = home.run("-C", str(home.workspace), "heartbeat")
    assert ran.code == 2 and "→" in ran.err and TRACE not in ran.err
