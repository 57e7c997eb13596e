"""Goal: a tree that a known runtime wrote is recognised, whatever is missing, and not one byte of it changes.

Method: small trees as each runtime lays them out, then with each file missing in turn, in other case, several in
one; the whole tree is compared before and after.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import corpora
import pytest
from trees import fingerprint

from antsmem.core.errors import NotFoundError
from antsmem.workspace.classes import Classifier
from antsmem.workspace.runtimes import Recognised, recognise
from antsmem.workspace.signatures import SIGNATURES, Runtime
from antsmem.workspace.survey import survey

SQLITE = "\x00sqlite"  # in TREES: a real database

TREES: dict[Runtime, dict[str, str]] = {
    "openclaw": {
        "AGENTS.md": "# AGENTS.md - Your Workspace\n",
        "SOUL.md": "# SOUL.md - Who You Are\n",
        "IDENTITY.md": "- **Name:** Claw\n",
        "USER.md": "# USER.md\n",
        "TOOLS.md": "# TOOLS.md\n",
        "HEARTBEAT.md": "# HEARTBEAT.md\n",
        "MEMORY.md": "facts\n",
        "memory/2026-11-20.md": "a day\n",
        ".openclaw/workspace-state.json": '{"version": 1}',
    },
    "hermes": {
        "config.yaml": "model: x\n",
        "SOUL.md": "You are a pragmatic engineer.\n",
        "memories/MEMORY.md": "uses uv\n§\nlikes tests\n",
        "memories/USER.md": "name: Ada\n§\nUTC\n",
        "state.db": SQLITE,
        "cron/jobs.json": "[]",
        "skills/x/SKILL.md": "x",
    },
    "nanobot": {
        "SOUL.md": "voice\n",
        "USER.md": "user\n",
        "memory/MEMORY.md": "facts\n",
        "memory/history.jsonl": '{"cursor": 1, "timestamp": "2026-04-03 00:02", "content": "- x"}\n',
        "memory/.cursor": "1",
        "memory/.dream_cursor": "1",
        "memory/.git/HEAD": "ref: refs/heads/main\n",
    },
    "picoclaw": {
        "AGENT.md": "behave\n",
        "SOUL.md": "values\n",
        "memory/MEMORY.md": "facts\n",
        "memory/202611/20261120.md": "a day\n",
        "sessions/cli.json": "{}",
        "state/state.json": "{}",
        "cron/jobs.json": "[]",
    },
    "zeroclaw": {
        "SOUL.md": "values\n",
        "MEMORY_SNAPSHOT.md": "# Memory Snapshot\n\n### `identity`\n\nI am\n",
        "memory/brain.db": SQLITE,
    },
    "claude-code": {
        "CLAUDE.md": "# Project\n",
        ".claude/settings.json": "{}",
        "CLAUDE.local.md": "mine\n",
    },
    "codex": {
        "AGENTS.override.md": "mine\n",
        ".codex/config.toml": "x = 1\n",
    },
    "letta-memfs": {
        "system/persona.md": '---\ndescription: "Who I am"\n---\n\nI am\n',
        "system/human.md": '---\ndescription: "Who they are"\n---\n',
        "reference/notes.md": "x",
        ".git/HEAD": "ref: refs/heads/main\n",
    },
    "memsearch": {
        ".memsearch/memory/2026-11-20.md": "a day\n",
        ".memsearch/milvus.db": SQLITE,
    },
}


def lay(root: Path, tree: dict[str, str]) -> Path:
    for path, text in tree.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if text == SQLITE:
            connection = sqlite3.connect(target)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE memories (body TEXT)")
            connection.commit()
            connection.close()
        else:
            target.write_text(text)
    return root


def the_one(root: Path) -> Recognised:
    found = recognise(root).found
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("runtime", SIGNATURES)
def test_each_runtime_is_recognised_for_certain_and_alone(tmp_path: Path, runtime: Runtime) -> None:
    one = the_one(lay(tmp_path, TREES[runtime]))
    assert (one.runtime, one.place, one.confidence) == (runtime, ".", "certain")
    assert all((tmp_path / path).exists() for path in one.evidence)


@pytest.mark.parametrize("runtime", SIGNATURES)
def test_each_runtime_is_recognised_with_any_one_file_missing(tmp_path: Path, runtime: Runtime) -> None:
    for number, missing in enumerate(TREES[runtime]):
        tree = {path: text for path, text in TREES[runtime].items() if path != missing}
        found = recognise(lay(tmp_path / str(number), tree)).found
        assert found[0].runtime == runtime, missing


@pytest.mark.parametrize("runtime", SIGNATURES)
def test_each_runtime_is_recognised_in_any_case(tmp_path: Path, runtime: Runtime) -> None:
    for number, change in enumerate((str.lower, str.upper, str.title)):
        tree = {change(path): text for path, text in TREES[runtime].items()}
        one = the_one(lay(tmp_path / str(number), tree))
        assert (one.runtime, one.confidence) == (runtime, "certain")


def test_several_agents_in_one_tree_are_each_found(tmp_path: Path) -> None:
    for runtime, tree in TREES.items():
        lay(tmp_path / "agents" / runtime, tree)
    lay(tmp_path, TREES["claude-code"])
    found = recognise(tmp_path)
    places = {(one.runtime, one.place) for one in found.found if one.confidence == "certain"}
    assert places == {(runtime, f"agents/{runtime}") for runtime in TREES} | {("claude-code", ".")}
    assert found.complete


@pytest.mark.parametrize("runtime", SIGNATURES)
def test_recognising_and_surveying_change_no_byte_time_or_mode(tmp_path: Path, runtime: Runtime) -> None:
    root = lay(tmp_path / "tree", TREES[runtime])
    for number, path in enumerate(sorted(root.rglob("*"))):
        if not path.is_symlink():
            os.utime(path, ns=(number, 1_700_000_000_123_456_789 + number))
    before = fingerprint(root)
    recognise(root)
    survey(root, Classifier())
    assert fingerprint(root) == before


def test_control_the_comparison_sees_a_change_of_one_byte_and_of_a_time(tmp_path: Path) -> None:
    root = lay(tmp_path, TREES["hermes"])
    before = fingerprint(root)
    (root / "SOUL.md").write_text("You are a pragmatic engineer!\n")
    changed = fingerprint(root)
    assert changed != before
    os.utime(root / "memories/USER.md", ns=(0, 0))
    assert fingerprint(root) != changed


def test_an_agent_with_a_month_of_life_is_left_as_it_is(tmp_path: Path) -> None:
    corpora.sample_agent(tmp_path / "agent")
    corpora.odd_zoo(tmp_path / "zoo", sparse_bytes=1 << 20)
    before = fingerprint(tmp_path)
    assert recognise(tmp_path).complete
    assert fingerprint(tmp_path) == before


def test_openclaw_of_today_lacks_files_that_the_agent_had(tmp_path: Path) -> None:
    tree = {path: text for path, text in TREES["openclaw"].items() if path not in {"TOOLS.md", "HEARTBEAT.md"}}
    tree["AGENTS.md"] += "\n## Tools\n\n- ssh garden\n"
    one = the_one(lay(tmp_path, tree))
    assert one.absent == ("TOOLS.md", "HEARTBEAT.md")
    assert one.notes == (
        "TOOLS moved into AGENTS since 2026.7.28",
        "HEARTBEAT moved into the database since 2026.7.28",
    )
    (tmp_path / "heartbeat.md").write_text("")
    assert the_one(tmp_path).absent == ("TOOLS.md",)


def test_classic_openclaw_lacks_nothing(tmp_path: Path) -> None:
    one = the_one(lay(tmp_path, TREES["openclaw"]))
    assert (one.absent, one.notes) == ((), ())


def test_a_home_directory_shows_the_runtimes_that_live_in_it(tmp_path: Path) -> None:
    lay(tmp_path / ".openclaw", {"openclaw.json": "{}", "state/openclaw.sqlite": SQLITE})
    lay(tmp_path / ".openclaw/workspace", TREES["openclaw"])
    lay(tmp_path / ".hermes", TREES["hermes"])
    lay(
        tmp_path / ".claude",
        {"projects/-home-ada-site/memory/MEMORY.md": "x", "projects/-home-ada-site/1.jsonl": "{}"},
    )
    lay(tmp_path / ".codex", {"sessions/2026/11/20/rollout-1.jsonl": "{}", "memories/memory_summary.md": "v1\n"})
    found = {(one.runtime, one.place): one for one in recognise(tmp_path).found if one.confidence == "certain"}
    assert set(found) == {
        ("openclaw", ".openclaw"),
        ("openclaw", ".openclaw/workspace"),
        ("hermes", ".hermes"),
        ("claude-code", ".claude"),
        ("codex", ".codex"),
    }
    assert "login data" in found["openclaw", ".openclaw"].notes[0]
    assert "path of each project" in found["claude-code", ".claude"].notes[0]


def test_notes_say_what_is_particular(tmp_path: Path) -> None:
    for runtime, words in (
        ("hermes", "`§`"),
        ("nanobot", "git repository of its own"),
        ("picoclaw", "memory/YYYYMM/YYYYMMDD.md"),
        ("zeroclaw", "SQLite"),
        ("codex", "instead of AGENTS.md"),
        ("letta-memfs", "front matter"),
        ("memsearch", "built again"),
    ):
        notes = the_one(lay(tmp_path / runtime, TREES[runtime])).notes  # type: ignore[index]
        assert any(words in note for note in notes), (runtime, notes)
    (tmp_path / "zeroclaw/memory/brain.db").unlink()
    assert "fills it from MEMORY_SNAPSHOT.md" in the_one(tmp_path / "zeroclaw").notes[-1]


def test_an_ordinary_tree_is_no_agent(tmp_path: Path) -> None:
    assert recognise(tmp_path).found == ()
    tree = {
        "README.md": "x",
        "src/main.py": "x",
        "memory/notes.md": "x",
        "sessions/1.json": "{}",
        "state.db": "text",
    }
    assert recognise(lay(tmp_path, tree)).found == ()


def test_what_is_not_a_file_is_not_read_and_links_are_not_followed(tmp_path: Path) -> None:
    lay(tmp_path / "real", TREES["hermes"])
    root = tmp_path / "agent"
    (root / "memories").mkdir(parents=True)
    os.mkfifo(root / "memories/MEMORY.md")
    (root / "other").symlink_to(tmp_path / "real")
    (root / "SOUL.md").symlink_to("/dev/zero")
    one = the_one(root)
    assert (one.runtime, one.place, one.confidence) == ("hermes", ".", "likely")


def test_directories_that_a_backup_leaves_out_are_not_entered(tmp_path: Path) -> None:
    lay(tmp_path / "node_modules/agent", TREES["hermes"])
    assert recognise(tmp_path).found == ()


def test_a_tree_of_any_size_is_looked_at_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antsmem.workspace.runtimes._MOST_DIRECTORIES", 10)
    for number in range(20):
        (tmp_path / f"d{number}").mkdir()
    found = recognise(tmp_path)
    assert (found.directories, found.complete) == (10, False)


def test_no_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a directory"):
        recognise(tmp_path / "missing")
