"""Goal: an identity log says who speaks for an agent, and nobody but the holder of a committed key can extend,
change, shorten or replace it unseen.

Method: logs of a few entries, extended by the right and the wrong keys; every byte changed, put in and taken out;
earlier and other logs against a pin.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_agents import FRIDAY_NS
from made_logs import DESKTOP, LAPTOP, RECOVERY, first, second, two

from antsmem.core.errors import IntegrityError, RollbackError, UsageError
from antsmem.core.record import replace
from antsmem.identity.document import Service, op_keys_of, with_op_keys
from antsmem.identity.extend import PLACEHOLDER_DOMAIN, commit, create_log, extend_log
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import key_hash, multikey
from antsmem.identity.signing import SigningKey


def test_the_first_entry_names_its_host_and_commits_to_three_keys() -> None:
    log, commitment = first()
    assert log == parse_log(log.text)
    assert log.version == 1
    assert log.did == f"did:webvh:{log.scid}:{PLACEHOLDER_DOMAIN}"
    assert log.portable
    assert len(set(log.next_key_hashes)) == 3
    assert {key_hash(commitment.next_key.public), key_hash(RECOVERY.public)} < set(log.next_key_hashes)
    assert list(log.next_key_hashes) == sorted(log.next_key_hashes)
    key = log.op_key(LAPTOP.public)
    assert (key.host, key.since, key.until, key.revoked) == ("laptop", 1, None, False)


def test_the_document_lists_op_keys_under_assertion_method_and_services() -> None:
    commitment = commit(key_hash(RECOVERY.public))
    relay = Service("relay-1", "AntsmemRelay", "https://relay.example/agents")
    log = create_log(commitment, {"laptop": LAPTOP.public}, FRIDAY_NS, [relay])
    name = f"{log.did}#op-laptop"
    assert log.document["assertionMethod"] == [name]
    assert log.document["verificationMethod"] == [
        {"id": name, "type": "Multikey", "controller": log.did, "publicKeyMultibase": multikey(LAPTOP.public)}
    ]
    assert log.document["service"] == [
        {"id": f"{log.did}#relay-1", "type": "AntsmemRelay", "serviceEndpoint": "https://relay.example/agents"}
    ]


def test_the_next_key_and_the_recovery_key_may_each_add_a_host() -> None:
    log, commitment = first()
    for control in (commitment.next_key, RECOVERY):
        longer, _ = second(log, control)
        assert parse_log(longer.text) == longer
        assert longer.version == 2
        assert {key.host for key in longer.operational_keys.values()} == {"laptop", "desktop"}
        assert longer.text.startswith(log.text)


def test_a_key_that_was_not_committed_to_may_not_extend_the_log() -> None:
    log, _ = first()
    for stranger in (SigningKey.generate(), LAPTOP):
        with pytest.raises(UsageError, match="may not change identity"):
            second(log, stranger)


def test_a_used_next_key_may_not_sign_again() -> None:
    log, commitment = first()
    longer, _ = second(log, commitment.next_key)
    with pytest.raises(UsageError):
        second(longer, commitment.next_key)


def test_a_revoked_key_stays_known_and_stays_revoked() -> None:
    log, commitment = first()
    longer, commitment = second(log, commitment.next_key)
    without = commit(key_hash(RECOVERY.public))
    document = with_op_keys(longer.document, {"desktop": DESKTOP.public})
    revoked = extend_log(longer, commitment.next_key, without, document, FRIDAY_NS)
    assert revoked.op_key(LAPTOP.public).until == 3
    assert not revoked.op_key(DESKTOP.public).revoked
    again = with_op_keys(revoked.document, {"laptop": LAPTOP.public})
    back = extend_log(revoked, RECOVERY, commit(key_hash(RECOVERY.public)), again, FRIDAY_NS)
    assert back.op_key(LAPTOP.public).until == 3
    assert back.op_key(DESKTOP.public).until == 4
    assert parse_log(back.text) == back


def test_an_unknown_key_never_spoke_for_the_identity() -> None:
    with pytest.raises(IntegrityError, match="never spoke"):
        two().op_key(SigningKey.generate().public)


def test_time_moves_on_in_the_log_when_the_clock_does_not() -> None:
    log, commitment = first()
    longer = extend_log(log, commitment.next_key, commit(key_hash(RECOVERY.public)), log.document, 0)
    assert log.updated == "2026-11-20T15:23:31Z"
    assert longer.updated == "2026-11-20T15:23:32Z"


def test_members_of_a_document_that_are_not_ours_are_kept() -> None:
    log, _ = first()
    other = {
        "id": f"{log.did}#other",
        "type": "Multikey",
        "controller": log.did,
        "publicKeyMultibase": "z6MkOther",
    }
    document = {
        **log.document,
        "alsoKnownAs": ["https://example.com"],
        "verificationMethod": [other, *log.document["verificationMethod"]],
    }
    changed = with_op_keys(document, {"desktop": DESKTOP.public})
    assert changed["alsoKnownAs"] == ["https://example.com"]
    assert changed["verificationMethod"][0] == other
    assert op_keys_of(changed) == {"desktop": DESKTOP.public}


@pytest.mark.parametrize("host", ["", "-x", "a b", "a/b", "ä", "x" * 64, "a\n", "a#b"])
def test_a_host_name_that_cannot_name_a_key_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="cannot name a key"):
        create_log(commit(key_hash(RECOVERY.public)), {host: LAPTOP.public}, FRIDAY_NS)


def says_the_same(changed: bytes, log: IdentityLog) -> bool:
    """Whether `changed` is `log` with other white space between its members; anything else must be refused."""
    try:
        assert replace(parse_log(changed), text=log.text) == log
    except IntegrityError:
        return False
    return True


def test_no_changed_byte_is_accepted() -> None:
    log = two()
    text = log.text
    for place in range(len(text) - 1):
        value = text[place] ^ (1 << place % 8)
        assert not says_the_same(text[:place] + bytes([value]) + text[place + 1 :], log)


@given(st.data())
def test_no_byte_put_in_or_taken_out_changes_what_a_log_says(data: st.DataObject) -> None:
    text = TWO.text
    place = data.draw(st.integers(0, len(text) - 2))
    put_in = data.draw(st.binary(max_size=1))
    same = says_the_same(text[:place] + put_in + text[place + (not put_in) :], TWO)
    assert not same or put_in.isspace()


TWO = two()


def test_a_shorter_log_is_a_rollback() -> None:
    log = two()
    older = parse_log(log.text.splitlines(keepends=True)[0])
    older.refuse_rollback(older.head)
    log.refuse_rollback(older.head)
    log.refuse_rollback(log.head)
    with pytest.raises(RollbackError, match="rolled back"):
        older.refuse_rollback(log.head)


def test_another_log_of_the_same_identity_is_a_fork() -> None:
    log, commitment = first()
    ours, _ = second(log, commitment.next_key)
    theirs, _ = second(log, RECOVERY)
    with pytest.raises(RollbackError, match="two histories"):
        theirs.refuse_rollback(ours.head)
    with pytest.raises(RollbackError, match="two histories"):
        first()[0].refuse_rollback(ours.version_ids[0])


def test_entries_in_another_order_or_left_out_are_refused() -> None:
    log, commitment = first()
    longer, commitment = second(log, commitment.next_key)
    three, _ = second(longer, commitment.next_key)
    lines = three.text.splitlines(keepends=True)
    for wrong in ([1, 0, 2], [0, 2], [0, 2, 1], [1, 2], [0, 0], [0, 1, 1], []):
        with pytest.raises(IntegrityError):
            parse_log(b"".join(lines[place] for place in wrong))


def test_an_entry_of_another_identity_is_refused() -> None:
    with pytest.raises(IntegrityError, match="entry 2"):
        parse_log(first()[0].text + two().text.splitlines(keepends=True)[1])
