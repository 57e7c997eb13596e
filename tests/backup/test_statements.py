"""Goal: a signed statement is exactly what was signed, or it is refused.

Method: statements changed in every way that leaves them readable, and anchors that are signed but make no sense.
"""

from __future__ import annotations

import pytest
from made_backups import Place

from antsmem.backup import repository as repo
from antsmem.backup.repository import read_state
from antsmem.backup.snapshot import Head
from antsmem.core import canonical
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.identity import statement as statements


@pytest.mark.parametrize("member", ["snapshots", "files", "sealed", "sequence", "head"])
def test_an_anchor_that_lacks_a_member_is_refused_even_if_it_is_signed(place: Place, member: str) -> None:
    path = place.folder / repo.ANCHOR
    body = canonical.loads(path.read_bytes(), 1 << 20)
    body = {key: value for key, value in body.items() if key not in {"key", "signature"}}
    del body[member]
    path.write_bytes(statements.sign_statement(body, place.agent.op_key))
    with pytest.raises(IntegrityError, match="malformed"):
        read_state(place.repository(), None)


@pytest.mark.parametrize("schema", ["antsmem.x/" + "9" * 5000, "antsmem.x/\x1b[2J\n", "antsmem.x/٣", ""])
def test_a_schema_that_nobody_wrote_is_refused_in_one_printable_line(schema: str) -> None:
    with pytest.raises((IntegrityError, UsageError)) as refused:
        statements.open_statement(canonical.dumps({"schema": schema}), "antsmem.x/1", None, "x")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"host": 7}, {"host": None}, {"files": "9"}, {"size_bytes": -1}, {"warnings": True},
        {"left_out": {"x": "1"}}, {"left_out": []}, {"time_ns": "9" * 30}, {"time_ns": None}, {"entries": None},
        {"epoch": []},
    ],
)  # fmt: skip
def test_a_head_with_a_member_of_another_type_is_refused(change: dict[str, object]) -> None:
    good = Head("i", "r", "a", "h", "hot", 1, "", 0, "e", 1, bytes(32), 1, 1, 1, {"secret": 1}, 0).as_json()
    assert Head.from_json(good).as_json() == good
    with pytest.raises(IntegrityError, match="malformed"):
        Head.from_json(good | change)
