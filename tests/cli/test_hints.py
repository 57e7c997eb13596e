"""Goal: a hint leads on, and never back to where one came from. Method: what can be broken is broken, and what
the hint says is done as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from made_homes import KIT, TRACE, Home

TOKEN = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"


def typed(text: str) -> list[str]:
    """The words of a command line, as bash reads it."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("name", ["identity/did.jsonl", "keystore/keystore.age"])
@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_where_the_identity_is_broken_the_hint_brings_it_back(home: Home, name: str, damage: str) -> None:
    home.must("backup")
    path = home.workspace / ".antsmem" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"garbage\n")
    ran = home.run("-C", "agent", "status")
    assert ran.code == (10 if damage == "gone" else 30) and TRACE not in ran.err
    assert path.name in ran.err or "no identity log" in ran.err, ran
    command = re.findall(r"then: antsmem (.*)", ran.err)[0]
    assert "move the workspace aside" in ran.err
    shutil.move(home.workspace, home.root / "aside")
    given = {"NEWDIR": str(home.workspace), "KIT": KIT, "URL": str(home.repository)}
    ran = home.run(*(given.get(each, each) for each in command.split()))
    assert ran.code == 0, ran
    home.must("backup")


def test_a_workspace_that_lost_its_settings_gets_them_by_the_hint(home: Home) -> None:
    home.must("backup")
    (home.workspace / ".antsmem/agent.yaml").unlink()
    ran = home.run("-C", str(home.workspace / "memory"), "status")
    assert ran.code == 10 and "lost its `.antsmem/agent.yaml`" in ran.err
    command = re.findall(r"anew: (.*)", ran.err)[0]
    subprocess.run(["bash", "-c", command.replace("NAME", "kevin")], check=True)
    home.must("backup")


def test_a_file_that_is_no_yaml_is_named_with_its_line(home: Home) -> None:
    config = home.home / ".config/antsmem/config.yaml"
    config.write_text("agent: {\nx: ]\n")
    for words in (["status"], ["config", "show", "--origin"]):
        ran = home.must(*words, code=2)
        assert re.search(rf"edit `{re.escape(str(config))}`, line \d", ran.err), ran


def test_a_repository_that_lost_its_name_gets_it_back_by_the_hint(home: Home) -> None:
    home.must("backup")
    (home.repository / "repository.json").write_text("{")
    for words in (["backup"], ["check", "--read-data"]):
        ran = home.must(*words, code=30)
        assert "`repository.json`: JSON is broken" in ran.err and "antsmem check --repair" in ran.err, ran
    assert "made anew" in home.must("check", "--repair").err
    home.must("backup")
    home.must("check", "--read-data")


@pytest.mark.parametrize("name", ["x\ny.md", "it's\t.md", "plain name.md", "\udcff.md"])
def test_an_alarm_about_a_file_of_any_name_gives_the_command_that_mends_it(home: Home, name: str) -> None:
    path, text = home.workspace / "memory" / name, "- a fact that is long enough\n" * 40
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    home.must("guard")
    path.unlink()
    told = home.must("guard", code=3).out
    home.must(*typed(re.findall(r"`antsmem (undo .*)` brings", told)[0]))
    assert path.read_text() == text


def test_a_secret_in_a_file_of_any_name_is_waived_as_the_refusal_says(home: Home) -> None:
    (home.workspace / "sec\nret's.md").write_text(f"token {TOKEN}\n")
    ran = home.must("backup", code=21)
    home.must(*typed(re.findall(r"antsmem (waive .*)", ran.err)[0]))
    home.must("backup")


def test_what_ls_prints_is_what_show_takes(home: Home) -> None:
    for name in ("new\nline.md", "back\\0012slash.md"):
        (home.workspace / name).write_text(f"in {name}")
    home.must("backup")
    listed = [line.split(maxsplit=3)[-1] for line in home.must("ls").out.splitlines()]
    found = [each for each in listed if "\\" in each]
    assert len(found) == 2
    assert {home.must("show", f"latest:{each}").out for each in found} == {
        "in new\nline.md",
        "in back\\0012slash.md",
    }


def test_what_is_damaged_is_named(home: Home) -> None:
    home.must("secret", "set", "old", stdin=b"not a secret")
    home.must("backup")
    home.must("sync")
    repository, wrong = str(home.repository), home.root / "wrong"
    wrong.write_text("garbage\n")
    ran = home.must("identity", "verify", str(wrong), code=30)
    assert f"`{wrong}`: identity log entry 1: JSON is broken" in ran.err
    ran = home.must("migrate", "finish", str(wrong), "--code", "X", "--out", "parcel", stdin=b"", code=30)
    assert "`the offer`: JSON is broken" in ran.err
    recover = ("recover", "new", "--kit", KIT, "--repository", repository, "--secrets", str(wrong))
    ran = home.run(*recover, "--host", "other", "--instead")
    assert ran.code == 30 and f"the secrets' escrow `{wrong}`: age" in ran.err, ran
    (home.workspace / "MEMORY.md").write_text("a fact\n")
    home.must("sync")
    log = next((home.workspace / ".antsmem/events").glob("*~*/*.jsonl"))
    log.write_bytes(b'{"x": 1}\n' + log.read_bytes())
    ran = home.must("sync", code=30)
    assert f"`{log}`, byte 0: a line of an event log is not an event" in ran.err and "antsmem restore" in ran.err


