"""Goal: what this host saw of an identity is not forgotten for something older, where two processes look at once.

Method: one process remembers a longer log at the moment when the other, with a shorter one, is about to write.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_agents import FRIDAY_NS
from made_logs import first, second

from antsmem.core.errors import RollbackError
from antsmem.identity import seen as module
from antsmem.identity.seen import Seen


def test_of_two_that_look_at_once_the_longer_log_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter, commitment = first()
    longer, _ = second(shorter, commitment.next_key)
    memory, real = Seen(tmp_path), module.locked_within

    def slower(*given: object) -> object:
        monkeypatch.undo()
        memory.look(longer, b"", "the other", FRIDAY_NS)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "locked_within", slower)
    with pytest.raises(RollbackError):
        memory.look(shorter, b"", "this one", FRIDAY_NS)
    (kept,) = tmp_path.glob("identity-*.json")
    assert json.loads(kept.read_bytes())["version"] == longer.version
    memory.look(longer, b"", "either", FRIDAY_NS)
