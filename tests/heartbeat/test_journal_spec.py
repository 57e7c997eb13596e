"""Goal: docs/spec/journal-v1.md says exactly what stands in a journal.

Method: every vector is taken from the page and made again; another reader, written after the page alone, reads a
journal and comes to the same answers.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from made_journals import DAY, FRIDAY, add, history, month_of, places, state

from antsmem.heartbeat import journal as module
from antsmem.heartbeat.epoch import Duty, sign_duty
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import MAX_LINE_BYTES
from antsmem.heartbeat.once import command_hash, content_key, fence
from antsmem.heartbeat.states import KINDS
from antsmem.identity.signing import SigningKey

PAGE = (Path(__file__).parents[2] / "docs/spec/journal-v1.md").read_text("utf-8")


def vector(name: str) -> str:
    (found,) = re.findall(rf"^```vector:{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """The journal that the page shows."""
    monkeypatch.setattr(module.os, "urandom", lambda size: bytes(range(size)))
    journal = Journal(places(tmp_path))
    started = {
        "attempt": 1, "boot": "", "command": command_hash(("true",)), "effect": "hold", "epoch": 0,
        "lease": "2026-11-20T15:33:42.000Z", "pid": 4242, "pid_since": "", "run": "00" * 12,
    }  # fmt: skip
    add(journal, state("post-1", "PLANNED"), state("post-1", "STARTED", **started))
    done = {"attempt": 1, "command": started["command"], "cut": False, "effect": "hold", "exit": 0, "how": "exit"}
    add(journal, state("post-1", "DONE", run=started["run"], stdout="", **done), now_ns=FRIDAY + 2_000_000_000)
    return journal


def test_the_journal_vector_holds(made: Journal, tmp_path: Path) -> None:
    assert month_of(tmp_path).read_text() == vector("month")


def test_the_vector_of_the_next_month_holds(made: Journal, tmp_path: Path) -> None:
    add(made, state("news@2026-11-20T15:30:00Z", "PLANNED", task="news", slot="2026-11-20T15:30:00Z"))
    add(made, {"kind": "fact", "fact": "anchor:news", "value": "2026-11-20T15:00:00Z"})
    add(made, state("post-2", "PLANNED"), now_ns=FRIDAY + 30 * DAY)
    assert month_of(tmp_path).read_text() == vector("next-month")


def test_the_epoch_vector_holds() -> None:
    duty = Duty("QmSYxtJDZzTS6EiGZoknqxSjZhrvShQoX31DntVokAyNYc", 1, "newbox", "2026-11-20T15:23:31.000Z")
    assert sign_duty(duty, SigningKey(bytes([0x11]) * 32)).decode() == vector("epoch")


def test_the_key_vectors_hold() -> None:
    assert content_key("moltbook", b"Hello,\r\n  world! ") + "\n" == vector("content-key")
    assert f"{fence(2, 7)}\n" == vector("fence")


def test_every_vector_is_checked_here() -> None:
    named = set(re.findall(r"^```vector:(\S+)$", PAGE, re.MULTILINE))
    assert named == {"month", "next-month", "epoch", "content-key", "fence"}


def test_what_the_page_counts_and_lists_is_so() -> None:
    assert f"{MAX_LINE_BYTES // 1024} KiB" in PAGE
    assert all(f"`{kind}`" in PAGE for kind in KINDS)
    assert all(
        f"`{name}`" in PAGE for name in ("PLANNED", "STARTED", "FAILED", "UNKNOWN", "HELD", "BLOCKED", *SETTLED)
    )


def read_by_the_page(data: bytes) -> dict[str, Any]:
    """§2 and §3 of the page in the fewest words: the last state of each key."""
    last: dict[str, Any] = {}
    prev = None
    for line in data.split(b"\n"):
        body = line[9:]
        if len(line) < 10 or line[:9] != b"%08x " % zlib.crc32(body):
            continue
        record = json.loads(body)
        assert prev is None or record["prev"] == prev
        prev = hashlib.sha256(line).hexdigest()
        if record["kind"] == "state":
            last[record["key"]] = record["state"]
    return last


def test_a_reader_made_from_the_page_agrees(tmp_path: Path) -> None:
    journal = history(tmp_path, 300)
    mine = read_by_the_page(month_of(tmp_path).read_bytes())
    for key, what in mine.items():
        last = journal.last(key)
        assert last is not None and last.state == what
    assert dict(journal.open) == {key: what for key, what in mine.items() if what not in SETTLED}
