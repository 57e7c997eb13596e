"""Goal: a ledger says what was signed, in the order in which it was signed, or nothing at all.

Method: ledgers are made by the code itself with real keys; then rows are changed, dropped, doubled, moved, slipped
in, signed by others, and bytes of the sealed file are flipped: each must be refused. What it says of versions is
compared with a plain model. Controls: the untouched ledger is read, and with the checks removed the forgeries are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_agents import FRIDAY_NS
from made_ledgers import FINGERPRINT_KEY, SECOND_NS, Held, ledger_of, more

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, UsageError
from antsmem.identity import ledger as ledger_module
from antsmem.identity.ledger import Ledger, extended, open_ledger, read_rows, seal_ledger, secret_row, standings
from antsmem.identity.log import IdentityLog
from antsmem.identity.recovery import recover_host
from antsmem.identity.signing import SigningKey

Json = dict[str, Any]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return Held(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def key(held: Held) -> SigningKey:
    return held.made.keystore.op_key


@pytest.fixture
def log(held: Held) -> IdentityLog:
    return held.log


@pytest.fixture
def ledger(log: IdentityLog, key: SigningKey) -> Ledger:
    return ledger_of(log, key, "set a 1", "set b 1", "rotate a 2", "revoke b 0")


def bodies(ledger: Ledger) -> list[Json]:
    return [dict(row.body) for row in ledger.rows]


def signed(body: Json, key: SigningKey) -> Json:
    """`body` signed again: what a thief of the key, or a bug, could write."""
    unsigned = {name: value for name, value in body.items() if name != "sig" and value is not None}
    return {**unsigned, "sig": key.sign(canonical.dumps(unsigned)).hex()}


def test_what_was_written_is_read(ledger: Ledger, log: IdentityLog) -> None:
    assert read_rows(bodies(ledger), log) == ledger.rows
    assert [row.seq for row in ledger.rows] == [1, 2, 3, 4]
    assert {key: each.state for key, each in ledger.standings().items()} == {
        ("a", 1): "superseded", ("b", 1): "revoked", ("a", 2): "active",
    }  # fmt: skip


def test_it_is_sealed_to_its_readers_and_padded(ledger: Ledger, log: IdentityLog, key: SigningKey) -> None:
    host, recovery, stranger = (X25519Identity.generate() for _ in range(3))
    sealed = seal_ledger(ledger, key, [str(host.recipient), str(recovery.recipient)])
    for reader in (host, recovery):
        assert open_ledger(sealed, [reader], log) == ledger
    with pytest.raises(CannotUnlockError):
        open_ledger(sealed, [stranger], log)
    longer = seal_ledger(more(ledger, key, "set c 1"), key, [str(host.recipient), str(recovery.recipient)])
    assert len(longer) == len(sealed)
    assert b"kevin" not in sealed and b"revoke" not in sealed


def test_every_flipped_byte_of_the_sealed_file_is_refused(
    ledger: Ledger, log: IdentityLog, key: SigningKey
) -> None:
    host = X25519Identity.generate()
    sealed = seal_ledger(ledger, key, [str(host.recipient), str(X25519Identity.generate().recipient)])
    for at in range(0, len(sealed), 17):
        with pytest.raises(AntsmemError):
            open_ledger(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], [host], log)
    for length in range(0, len(sealed), 97):
        with pytest.raises(AntsmemError):
            open_ledger(sealed[:length], [host], log)


def test_every_flipped_byte_of_a_row_is_refused(ledger: Ledger, log: IdentityLog) -> None:
    rows = bodies(ledger)
    text = canonical.dumps(rows[1])
    for at in range(len(text)):
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(IntegrityError):
            read_rows([rows[0], canonical.loads(changed, 1 << 20), *rows[2:]], log)


def test_rows_dropped_doubled_and_moved_are_refused(ledger: Ledger, log: IdentityLog) -> None:
    a, b, c, d = bodies(ledger)
    for bad in ([b, c, d], [a, c, d], [a, b, d], [a, a, b], [b, a, c], [a, b, c, d, d], [a, c, b, d], [a, [], b]):
        with pytest.raises(IntegrityError, match="ledger row"):
            read_rows(bad, log)


def test_rows_missing_at_the_end_are_what_a_head_is_for(ledger: Ledger, log: IdentityLog) -> None:
    shorter = Ledger(log.scid, FINGERPRINT_KEY, read_rows(bodies(ledger)[:2], log))
    assert not shorter.holds(ledger.seq, ledger.hash)
    assert ledger.holds(shorter.seq, shorter.hash) and ledger.holds(0, "0" * 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 2}, {"seq": True}, {"seq": "1"}, {"prev": "1" * 64}, {"op": "unset"}, {"op": 5}, {"op": None},
        {"name": "a b"}, {"name": ""}, {"name": "a" * 129}, {"name": 7}, {"version": 0}, {"version": -1},
        {"version": True}, {"version": "1"}, {"class": "other"}, {"time": "2026-11-20"}, {"time": 1},
        {"reason": "two\nlines"}, {"reason": "x" * 501}, {"reason": None}, {"extra": 1}, {"by": "z6Mk"},
        {"by": 3}, {"op": "waive"}, {"rule": "jwt"},
    ],
)  # fmt: skip
def test_a_signed_row_that_means_nothing_is_refused(
    changes: Json, ledger: Ledger, log: IdentityLog, key: SigningKey
) -> None:
    body = bodies(ledger)[0]
    assert read_rows([signed(body, key)], log) == ledger.rows[:1]  # the control: unchanged it is the row itself
    with pytest.raises(IntegrityError):
        read_rows([signed({**body, **changes}, key)], log)


@pytest.mark.parametrize("sig", ["", "00" * 64, "zz" * 64, "AB" * 64, None, 5])
def test_a_row_without_its_signature_is_refused(sig: object, ledger: Ledger, log: IdentityLog) -> None:
    with pytest.raises(IntegrityError):
        read_rows([{**bodies(ledger)[0], "sig": sig}], log)


def test_a_ledger_of_another_identity_or_by_a_stranger_is_refused(
    ledger: Ledger, log: IdentityLog, key: SigningKey, tmp_path: Path
) -> None:
    reader, stranger = X25519Identity.generate(), SigningKey.generate()
    other = Held(tmp_path)
    with pytest.raises(IntegrityError):
        open_ledger(seal_ledger(ledger, key, [str(reader.recipient)]), [reader], other.log)
    with pytest.raises(IntegrityError, match="never spoke"):
        open_ledger(seal_ledger(ledger, stranger, [str(reader.recipient)]), [reader], log)
    forged = more(ledger, stranger, "set b 2")
    with pytest.raises(IntegrityError, match="never spoke"):
        read_rows(bodies(forged), log)


def test_what_this_host_sealed_itself_is_not_verified_row_by_row(
    ledger: Ledger, log: IdentityLog, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = X25519Identity.generate()
    sealed = seal_ledger(ledger, key, [str(reader.recipient)])
    verified: list[object] = []
    monkeypatch.setattr(ledger_module, "_check_signature", verified.append)
    assert open_ledger(sealed, [reader], log, {key.public}) == ledger
    assert verified == []
    assert open_ledger(sealed, [reader], log) == ledger
    assert len(verified) == 4


@pytest.fixture
def moved(held: Held) -> tuple[IdentityLog, SigningKey]:
    """The identity log after a recovery: `laptop` has another key, an hour later."""
    key = SigningKey.generate()
    recovered = recover_host(held.log, held.made.kit, "laptop", key.public, FRIDAY_NS + 3600 * SECOND_NS)
    return recovered.log, key


def test_rows_of_a_key_that_was_revoked_later_stay(ledger: Ledger, moved: tuple[IdentityLog, SigningKey]) -> None:
    log, key = moved
    assert read_rows(bodies(ledger), log) == ledger.rows
    longer = extended(ledger, [secret_row("recover", "laptop", 2, "identity")], key, FRIDAY_NS + 7200 * SECOND_NS)
    assert read_rows(bodies(longer), log) == longer.rows


def test_a_revoked_key_signs_nothing_after_its_revocation(
    ledger: Ledger, key: SigningKey, moved: tuple[IdentityLog, SigningKey]
) -> None:
    log, newer = moved
    late = more(ledger, key, "set b 2", now_ns=FRIDAY_NS + 3601 * SECOND_NS)
    with pytest.raises(IntegrityError, match="dated after"):
        read_rows(bodies(late), log)
    # Dated back, it is refused as soon as the new key has signed anything.
    taken_over = extended(ledger, [secret_row("recover", "laptop", 2, "identity")], newer, FRIDAY_NS + SECOND_NS)
    slipped = more(taken_over, key, "set b 2")
    with pytest.raises(IntegrityError, match="had been revoked"):
        read_rows(bodies(slipped), log)


def test_a_clock_that_ran_ahead_locks_nobody_out(
    ledger: Ledger, key: SigningKey, moved: tuple[IdentityLog, SigningKey]
) -> None:
    """Rows dated after a revocation count once a later key has gone on from them."""
    log, newer = moved
    ahead = more(ledger, key, "set c 1", now_ns=FRIDAY_NS + 10**6 * SECOND_NS)
    vouched = extended(ahead, [secret_row("recover", "laptop", 2, "identity")], newer, FRIDAY_NS)
    assert read_rows(bodies(vouched), log) == vouched.rows
    assert vouched.rows[-1].time == ahead.rows[-1].time


@pytest.mark.parametrize("words", [
    ["set a 1", "set a 1"], ["set a 2", "set a 1"], ["set a 1", "revoke a 0", "set a 1"],
    ["set a 1", "revoke a 1", "rotate a 1"], ["set a 1", "prepare a 2", "rotate a 2", "rotate a 2"],
    ["set a 1", "prepare a 2", "revoke a 0", "rotate a 2"], ["revoke a 0"], ["set a 1", "destroy a 2"],
    ["verify a 1"],
])  # fmt: skip
def test_no_row_brings_a_version_back(words: list[str], log: IdentityLog, key: SigningKey) -> None:
    good = ledger_of(log, key, *words[:-1])
    with pytest.raises(UsageError, match="would break the ledger"):
        more(good, key, words[-1])


def test_the_same_is_refused_when_it_is_read(
    log: IdentityLog, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ledger_of(log, key, "set a 1", "revoke a 0")
    monkeypatch.setattr(ledger_module, "standings", lambda _rows: {})
    bad = more(good, key, "set a 1")
    assert read_rows(bodies(bad), log) == bad.rows  # the control: without the guard it is read
    monkeypatch.undo()
    with pytest.raises(IntegrityError, match="again"):
        read_rows(bodies(bad), log)


def test_control_without_the_signatures_a_forgery_is_read(
    ledger: Ledger, log: IdentityLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {**bodies(ledger)[0], "name": "other"}
    monkeypatch.setattr(ledger_module, "_check_signature", lambda _row: None)
    assert read_rows([body], log)[0].body["name"] == "other"


def test_a_ledger_that_is_too_long_is_refused(
    ledger: Ledger, log: IdentityLog, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MAX_ROWS", 4)
    with pytest.raises(UsageError, match="full"):
        more(ledger, key, "set c 1")
    with pytest.raises(IntegrityError, match="more than 4"):
        read_rows([*bodies(ledger), {}], log)
    monkeypatch.setattr(ledger_module, "_FULL_BYTES", 100)
    with pytest.raises(UsageError, match="full"):
        ledger_of(log, key, "set c 1")


NAMES = st.sampled_from(["a", "b"])
OPS = st.lists(
    st.tuples(st.sampled_from(["set", "prepare", "rotate", "revoke", "destroy"]), NAMES, st.integers(0, 4))
)


@given(OPS)
def test_what_has_ended_never_lives_again(held: Held, steps: list[tuple[str, str, int]]) -> None:
    ledger, key = Ledger(held.log.scid, FINGERPRINT_KEY), held.made.keystore.op_key
    ended: dict[tuple[str, int], str] = {}
    for step in steps:
        try:
            ledger = more(ledger, key, " ".join(map(str, step)))
        except UsageError:
            continue
        now = {each: standing.state for each, standing in ledger.standings().items()}
        living = [each for each, state in now.items() if state == "active"]
        assert len({name for name, _ in living}) == len(living)
        assert all(now[each] not in {"active", "pending"} for each in ended)
        ended |= {each: state for each, state in now.items() if state not in {"active", "pending"}}
    assert read_rows(bodies(ledger), held.log) == ledger.rows
    assert standings(ledger.rows) == ledger.standings()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.sampled_from(sorted(["seq", "op", "by", "sig", "time", "path", "expires"])), JSON)))
def test_no_row_ends_in_a_traceback(held: Held, changes: list[tuple[str, Any]]) -> None:
    body = bodies(ledger_of(held.log, held.made.keystore.op_key, "set a 1"))[0]
    try:
        read_rows([{**body, **dict(changes)}], held.log)
    except IntegrityError:
        return
    assert not changes or {**body, **dict(changes)} == body


@given(JSON)
def test_no_value_ends_in_a_traceback(held: Held, value: Any) -> None:
    with pytest.raises(IntegrityError):
        read_rows([value], held.log)


def test_a_row_is_what_another_program_would_sign(ledger: Ledger, key: SigningKey) -> None:
    body = json.loads(canonical.dumps(ledger.rows[2].body))
    assert signed(body, key) == body
    checks: list[Callable[[], bool]] = [lambda: body["prev"] == ledger.rows[1].hash, lambda: body["seq"] == 3]
    assert all(check() for check in checks)
