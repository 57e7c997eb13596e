"""Goal: an entry that breaks one rule of the identity log is refused, with its number and the rule.

Method: entries well made, hashed and signed, but wrong in one member. Controls: the same entries, made the
same way without a change, are accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from made_agents import FRIDAY_NS
from made_logs import DESKTOP, LAPTOP, RECOVERY, entries_of, first, remade, second, text_of, two

from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import replace
from antsmem.identity.entry import Entry, entry_hash, scid_of, with_proof, with_scid
from antsmem.identity.extend import PLACEHOLDER_DOMAIN, commit, extend_log
from antsmem.identity.log import parse_log
from antsmem.identity.multikey import key_hash, multikey
from antsmem.identity.signing import SigningKey

Change = Callable[[Entry], Any]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e["parameters"].pop("nextKeyHashes"), "pre-rotated"),
        (lambda e: e["parameters"].pop("updateKeys"), "pre-rotated"),
        (lambda e: e["parameters"].update(updateKeys=[]), "pre-rotated"),
        (lambda e: e["parameters"].update(updateKeys=[multikey(LAPTOP.public)]), "not committed to"),
        (lambda e: e["parameters"]["updateKeys"].append(multikey(LAPTOP.public)), "not committed to"),
        (lambda e: e["parameters"].update(updateKeys=["z6Mk"]), "multikey"),
        (lambda e: e["parameters"].update(nextKeyHashes="Qm"), "not a list"),
        (lambda e: e["parameters"].update(nextKeyHashes=[7]), "not a list"),
        (lambda e: e["parameters"].update(scid="Qm"), "later entry"),
        (lambda e: e["parameters"].update(method="did:webvh:0.5"), "method"),
        (lambda e: e["parameters"].update(portable=1), "true or false"),
        (lambda e: e["parameters"].update(deactivated="no"), "true or false"),
        (lambda e: e["parameters"].update(ttl=True), "ttl"),
        (lambda e: e["parameters"].update(witness={"threshold": 1, "witnesses": []}), "witnesses"),
        (lambda e: e["parameters"].update(other=1), "unknown parameter"),
        (lambda e: e.update(parameters=[]), "not an object"),
        (lambda e: e.update(extra=1), "members"),
        (lambda e: e.update(versionTime="2026-11-20T15:23:31Z"), "not after"),
        (lambda e: e.update(versionTime="2026-11-19T15:23:31Z"), "not after"),
        (lambda e: e.update(versionTime="2026-13-20T15:23:31Z"), "not a UTC time"),
        (lambda e: e.update(versionTime="2027-11-20T15:23:31+01:00"), "not a UTC time"),
        (lambda e: e.update(versionTime=5), "not a UTC time"),
        (lambda e: e.update(versionTime="2026-11-20 16:23:31Z"), "not a UTC time"),
        (lambda e: e.update(versionTime="20261120T162331Z"), "not a UTC time"),
        (lambda e: e.update(versionTime="2026-11-20T16:23:31.5Z"), "not a UTC time"),
        (lambda e: e.update(versionTime="2026-11-20T16:23:31"), "not a UTC time"),
        (lambda e: e.update(versionTime="2026-11-20T15:23:30.999999Z"), "not after"),
        (lambda e: e.update(state=[]), "`id`"),
        (lambda e: e["state"].update(id="did:web:example.com"), "`id`"),
        (
            lambda e: e["state"].update(id=e["state"]["id"].replace("antsmem.invalid", "other.example")),
            "alsoKnownAs",
        ),
        (lambda e: e["state"].update(verificationMethod={}), "not a list"),
        (lambda e: e["state"]["verificationMethod"].append(e["state"]["verificationMethod"][0]), "twice"),
        (lambda e: e["state"]["verificationMethod"][0].update(type="Ed25519VerificationKey2020"), "Multikey"),
        (lambda e: e["state"]["verificationMethod"][0].update(controller="did:web:example.com"), "Multikey"),
        (lambda e: e["state"]["verificationMethod"][0].update(publicKeyMultibase="z6Mk"), "multikey"),
        (
            lambda e: e["state"]["verificationMethod"][0].update(publicKeyMultibase=multikey(b"\x01" + bytes(31))),
            "weak",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_signed_entry_that_breaks_a_rule_is_refused_with_its_number(change: Change, reason: str) -> None:
    log, commitment = first()
    longer, _ = second(log, commitment.next_key)
    entry = entries_of(longer)[1]
    change(entry)
    text = log.text + text_of([remade(entry, log, commitment.next_key)])
    with pytest.raises(IntegrityError, match=f"entry 2: .*{reason}"):
        parse_log(text)


def test_the_control_shows_that_an_entry_made_again_without_a_change_is_accepted() -> None:
    log, commitment = first()
    longer, _ = second(log, commitment.next_key)
    entry = entries_of(longer)[1]
    assert parse_log(log.text + text_of([remade(entry, log, commitment.next_key)])) == longer


def test_a_time_with_a_fraction_is_after_the_whole_second() -> None:
    log, commitment = first()
    entry = entries_of(second(log, commitment.next_key)[0])[1]
    entry["versionTime"] = "2026-11-20T15:23:31.000001Z"
    later = parse_log(log.text + text_of([remade(entry, log, commitment.next_key)]))
    longer, _ = second(later, RECOVERY)
    assert longer.updated > later.updated


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p.update(type="Other"), "type"),
        (lambda p: p.update(cryptosuite="eddsa-rdfc-2022"), "cryptosuite"),
        (lambda p: p.update(proofPurpose="authentication"), "proofPurpose"),
        (lambda p: p.update(verificationMethod="did:key:a#b"), "verificationMethod"),
        (lambda p: p.update(verificationMethod=7), "verificationMethod"),
        (lambda p: p.update(proofValue="u" + "A" * 40), "base58"),
        (lambda p: p.pop("proofValue"), "base58"),
        (lambda p: p.update(created="2026-11-20T15:23:32Z"), "does not verify"),
        (lambda p: p.update(challenge="x"), "does not verify"),
    ],
)
def test_a_proof_that_is_not_exactly_a_proof_is_refused(change: Change, reason: str) -> None:
    log, _ = first()
    entry = entries_of(log)[0]
    change(entry["proof"][0])
    with pytest.raises(IntegrityError, match=reason):
        parse_log(text_of([entry]))


def test_the_control_shows_that_without_proofs_anybody_could_extend_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log, commitment = first()
    entry = remade(entries_of(second(log, commitment.next_key)[0])[1], log, SigningKey.generate())
    with pytest.raises(IntegrityError, match="may not change"):
        parse_log(log.text + text_of([entry]))
    monkeypatch.setattr("antsmem.identity.log.check_proofs", lambda entry, allowed: None)
    assert parse_log(log.text + text_of([entry])).version == 2


def test_every_proof_of_an_entry_must_be_good() -> None:
    log, _ = first()
    entry = entries_of(log)[0]
    for proofs in ([], {}, [1], [*entry["proof"], {**entry["proof"][0], "created": "x"}]):
        with pytest.raises(IntegrityError):
            parse_log(text_of([{**entry, "proof": proofs}]))
    parse_log(text_of([{**entry, "proof": entry["proof"] * 2}]))


def genesis(change: Change, key: SigningKey = LAPTOP) -> bytes:
    """A first entry by `key` that is right in all but what `change` does to it."""
    log, _ = first()
    draft: Entry = json.loads(log.text.replace(log.scid.encode(), b"{SCID}"))
    del draft["proof"]
    draft["versionId"] = "{SCID}"
    draft["parameters"]["updateKeys"] = [multikey(key.public)]
    change(draft)
    entry = with_scid(draft, scid_of(draft, "{SCID}"))
    entry["versionId"] = f"1-{entry_hash(entry, entry['parameters'].get('scid', ''))}"
    return text_of([with_proof(entry, key)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e["parameters"].pop("scid"), "lacks"),
        (lambda e: e["parameters"].pop("method"), "lacks"),
        (lambda e: e["parameters"].pop("updateKeys"), "lacks"),
        (lambda e: e["parameters"].update(updateKeys=[]), "lacks"),
        (lambda e: e["parameters"].update(updateKeys=[multikey(DESKTOP.public)]), "may not change"),
        (lambda e: e["state"].update(id="did:webvh:{SCID}:localhost"), "`id`"),
        (lambda e: e["state"].update(id="did:webvh:{SCID}:10.0.0.1"), "`id`"),
        (lambda e: e["state"].update(id="did:webvh:{SCID}:example.com:.."), "`id`"),
        (lambda e: e["state"].update(id="did:webvh:{SCID}"), "`id`"),
    ],
)
def test_a_first_entry_that_breaks_a_rule_is_refused(change: Change, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        parse_log(genesis(change))


def test_the_control_shows_that_a_first_entry_made_by_hand_is_accepted() -> None:
    assert parse_log(genesis(lambda entry: None)).version == 1


def test_an_identity_that_moves_names_where_from() -> None:
    log, commitment = first()
    moved = json.loads(json.dumps(log.document).replace(PLACEHOLDER_DOMAIN, "relay.example"))
    moved["alsoKnownAs"] = [log.did]
    longer = extend_log(log, commitment.next_key, commit(key_hash(RECOVERY.public)), moved, FRIDAY_NS)
    assert longer.did == f"did:webvh:{log.scid}:relay.example"
    assert longer.op_key(LAPTOP.public).until is None


def test_an_identity_that_is_not_portable_does_not_move() -> None:
    text = genesis(lambda entry: entry["parameters"].pop("portable"))
    log = parse_log(text)
    assert not log.portable
    # It commits to the keys of the log it was made from, of which the recovery key is one.
    moved = json.loads(json.dumps(log.document).replace(PLACEHOLDER_DOMAIN, "relay.example"))
    moved["alsoKnownAs"] = [log.did]
    with pytest.raises(UsageError, match="not portable"):
        extend_log(log, RECOVERY, commit(key_hash(RECOVERY.public)), moved, FRIDAY_NS)


def test_nothing_follows_a_deactivated_identity() -> None:
    log, commitment = first()
    entry = entries_of(second(log, commitment.next_key)[0])[1]
    entry["parameters"]["deactivated"] = True
    ended = parse_log(log.text + text_of([remade(entry, log, commitment.next_key)]))
    assert ended.deactivated
    with pytest.raises(UsageError):
        second(ended, RECOVERY)
    later = remade({**entry, "versionTime": "2030-01-01T00:00:00Z"}, ended, RECOVERY)
    with pytest.raises(IntegrityError, match="deactivated"):
        parse_log(ended.text + text_of([later]))


def test_a_log_without_pre_rotation_is_signed_by_the_keys_before() -> None:
    old, new = SigningKey.generate(), SigningKey.generate()
    text = genesis(lambda entry: entry["parameters"].pop("nextKeyHashes"), old)
    log = parse_log(text)
    assert log.next_key_hashes == ()
    entry: Entry = {
        "versionTime": "2027-01-01T00:00:00Z",
        "parameters": {"updateKeys": [multikey(new.public)]},
        "state": log.document,
    }
    with pytest.raises(IntegrityError, match="may not change"):
        parse_log(text + text_of([remade(entry, log, new)]))
    assert parse_log(text + text_of([remade(entry, log, old)])).update_keys == (multikey(new.public),)


def test_a_log_over_its_limits_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = two().text
    monkeypatch.setattr("antsmem.identity.log.MAX_ENTRIES", 1)
    with pytest.raises(IntegrityError, match="more than 1 entries"):
        parse_log(text)
    monkeypatch.setattr("antsmem.identity.log.MAX_LOG_BYTES", len(text) - 1)
    with pytest.raises(IntegrityError, match="never read"):
        parse_log(text)


def test_a_log_without_its_last_line_end_is_read_and_extended() -> None:
    log, commitment = first()
    short = parse_log(log.text.removesuffix(b"\n"))
    assert replace(short, text=log.text) == log
    longer, _ = second(short, commitment.next_key)
    assert parse_log(longer.text).version == 2
