"""Goal: the wake context fits its budget, is the same for the same files, and takes no secret to the model.

Method: workspaces with drawn files (long lines, other scripts, bytes that are no UTF-8, secrets anywhere), drawn
budgets, and a count of what came out. Control: without the scanner, the same secrets pass.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_journals import DAY, FRIDAY, add, places, state

from antsmem.core.clock import utc_text
from antsmem.core.errors import UsageError
from antsmem.core.record import replace
from antsmem.heartbeat import context
from antsmem.heartbeat.context import (
    LEAST_TOKENS,
    ContextRequest,
    DueText,
    build_context,
    estimate_tokens,
    ledger_entries,
    share_out,
    without_secrets,
)
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry
from antsmem.identity.scanner import Scanner

NONCE = "0123456789abcdef0123456789abcdef"
NAMES = ("NOW.md", "SOUL.md", "USER.md", "TOOLS.md", "MEMORY.md", "memory/2026-11-20.md", "memory/2026-11-19.md")
KNOWN = b"opensesame-4711-known"
LONG = b"".join(b"%03d-sesame-" % at for at in range(150))
SCANNER = Scanner([("door", KNOWN), ("gate", LONG)], fingerprint_key=bytes(32))
LINES = st.lists(
    st.one_of(
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(max_size=40),
        st.sampled_from([b"- a note\n", "記憶する\n".encode(), b"x" * 500, KNOWN, b"key: " + KNOWN + b"\n"]),
    ),
    max_size=12,
).map(b"".join)
FILES = st.dictionaries(st.sampled_from(NAMES), st.tuples(LINES, st.integers(1, 200)).map(lambda p: p[0] * p[1]))
TASKS = st.lists(st.tuples(st.text(max_size=30), st.text(max_size=2000)), max_size=3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return workspace(tmp_path, {})


def workspace(root: Path, files: dict[str, bytes]) -> Path:
    (root / "memory").mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    return root


def request(root: Path, tasks: Sequence[DueText] = (), entries: Sequence[Entry] = ()) -> ContextRequest:
    return ContextRequest(root, tuple(tasks), entries, FRIDAY, "UTC", NONCE, scan=SCANNER.scan)


@given(FILES, TASKS, st.integers(LEAST_TOKENS, 20_000))
@settings(max_examples=40, deadline=None)
def test_no_context_exceeds_its_budget_or_holds_a_secret(
    files: dict[str, bytes], drawn: list[tuple[str, str]], budget: int
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        workspace(root, files)
        tasks = [DueText(f"task-{at}@2026", title, text) for at, (title, text) in enumerate(drawn)]
        asked = replace(request(root, tasks), budget_tokens=budget)
        made = build_context(asked)
        assert made == build_context(asked), "the same for the same files"
        assert made.tokens == estimate_tokens(made.text) <= budget
        assert KNOWN.decode() not in made.text and not SCANNER.scan(made.text.encode())
        assert f"HEARTBEAT_OK {NONCE}\n" in made.text and all(task.key in made.text for task in tasks)
        for cut in made.cuts:
            assert 0 <= cut.kept_bytes < cut.size_bytes
            assert f"[cut: {cut.path} has {cut.size_bytes} bytes, {cut.kept_bytes} of them are shown]" in made.text
    finally:
        shutil.rmtree(root)


def test_control_without_the_scanner_a_secret_passes(root: Path) -> None:
    (root / "MEMORY.md").write_bytes(b"the door: " + KNOWN)
    assert KNOWN.decode() in build_context(replace(request(root), scan=None)).text
    made = build_context(request(root))
    assert "the door: [secret]" in made.text
    assert [(each.path, each.rule) for each in made.hidden] == [("MEMORY.md", "known:door")]


def parts_shown(root: Path, name: str) -> list[int]:
    """At which shifts of a file full of secrets a part of one is shown. They shrink what was read to less than the
    budget, so that its edge, where one is cut in two, would fit too."""
    limit, found = LEAST_TOKENS * 3 + (16 << 10), []
    for shift in range(0, len(LONG), 150):
        filler = (LONG + b"\n") * (limit // (len(LONG) + 1) + 3)
        (root / name).write_bytes(b"." * shift + filler + b"." * shift)
        text = build_context(replace(request(root), budget_tokens=LEAST_TOKENS)).text
        found += [shift] if "sesame" in text else []
    return found


@pytest.mark.parametrize("name", ["MEMORY.md", "memory/2026-11-20.md"])
def test_a_secret_at_the_edge_of_what_is_read_does_not_pass_in_part(root: Path, name: str) -> None:
    assert parts_shown(root, name) == []


def test_control_an_edge_that_is_shown_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_without_border", lambda data, found, tail: (data, found))
    assert parts_shown(root, "memory/2026-11-20.md")


def test_the_parts_stand_in_their_order(root: Path) -> None:
    for name in NAMES:
        (root / name).write_text(f"this is {name}\n")
    text = build_context(request(root, [DueText("a@b", "do it", "now")])).text
    order = ["HEARTBEAT_OK", "Due: a@b", "do it", " ledger\n", *(f"this is {name}" for name in NAMES)]
    assert [text.index(each) for each in order] == sorted(text.index(each) for each in order)


def test_a_file_keeps_its_head_and_a_log_its_tail(root: Path) -> None:
    lines = [f"line {at}" for at in range(5000)]
    for name in ("MEMORY.md", "memory/2026-11-20.md"):
        (root / name).write_text("\n".join(lines))
    text = build_context(replace(request(root), budget_tokens=2000)).text
    memory, log = text.split("MEMORY.md\n")[1], text.split("memory/2026-11-20.md\n")[1]
    assert memory.startswith("line 0\n") and "line 4999\n" not in memory.split("---")[0]
    assert log.startswith("[cut: ") and log.rstrip().endswith("line 4999")


def test_days_are_those_of_the_agent(root: Path) -> None:
    for day in (19, 20, 21):
        (root / f"memory/2026-11-{day}.md").write_text(f"the {day}th\n")
    late = replace(request(root), now_ns=FRIDAY + DAY // 3, zone="Asia/Tokyo")  # past midnight there
    text = build_context(late).text
    assert "the 21th" in text and "the 20th" in text and "the 19th" not in text


def test_no_file_can_pretend_to_be_another_part(root: Path) -> None:
    fence = build_context(request(root)).text.split("begin with `")[1].split("`")[0]
    assert fence not in build_context(replace(request(root), nonce="f" * 32)).text


def test_what_cannot_be_read_is_told(root: Path) -> None:
    (root / "SOUL.md").symlink_to("/etc/passwd")
    (root / "USER.md").mkdir()
    os.mkfifo(root / "NOW.md")
    made = build_context(request(root))
    assert made.unread == ("NOW.md", "SOUL.md", "USER.md") and "root:" not in made.text
    assert made.text.count("cannot be read") == 3


def test_a_budget_is_neither_tiny_nor_without_end(root: Path) -> None:
    for tokens in (0, LEAST_TOKENS - 1, 1 << 30):
        with pytest.raises(UsageError):
            build_context(replace(request(root), budget_tokens=tokens))
    many = [DueText(f"{'k' * 180}{at}", "", "") for at in range(40)]
    with pytest.raises(UsageError, match="do not fit"):
        build_context(replace(request(root, many), budget_tokens=LEAST_TOKENS))


def test_the_ledger_tells_of_what_is_open_and_was_done_today(tmp_path: Path) -> None:
    journal = Journal(places(tmp_path))
    add(journal, state("old@1", "DONE", task="old", slot="1"), now_ns=FRIDAY - 2 * DAY)
    add(
        journal,
        state("post@1", "DONE", task="post", slot="1", run="ab" * 12, note="posted"),
        state("mail@1", "HELD", why="died"),
        state("ask@1", "BLOCKED", note="which account?"),
        state("ask@2", "PLANNED", how="person", note="the green one"),
    )
    entries = ledger_entries(journal, FRIDAY, "UTC")
    assert [entry.key for entry in entries] == ["ask@1", "ask@2", "mail@1", "post@1"]
    text = build_context(request(workspace(tmp_path, {}), (), entries)).text
    assert "BLOCKED ask@1 2026-11-20 15:23: which account?" in text
    assert "PLANNED ask@2 2026-11-20 15:23: a person says: the green one" in text
    assert f"DONE post@1 2026-11-20 15:23 (runs/{'ab' * 12}): posted" in text and "old@1" not in text


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 5)), max_size=6), st.integers(0, 3000))
def test_shares_give_nobody_more_than_it_needs_and_waste_nothing(parts: list[tuple[int, int]], total: int) -> None:
    needs, weights = [need for need, _ in parts], [weight for _, weight in parts]
    got = share_out(needs, weights, total)
    assert all(0 <= share <= need for share, need in zip(got, needs, strict=True)) and sum(got) <= total
    if sum(needs) <= total:
        assert got == needs
    else:
        assert total - sum(got) < max(1, len(parts))


def test_a_note_is_cleaned() -> None:
    assert without_secrets(f"used {KNOWN.decode()} twice", SCANNER.scan) == "used [secret] twice"


def test_an_instant_of_a_damaged_record_is_shown_all_the_same(root: Path) -> None:
    entry = Entry(1, "yesterday", "state", {"key": "k", "state": "HELD"})
    assert "HELD k 1970-01-01" in build_context(request(root, (), [entry])).text
    assert utc_text(0).startswith("1970")
