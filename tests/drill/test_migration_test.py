"""Goal: a passed migration test means that the agent comes back the same, and a broken restore never passes.

Method: the real program, on agents that live. Each sabotage breaks the restore in one way, and is the control of
the proofs that have to see it. What lives is compared before and after, to the last byte and time.
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

from antsmem.drill.old import copy_agent
from antsmem.drill.tree import look
from antsmem.workspace.classes import Classifier
from antsmem.workspace.evidence import read_evidence

PROOFS = [
    "identity", "old-key", "memory", "intents", "resumes", "effects", "fenced", "secrets", "leaks",
]  # fmt: skip


def test_an_agent_survives_and_every_claim_has_its_evidence(home: Home) -> None:
    ran = home.must("migrate-test", "--json")
    test = ran.document
    assert test["schema"] == "antsmem.migrate-test/1" and test["passed"] and test["target"] == "process"
    assert [proof["name"] for proof in test["proofs"]] == PROOFS
    assert all(proof["holds"] is True and proof["evidence"] for proof in test["proofs"])
    assert [step["name"] for step in test["steps"]] == [
        "back up", "destroy", "new infrastructure", "restore", "start",
    ]  # fmt: skip
    assert 0 < test["rto_seconds"] < 600 and 0 < test["rpo_seconds"] < 600 and test["rpo_entries"] == 1
    for what in ("user", "home", "time zone", "language"):
        assert test["old"][what] != test["new"][what]
    assert list((home.root / "scratch").iterdir()) == [], "nothing is left"


def test_the_living_agent_is_not_touched(home: Home) -> None:
    before = look(home.root)
    home.must("migrate-test")
    after = look(home.root)
    (state,) = (home.home / ".local/state/antsmem").glob("Qm*")
    evidence = [os.fsencode((state / name).relative_to(home.root)) for name in ("evidence.jsonl", "evidence.lock")]
    for path in evidence:
        assert path in after, "what was proven is remembered"
        del after[path]
    for path in (os.fsencode(state.relative_to(home.root)), b"scratch"):
        assert before.pop(path).kind == after.pop(path).kind == "directory"
    assert before == after
    (proven,) = read_evidence(state)
    assert proven.kind == "migration-test" and proven.details["target"] == "process"


@pytest.mark.parametrize(
    ("sabotage", "broken", "named"),
    [
        ("lose-keys", "identity", "no message after"),
        ("drop-memory", "memory", "memory/antsmem-drill-half-written.md is missing"),
        ("forget-intents", "intents", "`drill-pending` is forgotten"),
        ("leak-key", "leaks", "host key (base64) in what outlives machines:repository/notes.txt"),
        ("double-run", "effects", "`drill-happened` happened 2 times"),
    ],
)
def test_a_sabotage_is_caught_and_what_broke_is_named(home: Home, sabotage: str, broken: str, named: str) -> None:
    ran = home.must("migrate-test", "--sabotage", sabotage, "--json", code=50)
    proofs = {proof["name"]: proof for proof in ran.document["proofs"]}
    assert not ran.document["passed"] and ran.document["sabotage"] == sabotage
    assert proofs[broken]["holds"] is False and named in proofs[broken]["evidence"]
    error = json.loads(ran.err)
    assert (error["error"], error["exit_code"]) == ("migration-test", 50) and broken in error["message"]
    (state,) = (home.home / ".local/state/antsmem").glob("Qm*")
    assert read_evidence(state) == (), "a test that was sabotaged proves nothing"


def test_what_links_lead_to_is_not_written_to(home: Home) -> None:
    notes, agent = home.root / "notes", home.root / "linked"
    for place in (notes / "heartbeat", agent / ".antsmem", agent / "NOW.md", agent / "antsmem-drill"):
        place.mkdir(parents=True)
    (notes / "2026-01-01.md").write_text("kept elsewhere")
    (agent / "memory").symlink_to(notes)
    (agent / ".antsmem" / "heartbeat").symlink_to(notes / "heartbeat")
    (agent / "HEARTBEAT.md").symlink_to(notes / "HEARTBEAT.md")
    before = look(notes)
    assert home.run("-C", str(agent), "migrate-test", "--json").document["passed"]
    assert look(notes) == before


def test_what_the_agent_removes_while_it_is_copied_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "stays"):
        (tmp_path / "agent" / name).mkdir(parents=True)
        (tmp_path / "agent" / name / "file").write_text("text")

    def removing(place: Path) -> None:
        mkdir(place)
        if os.fsencode(place).endswith(b"/gone"):
            shutil.rmtree(tmp_path / "agent" / "gone")

    mkdir = os.mkdir
    monkeypatch.setattr(os, "mkdir", lambda place, _mode=0: removing(place))
    assert copy_agent(tmp_path / "agent", tmp_path / "copy", Classifier({})) == 1


def test_a_directory_that_is_no_workspace_yet_is_tested_too(home: Home) -> None:
    bare = home.root / "bare"
    (bare / "memory").mkdir(parents=True)
    (bare / "SOUL.md").write_text("# Soul\n")
    (bare / "HEARTBEAT.md").write_text(f"- {{id=x run}} touch {home.root}/was-run\n")
    before = look(bare)
    ran = home.run("-C", str(bare), "migrate-test")
    assert ran.code == 0, ran
    assert look(bare) == before and not (home.root / "was-run").exists()
    assert ran.out.count("\nok ") == len(PROOFS) and ran.out.endswith("migration test passed\n")


def test_an_agent_that_cannot_be_backed_up_fails_and_says_why(home: Home) -> None:
    token = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"
    (home.workspace / "MEMORY.md").write_text(f"Use {token}.\n")
    ran = home.must("migrate-test", code=50)
    assert "FAILED  the step `back up` is done" in ran.out and "secret" in ran.out
    assert token not in ran.out + ran.err and TRACE not in ran.err


def test_a_secret_that_the_agent_may_keep_is_carried_through_and_one_that_it_may_not_fails(home: Home) -> None:
    kept, other = ("gh" + f"p_{letter}7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi" for letter in "qz")
    memory = home.workspace / "MEMORY.md"
    memory.write_text(f"# Memory\n\nThe example in the manual: {kept}\n")
    home.must("waive", "MEMORY.md:3", "--reason", "an example, long revoked")
    ran = home.must("migrate-test", "--json")
    assert "waived secret: 1" in ran.document["steps"][0]["what"]
    memory.write_text(f"# Memory\n\nThe example in the manual: {kept} {other}\n")
    ran = home.must("migrate-test", "--json", code=50)
    assert ran.document["proofs"][0]["name"] == "back-up", "what is beside it is not permitted with it"
    assert kept not in ran.out + ran.err and other not in ran.out + ran.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--target", "moon"], 2),
        (["--target", "process:x"], 2),
        (["--target", "ssh:-oProxyCommand=true"], 2),
        (["--target", "container:"], 2),
        (["--sabotage", "everything"], 2),
        (["--report", "report.txt"], 2),
        (["--relay", "http://example.com"], 2),
        (["--report", "nowhere/report.md"], 10),
        (["--junit", "nowhere/report.xml"], 10),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_done(home: Home, words: list[str], code: int) -> None:
    ran = home.must("migrate-test", *words, code=code)
    assert TRACE not in ran.err and list((home.root / "scratch").iterdir()) == []


def test_what_a_killed_test_left_goes_with_the_next_one(home: Home) -> None:
    scratch = home.root / "scratch"
    program = [sys.executable, "-P", "-m", "antsmem", "-C", str(home.workspace), "migrate-test"]
    process = subprocess.Popen(program, env=home.environment, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 300
    while not list(scratch.glob("*/keep/world/reached-*")) and time.monotonic() < until:
        time.sleep(0.02)
    (left,) = scratch.iterdir()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert left.exists()
    home.must("migrate-test", "--sabotage", "lose-keys", code=50)
    assert [str(each) for each in scratch.rglob("*")] == []
    until = time.monotonic() + 120
    while _running(left) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _running(left), "nor does anything of it run"


def _running(place: Path) -> list[str]:
    found = []
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(place) in status.read_bytes():
                found.append(status.parent.name)
        except OSError:
            continue
    return found