def test_an_epoch_key_that_is_gone_or_damaged_is_named(home: Home) -> None:
    home.must("backup")
    (hot,) = (home.workspace / ".antsmem/keystore/epochs").glob("hot-*")
    kept = hot.read_bytes()
    hot.write_bytes(b"garbage\n")
    ran = home.must("restore", "--to", "x", code=30)
    assert f"epoch file `{hot.name}`: age" in ran.err
    hot.unlink()
    ran = home.must("restore", "--to", "x", code=20)
    assert "no key at hand opens snapshot" in ran.err and "--kit KIT --repository URL" in ran.err
    shutil.rmtree(hot.parent)
    home.must("restore", "--to", "x", code=20)
    hot.parent.mkdir()
    hot.write_bytes(kept)
    home.must("restore", "--to", "x")


def test_the_tier_that_is_missing_is_the_one_to_back_up(home: Home) -> None:
    assert "antsmem backup --tier cold makes one" in home.must("restore", "cold", "--to", "x", code=10).err
    assert "antsmem backup makes one" in home.must("restore", "--to", "x", code=10).err


def test_a_backup_lists_what_it_leaves_out(home: Home) -> None:
    (home.workspace / "node_modules").mkdir()
    (home.workspace / ".env").write_text("A=b\n")
    assert "left out: 1 derived, 2 secret" in home.must("backup").out
    told = home.must("-v", "backup").err
    assert "left out: `.env` (secret: " in told and "left out: `node_modules` (derived: " in told


@pytest.mark.parametrize("broken", ["agent.yaml", "ledger"])
def test_what_is_wrong_is_said_once(home: Home, broken: str) -> None:
    home.must("secret", "set", "old", stdin=b"not a secret")
    home.must("guard")
    if broken == "agent.yaml":
        (home.workspace / ".antsmem/agent.yaml").write_text("nmae: kevin\n")
    else:
        (home.workspace / ".antsmem/keystore/ledger.age").write_bytes(b"garbage")
    ran = home.must("backup", code=2 if broken == "agent.yaml" else 30)
    assert ran.err.count(broken.partition(".")[0]) and "was not guarded" not in ran.err, ran


@pytest.mark.parametrize("words", [["secret", "set", "a"], ["secret", "rotate", "a"], ["compact"], ["log"]])
def test_nobody_is_asked_for_a_value_where_there_is_no_workspace(home: Home, words: list[str]) -> None:
    ran = home.run(*words)
    assert ran.code == 10 and "no workspace at or above" in ran.err, "an empty standard input is no value"


def test_an_empty_word_means_nothing(home: Home) -> None:
    home.must("backup")
    for words in (["restore", "", "--to", "x"], ["ls", ""], ["show", ":MEMORY.md"]):
        ran = home.must(*words, code=2)
        assert "its name is empty" in ran.err, ran
    ran = home.run("-C", "", "status")
    assert ran.code == 2 and "`-C` names no workspace" in ran.err


def test_the_variable_that_names_no_workspace_is_named(home: Home) -> None:
    ran = home.run("status", more={"ANTSMEM_WORKSPACE": "/nowhere"})
    assert ran.code == 10 and "`/nowhere`, which `ANTSMEM_WORKSPACE` names" in ran.err


def test_a_pipe_is_no_empty_file(home: Home) -> None:
    path = home.workspace / "HEARTBEAT.md"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    ran = home.must("heartbeat", "plan", code=2)
    assert f"`{path}` is no regular file" in ran.err


def test_a_wrong_call_names_what_is_wrong_and_the_help_of_its_command(home: Home) -> None:
    token = "gh" + "p_0123456789"
    for words, said in (
        (["restore"], "see `antsmem restore --help`"),
        (["backup", "--tier", "warm"], "see `antsmem backup --help`"),
        (["exec", "--env", "A=secret://a", "--env", token, "--", "true"], "number 2 of --env is not NAME="),
        (["exec", "--file", f"A={token}", "--", "true"], "--file `A`: what is given is no reference"),
        (["secret", "set", "bad name"], "antsmem: `bad name` cannot name a secret"),
    ):
        ran = home.must(*words, stdin=b"value", code=2)
        assert said in ran.err and token not in ran.err, ran
    ran = home.must("secret", "set", "long", stdin=b"x" * 70_000, code=2)
    assert "make it smaller" in ran.err
    assert "is the path right?" in home.must("secret", "import", "/nowhere", code=10).err
