"""Goal: what was proven is kept, and nothing else counts. Method: write, read, damage, write together."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from antsmem.core.errors import UsageError
from antsmem.workspace import evidence
from antsmem.workspace.evidence import KINDS, read_evidence, record_evidence

NOW = 1_763_600_000_123_000_000


def test_what_was_copied_from_another_agent_proves_nothing(tmp_path: Path) -> None:
    record_evidence(tmp_path / "QmOne", "migration-test", NOW, {})
    shutil.copytree(tmp_path / "QmOne", tmp_path / "QmOther")
    assert read_evidence(tmp_path / "QmOther") == () and len(read_evidence(tmp_path / "QmOne")) == 1


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        record_evidence(tmp_path / "state", kind, NOW + number * 10**9, {"repository": "default", "files": number})
    found = read_evidence(tmp_path / "state")
    assert [each.kind for each in found] == list(KINDS)
    assert found[1].time_ns == NOW + 10**9
    assert found[1].details == {"repository": "default", "files": 1}


def test_where_nothing_was_seen_there_is_none(tmp_path: Path) -> None:
    assert read_evidence(tmp_path / "nowhere") == ()


def test_only_the_newest_of_a_kind_are_kept(tmp_path: Path) -> None:
    record_evidence(tmp_path, "migration-test", NOW, {})
    for number in range(40):
        record_evidence(tmp_path, "restore-proven", NOW, {"n": number})
    found = read_evidence(tmp_path)
    assert [each.kind for each in found].count("migration-test") == 1
    assert [each.details["n"] for each in found if each.kind == "restore-proven"] == list(range(8, 40))


def test_damaged_lines_prove_nothing(tmp_path: Path) -> None:
    record_evidence(tmp_path, "restore-proven", NOW, {})
    with (tmp_path / "evidence.jsonl").open("ab") as file:
        file.write(b'{"kind":"made-up","time_ms":1,"details":{}}\n{"kind":"restore-proven"}\n\xff\n[]\n7\n{"kind"')
    assert len(read_evidence(tmp_path)) == 1
    record_evidence(tmp_path, "backend-verified", NOW, {})
    assert len(read_evidence(tmp_path)) == 2


@pytest.mark.parametrize("details", [{"x": 1.5}, {"x": object()}, {"x": "y" * 20_000}])
def test_what_is_no_plain_json_is_refused(tmp_path: Path, details: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        record_evidence(tmp_path, "restore-proven", NOW, details)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kind of evidence"):
        record_evidence(tmp_path, "hope", NOW, {})


def test_writers_at_the_same_time_all_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "_WAIT_SECONDS", 300)
    pids = []
    for number in range(6):
        if (pid := os.fork()) == 0:
            for _ in range(3):
                record_evidence(tmp_path, "backend-verified", NOW, {"writer": number})
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 6
    assert len(read_evidence(tmp_path)) == 18
