"""Goal: a waiver allows exactly one secret in one file until its date, and goes wherever the ledger goes.

Method: waivers are given and taken back by the verbs themselves, in a real ledger; what a ledger refuses when it
was touched is tested with the ledger. Control: the waiver that stands allows.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_agents import FRIDAY_NS
from made_ledgers import FINGERPRINT_KEY, Held

from antsmem.core.errors import UsageError
from antsmem.core.record import replace
from antsmem.identity.anchor import Told
from antsmem.identity.gate import gate, newest_ledger
from antsmem.identity.ledger import Ledger, extended
from antsmem.identity.scanner import Finding, Scanner
from antsmem.identity.signing import SigningKey
from antsmem.identity.waivers import NONE, Waiver, Waivers, _row, add_waivers, end_waivers, waivers_of

DAY = 86_400_000_000_000
NOW = FRIDAY_NS
KEY = SigningKey(bytes(range(32)))

TOKEN = b"gh" + b"p_" + random.Random(4).randbytes(18).hex().encode()
(FINDING,) = Scanner(fingerprint_key=bytes(32)).scan(TOKEN)
NOTES = b"memory/notes.md"


def waiver(path: bytes = NOTES, **changes: object) -> Waiver:
    made = Waiver(path, FINDING.rule, FINDING.fingerprint, "revoked long ago", NOW + 30 * DAY)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def load(held: Held, now_ns: int = NOW) -> Waivers:
    return waivers_of(held.open().ledger.rows, now_ns)


def test_a_waiver_allows_one_secret_in_one_file(held: Held) -> None:
    add_waivers(held.access, [waiver()], NOW)
    waivers = load(held)
    assert waivers.allows(NOTES, FINDING)
    assert not waivers.allows(b"memory/other.md", FINDING)
    assert not waivers.allows(NOTES, replace(FINDING, rule="jwt"))
    assert not waivers.allows(NOTES, replace(FINDING, fingerprint=bytes(16)))
    assert waivers.allows(NOTES, Finding(FINDING.rule, 900, 940, FINDING.fingerprint, "base64"))


def test_no_ledger_allows_nothing(held: Held) -> None:
    assert not load(held).allows(NOTES, FINDING)
    assert not NONE.allows(NOTES, FINDING)


def test_a_row_tells_who_gave_it_when_and_why(held: Held) -> None:
    add_waivers(held.access, [waiver()], NOW)
    (row,) = held.open().ledger.rows
    assert (row.op, row.body["reason"], row.time) == ("waive", "revoked long ago", "2026-11-20T15:23:31.000Z")
    assert row.body["expires"] == "2026-12-20T15:23:31.000Z"
    assert row.body["by"] == "z6Mk" + row.body["by"][4:]


def test_a_waiver_ends_on_its_date(held: Held) -> None:
    add_waivers(held.access, [waiver()], NOW)
    assert load(held, NOW + 30 * DAY - 1_000_000).allows(NOTES, FINDING)
    assert not load(held, NOW + 30 * DAY).allows(NOTES, FINDING)


def test_a_later_row_takes_the_permission_back_and_another_gives_it_again(held: Held) -> None:
    add_waivers(held.access, [waiver()], NOW)
    end_waivers(held.access, [waiver(expires_ns=NOW + DAY)], NOW + DAY)
    assert not load(held, NOW + 2 * DAY).allows(NOTES, FINDING)
    assert not load(held, NOW).allows(NOTES, FINDING)  # nor for a clock that went back
    add_waivers(held.access, [waiver(expires_ns=NOW + 9 * DAY)], NOW + 3 * DAY)
    assert load(held, NOW + 3 * DAY).allows(NOTES, FINDING)
    assert len(held.open().ledger.rows) == 3


def test_a_waiver_of_the_future_has_ended_by_then_for_a_clock_that_went_back(held: Held) -> None:
    add_waivers(held.access, [waiver(expires_ns=NOW + 9 * DAY)], NOW + 8 * DAY)
    add_waivers(held.access, [waiver(b"late.md", expires_ns=NOW + DAY)], NOW)
    assert not load(held, NOW).allows(b"late.md", FINDING)
    assert load(held, NOW).allows(NOTES, FINDING)


def test_waivers_beside_secrets_do_not_disturb_each_other(held: Held) -> None:
    held.set("token")
    add_waivers(held.access, [waiver(), waiver(b"b.md")], NOW)
    held.set("other")
    assert load(held).allows(b"b.md", FINDING)
    assert held.states() == {("token", 1): "active", ("other", 1): "active"}


def test_waivers_come_back_with_the_ledger_and_still_fit(held: Held) -> None:
    scanner = Scanner(fingerprint_key=held.open().keystore.fingerprint_key)
    (found,) = scanner.scan(TOKEN)
    add_waivers(held.access, [waiver(fingerprint=found.fingerprint)], NOW)
    newest = newest_ledger(Told({"repository": held.publication()}), [held.kit], held.log)
    gated = gate(newest, None, (), NOW)
    assert gated.ledger is not None
    (again,) = Scanner(fingerprint_key=gated.ledger.fingerprint_key).scan(TOKEN)
    assert waivers_of(gated.ledger.rows, NOW).allows(NOTES, again)


@given(st.binary(min_size=1, max_size=60))
def test_any_path_survives(path: bytes) -> None:
    ledger = extended(Ledger("Qm", FINGERPRINT_KEY), [_row("waive", waiver(path))], KEY, NOW)
    assert waivers_of(ledger.rows, NOW).allows(path, FINDING)


@pytest.mark.parametrize("changes", [
    {"reason": ""}, {"reason": " "}, {"reason": "two\nlines"}, {"reason": "x" * 501}, {"path": b""},
    {"rule": ""}, {"fingerprint": b""}, {"expires_ns": NOW + 367 * DAY}, {"expires_ns": NOW - DAY},
])  # fmt: skip
def test_a_waiver_that_means_nothing_is_refused(held: Held, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        add_waivers(held.access, [waiver(**changes)], NOW)
    assert not held.access.files.ledger.exists()
