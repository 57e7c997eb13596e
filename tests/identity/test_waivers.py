"""Goal: a waiver allows exactly one secret in one file until its date, and a file that was touched allows nothing.

Method: rows are written by the verb itself with real Ed25519 keys, then bytes of the file are changed, rows are
dropped, doubled and swapped, and signers replaced; each must raise. Control: the untouched file allows.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core import canonical
from antsmem.core.disk import locked
from antsmem.core.errors import IntegrityError, LockedError, UsageError
from antsmem.core.record import replace
from antsmem.identity.scanner import Finding, Scanner
from antsmem.identity.signing import SigningKey
from antsmem.identity.waivers import Waiver, Waivers, add_waiver, load_waivers

DAY = 86_400_000_000_000
NOW = 1_795_000_000_123_000_000
KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
TRUSTED = {KEY.public}

TOKEN = b"gh" + b"p_" + random.Random(4).randbytes(18).hex().encode()
(FINDING,) = Scanner(fingerprint_key=bytes(32)).scan(TOKEN)


def waiver(path: bytes = b"memory/notes.md", **changes: object) -> Waiver:
    made = Waiver(path, FINDING.rule, FINDING.fingerprint, "revoked long ago", NOW, NOW + 30 * DAY)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "waivers.jsonl"


def three_rows(file: Path) -> bytes:
    for path in (b"a.md", b"b.md", b"c.md"):
        add_waiver(file, waiver(path), KEY, TRUSTED)
    return file.read_bytes()


def load(file: Path, now_ns: int = NOW, trusted: set[bytes] = TRUSTED) -> Waivers:
    return load_waivers(file, trusted, now_ns)


def test_a_waiver_allows_one_secret_in_one_file(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    waivers = load(file)
    assert waivers.allows(b"memory/notes.md", FINDING)
    assert not waivers.allows(b"memory/other.md", FINDING)
    assert not waivers.allows(b"memory/notes.md", replace(FINDING, rule="jwt"))
    assert not waivers.allows(b"memory/notes.md", replace(FINDING, fingerprint=bytes(16)))
    assert waivers.allows(b"memory/notes.md", Finding(FINDING.rule, 900, 940, FINDING.fingerprint, "base64"))


def test_no_file_allows_nothing(file: Path) -> None:
    waivers = load(file)
    assert (waivers.rows, waivers.head) == ((), "0" * 64)
    assert not waivers.allows(b"memory/notes.md", FINDING)


def test_a_row_tells_who_gave_it_when_and_why(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    assert load(file).rows == (waiver(time_ns=NOW, expires_ns=NOW + 30 * DAY, by=KEY.public),)
    row = json.loads(file.read_bytes())
    assert (row["reason"], row["prev"], row["time"]) == ("revoked long ago", "0" * 64, "2026-11-18T11:06:40.123Z")
    assert row["expires"] == "2026-12-18T11:06:40.123Z"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_waiver_ends_on_its_date(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    assert load(file, NOW + 30 * DAY - 1_000_000).allows(b"memory/notes.md", FINDING)
    assert not load(file, NOW + 30 * DAY).allows(b"memory/notes.md", FINDING)


def test_a_later_row_takes_the_permission_back_and_another_gives_it_again(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    after = add_waiver(file, waiver(time_ns=NOW + DAY, expires_ns=NOW + DAY), KEY, TRUSTED)
    assert not after.allows(b"memory/notes.md", FINDING)
    assert not load(file, NOW + 2 * DAY).allows(b"memory/notes.md", FINDING)
    assert not load(file, NOW).allows(b"memory/notes.md", FINDING)  # nor for a clock that went back
    after = add_waiver(file, waiver(time_ns=NOW + 3 * DAY), KEY, TRUSTED)
    assert after.allows(b"memory/notes.md", FINDING)
    assert len(after.rows) == 3


def test_what_add_gives_is_what_load_gives(file: Path) -> None:
    given = add_waiver(file, waiver(), KEY, TRUSTED)
    assert given == load(file)
    assert add_waiver(file, waiver(b"b.md"), KEY, TRUSTED).head != given.head


@given(st.binary(min_size=1, max_size=60))
def test_any_path_survives(tmp_path_factory: pytest.TempPathFactory, path: bytes) -> None:
    file = tmp_path_factory.mktemp("waivers") / "file"
    add_waiver(file, waiver(path), KEY, TRUSTED)
    assert load(file).allows(path, FINDING)


def test_every_changed_byte_is_refused(file: Path) -> None:
    good = three_rows(file)
    for at in range(0, len(good) - 1, 3):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(IntegrityError, match="line"):
            load(file)
    file.write_bytes(good)
    assert load(file).allows(b"c.md", FINDING)


def test_rows_dropped_doubled_swapped_or_foreign_are_refused(file: Path, tmp_path: Path) -> None:
    good = three_rows(file)
    one, two, three = good.splitlines(keepends=True)
    add_waiver(tmp_path / "foreign", waiver(b"a.md"), OTHER, {OTHER.public})
    foreign = (tmp_path / "foreign").read_bytes()
    blank = one + b"\n" + two
    for bad in (two + three, one + three, one + one + two, two + one, blank, foreign, b"{}\n", b"[]\n"):
        file.write_bytes(bad)
        with pytest.raises(IntegrityError):
            load(file)
        with pytest.raises(IntegrityError):
            add_waiver(file, waiver(), KEY, TRUSTED)
        assert file.read_bytes() == bad


def forged(file: Path, **changes: object) -> bytes:
    """The first row of `file` with `changes`, signed again: what a thief of the key, or a bug, could write."""
    row = {**json.loads(file.read_bytes().splitlines()[0]), **changes}
    row = {name: value for name, value in row.items() if name != "sig" and value is not None}
    return canonical.dumps({**row, "sig": KEY.sign(canonical.dumps(row)).hex()}) + b"\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": "2027-01-01"}, {"expires": "2026-12-18T11:06:40.123+00:00"}, {"time": 5}, {"seq": 2},
        {"prev": "1" * 64}, {"fingerprint": "xyz"}, {"fingerprint": 7}, {"schema": "antsmem.waiver/2"},
        {"extra": "field"}, {"path_hex": "6162"}, {"path": None}, {"by": "z6Mk"}, {"reason": None},
    ],
)  # fmt: skip
def test_a_signed_row_that_is_no_waiver_is_refused(file: Path, changes: dict[str, object]) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    assert forged(file) == file.read_bytes()  # the control: without a change it is the row itself
    file.write_bytes(forged(file, **changes))
    with pytest.raises(IntegrityError):
        load(file)


def test_an_unsigned_row_is_refused(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    row = json.loads(file.read_bytes())
    del row["sig"]
    file.write_bytes(canonical.dumps(row) + b"\n")
    with pytest.raises(IntegrityError):
        load(file)


def test_a_row_is_refused_when_only_its_spelling_was_changed(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    good = file.read_bytes()
    for bad in (good.replace(b'":"', b'": "'), good.replace(b"revoked", b"\\u0072evoked"), b" " + good):
        assert json.loads(bad) == json.loads(good)
        file.write_bytes(bad)
        with pytest.raises(IntegrityError, match="canonical"):
            load(file)


def test_a_row_is_refused_when_its_key_is_no_longer_trusted(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    with pytest.raises(IntegrityError, match="not trusted"):
        load(file, trusted={OTHER.public})
    both = {KEY.public, OTHER.public}
    add_waiver(file, waiver(b"b.md"), OTHER, both)
    assert load(file, trusted=both).allows(b"b.md", FINDING)


def test_nothing_is_written_with_a_key_that_is_not_trusted(file: Path) -> None:
    with pytest.raises(IntegrityError):
        add_waiver(file, waiver(), OTHER, TRUSTED)
    assert not file.exists()


def test_a_last_line_cut_short_is_passed_over_and_then_replaced(file: Path) -> None:
    good = three_rows(file)
    last = good.rindex(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(good) - 1, 5):
        file.write_bytes(good[:cut])
        assert [row.path for row in load(file).rows] == [b"a.md", b"b.md"]
    after = add_waiver(file, waiver(b"d.md"), KEY, TRUSTED)
    assert [row.path for row in after.rows] == [b"a.md", b"b.md", b"d.md"]
    assert load(file) == after


def test_a_revocation_counts_even_without_its_newline(file: Path) -> None:
    add_waiver(file, waiver(), KEY, TRUSTED)
    add_waiver(file, waiver(time_ns=NOW, expires_ns=NOW), KEY, TRUSTED)
    file.write_bytes(file.read_bytes()[:-1])
    assert not load(file).allows(b"memory/notes.md", FINDING)
    assert len(add_waiver(file, waiver(b"b.md"), KEY, TRUSTED).rows) == 3
    assert len(load(file).rows) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": ""}, {"reason": " "}, {"reason": "two\nlines"}, {"reason": "x" * 501}, {"path": b""},
        {"rule": ""}, {"fingerprint": b""}, {"expires_ns": NOW + 367 * DAY},
    ],
)  # fmt: skip
def test_a_waiver_needs_a_meaning(file: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        add_waiver(file, waiver(**changes), KEY, TRUSTED)  # type: ignore[arg-type]
    assert not file.exists()


def test_two_writers_do_not_lose_a_row(file: Path) -> None:
    with locked(f"{file}.lock", "held"), pytest.raises(LockedError):
        add_waiver(file, waiver(), KEY, TRUSTED)
    assert len(add_waiver(file, waiver(), KEY, TRUSTED).rows) == 1


def test_messages_name_the_file_and_never_a_secret(file: Path) -> None:
    three_rows(file)
    file.write_bytes(file.read_bytes().replace(b"long ago", b"tomorrow"))
    with pytest.raises(IntegrityError) as caught:
        load(file)
    assert f"`{file}` line 1" in str(caught.value) and "\n" not in str(caught.value)
    assert "good copy" in caught.value.hint
