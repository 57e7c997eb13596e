"""Goal: a keystore opens for the host and for recovery and for nobody else, is never read changed, and speaks only
for the identity of its log.

Method: every byte changed and cut; keystores sealed by somebody who knows the recipients, or signed in another
shape; logs that revoke, fork and roll back.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_agents import FRIDAY_NS, Agent, age_decrypt, new_agent, secret

from antsmem.core import canonical, disk
from antsmem.core.age import X25519Identity, parse_recipient, seal, unseal
from antsmem.core.errors import (
    CannotUnlockError,
    ConflictError,
    IntegrityError,
    LockedError,
    NotFoundError,
    RetiredError,
    RollbackError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.core.record import replace
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.envelope import PAD_BYTES, open_envelope, seal_envelope
from antsmem.identity.escrow import open_escrow
from antsmem.identity.keystore import (
    SCHEMA,
    check_keystore,
    keystore_from_bytes,
    keystore_to_bytes,
    open_keystore,
    save_keystore,
)
from antsmem.identity.log import parse_log
from antsmem.identity.recovery import recover_host
from antsmem.identity.secret import CLASSES, STATES
from antsmem.identity.signing import SigningKey


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return new_agent(tmp_path)


def test_a_keystore_opens_for_the_host_and_for_recovery_only(agent: Agent) -> None:
    files, made = agent
    for identity in (made.host_key, made.kit.identity):
        assert open_keystore(files.keystore, [X25519Identity.generate(), identity]) == made.keystore
    for identities in ([X25519Identity.generate()], []):
        with pytest.raises(CannotUnlockError, match="no key at hand"):
            open_keystore(files.keystore, identities)


def test_a_keystore_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_keystore(tmp_path / "keystore.age", [])


def test_secrets_of_every_state_and_class_are_kept(agent: Agent) -> None:
    files, made = agent
    secrets = tuple(
        replace(secret(f"{state}-{kind}", os.urandom(40)), state=state, kind=kind)
        for state in STATES
        for kind in CLASSES
    )
    save_keystore(files.keystore, replace(made.keystore, secrets=secrets), made.host_key)
    assert open_keystore(files.keystore, [made.host_key]).secrets == secrets


def test_a_keystore_is_padded_so_that_its_size_says_little(agent: Agent) -> None:
    files, made = agent
    empty = len(files.keystore.read_bytes())
    save_keystore(files.keystore, replace(made.keystore, secrets=(secret("one"),)), made.host_key)
    assert len(files.keystore.read_bytes()) == empty
    assert len(unseal(files.keystore.read_bytes(), [made.host_key])) % PAD_BYTES == 0


def test_the_age_program_shows_what_is_in_a_keystore(agent: Agent, tmp_path: Path) -> None:
    files, made = agent
    (tmp_path / "kit").write_text(made.kit.text())
    line = age_decrypt(tmp_path / "kit", files.keystore).splitlines()[0]
    assert canonical.loads(line, 1 << 20)["scid"] == made.keystore.scid
    assert canonical.dumps(canonical.loads(line, 1 << 20)) == line


def test_no_changed_and_no_cut_byte_is_accepted(agent: Agent) -> None:
    files, made = agent
    data = files.keystore.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises((IntegrityError, CannotUnlockError)):
            keystore_from_bytes(changed, [made.host_key])
    for size in [*range(0, len(data), 97), len(data) - 1]:
        with pytest.raises((IntegrityError, CannotUnlockError)):
            keystore_from_bytes(data[:size], [made.host_key])
    with pytest.raises(IntegrityError):
        keystore_from_bytes(data + b" ", [made.host_key])


def test_a_damaged_keystore_is_named(agent: Agent) -> None:
    files, made = agent
    files.keystore.write_bytes(files.keystore.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"keystore\.age") as caught:
        open_keystore(files.keystore, [made.host_key])
    assert "recover" in caught.value.hint


def sealed(made: CreatedIdentity, plain: bytes) -> bytes:
    recipients = [made.keystore.host_recipient, *made.keystore.recovery_recipients]
    return b"".join(seal([plain], [parse_recipient(recipient) for recipient in recipients]))


def test_a_keystore_that_is_sealed_but_not_signed_is_refused(agent: Agent) -> None:
    files, made = agent
    plain = bytes(unseal(files.keystore.read_bytes(), [made.host_key]))
    line, signature, padding = plain.split(b"\n")
    assert keystore_from_bytes(sealed(made, plain), [made.host_key]) == made.keystore
    for forged in (
        line.replace(b'"kevin"', b'"keven"') + b"\n" + signature + b"\n" + padding,
        line + b"\n" + b" " * len(signature) + b"\n" + padding,
        line + b"\n" + b"\n" + padding + b" " * len(signature),
        line + b"\n" + signature + b"\n" + padding[:-1],
        line + b"\n" + signature + b"\n" + padding[:-1] + b"x",
        line + b" " * 7,
        b"",
    ):
        with pytest.raises(IntegrityError):
            keystore_from_bytes(sealed(made, forged), [made.host_key])


def test_the_control_shows_that_without_its_signature_a_forged_keystore_is_believed(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, made = agent
    plain = bytes(unseal(files.keystore.read_bytes(), [made.host_key]))
    forged = plain.replace(b'"kevin"', b'"bevin"')
    with pytest.raises(IntegrityError):
        keystore_from_bytes(sealed(made, forged), [made.host_key])
    monkeypatch.setattr("antsmem.identity.envelope.verify", lambda public, message, signature: None)
    assert keystore_from_bytes(sealed(made, forged), [made.host_key]).agent == "bevin"


def test_a_keystore_signed_by_another_key_than_its_own_is_refused(agent: Agent) -> None:
    files, made = agent
    body = open_envelope(files.keystore.read_bytes(), SCHEMA, [made.host_key]).body
    recipients = [made.keystore.host_recipient, *made.keystore.recovery_recipients]
    forged = seal_envelope(body, SigningKey.generate(), recipients)
    with pytest.raises(IntegrityError, match="another key"):
        keystore_from_bytes(forged, [made.host_key])


def test_a_keystore_sealed_on_to_somebody_else_is_refused(agent: Agent) -> None:
    files, made = agent
    other = X25519Identity.generate()
    body = open_envelope(files.keystore.read_bytes(), SCHEMA, [made.host_key]).body
    forwarded = seal_envelope(body, made.keystore.op_key, [str(other.recipient)])
    with pytest.raises(IntegrityError, match="not among its recipients"):
        keystore_from_bytes(forwarded, [other])


@pytest.mark.parametrize(
    "change",
    [
        {"agent": 1},
        {"sequence": -1},
        {"sequence": True},
        {"op_seed": "AA=="},
        {"op_seed": "not base64"},
        {"fingerprint_key": ""},
        {"epochs": {}},
        {"epochs": [{"name": "../x", "recipient": "age1"}]},
        {"epochs": [{"name": "hot-20261116"}]},
        {"secrets": [{}]},
        {"secrets": [1]},
        {"recovery_recipients": [1]},
        {"unknown": 1},
        {"host": None},
    ],
    ids=str,
)
def test_a_signed_keystore_of_another_shape_is_refused(agent: Agent, change: dict[str, object]) -> None:
    files, made = agent
    body = dict(open_envelope(files.keystore.read_bytes(), SCHEMA, [made.host_key]).body)
    recipients = [made.keystore.host_recipient, *made.keystore.recovery_recipients]
    again = seal_envelope(body, made.keystore.op_key, recipients)
    assert keystore_from_bytes(again, [made.host_key]) == made.keystore
    for wrong in ({**body, **change}, {name: body[name] for name in body if name not in change}):
        if wrong == body:
            continue
        with pytest.raises(IntegrityError) as caught:
            keystore_from_bytes(seal_envelope(wrong, made.keystore.op_key, recipients), [made.host_key])
        for value in body.values():
            assert not isinstance(value, str) or len(value) < 20 or value not in str(caught.value)


def test_a_keystore_of_a_newer_format_asks_for_a_newer_antsmem(agent: Agent) -> None:
    files, made = agent
    body = dict(open_envelope(files.keystore.read_bytes(), SCHEMA, [made.host_key]).body)
    body["schema"] = "antsmem.keystore/2"
    newer = seal_envelope(body, made.keystore.op_key, [made.keystore.host_recipient])
    with pytest.raises(UsageError, match="keystore/2") as caught:
        keystore_from_bytes(newer, [made.host_key])
    assert "update" in caught.value.hint


def test_a_save_gives_the_next_sequence_and_refuses_an_old_one(agent: Agent) -> None:
    files, made = agent
    assert made.keystore.sequence == 1
    one = save_keystore(files.keystore, replace(made.keystore, secrets=(secret("one"),)), made.host_key)
    assert one.sequence == 2
    with pytest.raises(ConflictError):
        save_keystore(files.keystore, replace(made.keystore, secrets=(secret("two"),)), made.host_key)
    assert open_keystore(files.keystore, [made.host_key]) == one


def test_a_save_does_not_start_where_a_keystore_is(agent: Agent) -> None:
    files, made = agent
    with pytest.raises(ConflictError):
        save_keystore(files.keystore, replace(made.keystore, sequence=0), made.host_key)
    with pytest.raises(WouldOverwriteError):
        save_keystore(files.keystore, replace(made.keystore, scid="Qm"), made.host_key)


def test_a_save_with_a_key_that_is_not_the_hosts_is_refused(agent: Agent) -> None:
    files, made = agent
    with pytest.raises(UsageError):
        save_keystore(files.keystore, made.keystore, made.kit.identity)


def test_a_keystore_without_recovery_is_refused(agent: Agent) -> None:
    _, made = agent
    with pytest.raises(UsageError, match="recovery"):
        keystore_to_bytes(replace(made.keystore, recovery_recipients=()))


def test_a_save_while_another_process_saves_is_refused_as_locked(agent: Agent) -> None:
    files, made = agent
    with disk.locked(files.keystore.with_suffix(".lock"), "busy"), pytest.raises(LockedError):
        save_keystore(files.keystore, made.keystore, made.host_key)


def test_a_keystore_that_does_not_open_again_is_not_saved(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    files, made = agent
    before = files.keystore.read_bytes()
    rotten = keystore_to_bytes(replace(made.keystore, agent="other"))
    monkeypatch.setattr("antsmem.identity.keystore.keystore_to_bytes", lambda keystore: rotten)
    with pytest.raises(IntegrityError, match="not saved"):
        save_keystore(files.keystore, made.keystore, made.host_key)
    assert files.keystore.read_bytes() == before


def test_a_keystore_speaks_for_the_identity_of_its_log(agent: Agent, tmp_path: Path) -> None:
    files, made = agent
    log = parse_log(files.log.read_bytes())
    check_keystore(made.keystore, log)
    _, other = new_agent(tmp_path / "other")
    with pytest.raises(IntegrityError, match="identity log of"):
        check_keystore(made.keystore, other.log)
    with pytest.raises(IntegrityError, match="never spoke"):
        check_keystore(replace(made.keystore, op_key=SigningKey.generate()), log)
    with pytest.raises(IntegrityError, match="op key of host"):
        check_keystore(replace(made.keystore, host="desktop"), log)


def test_a_keystore_whose_key_was_revoked_says_since_when(agent: Agent) -> None:
    _, made = agent
    longer = recover_host(
        made.log, made.kit, "desktop", SigningKey.generate().public, FRIDAY_NS, retire=["laptop"]
    ).log
    with pytest.raises(RetiredError, match="revoked by version 2"):
        check_keystore(made.keystore, longer)


def test_a_keystore_that_has_seen_a_newer_log_refuses_the_older(agent: Agent) -> None:
    _, made = agent
    longer = recover_host(made.log, made.kit, "desktop", SigningKey.generate().public, FRIDAY_NS).log
    ahead = replace(made.keystore, log_head=longer.head)
    check_keystore(ahead, longer)
    with pytest.raises(RollbackError):
        check_keystore(ahead, made.log)


def test_nothing_secret_is_shown(agent: Agent) -> None:
    files, made = agent
    value = os.urandom(16).hex().encode()
    keystore = replace(made.keystore, secrets=(secret("one", value),))
    escrow = open_escrow(made.escrow, [made.kit.identity], made.log)
    shown = f"{keystore!r} {keystore} {made!r} {escrow!r} {keystore.secrets[0]!r} {files!r}"
    hidden = [
        value.decode(),
        keystore.op_key.seed().hex(),
        repr(keystore.op_key.seed())[2:-1],
        repr(keystore.fingerprint_key)[2:-1],
        made.host_key.secret(),
        made.kit.identity.secret(),
        repr(escrow.next_key.seed())[2:-1],
        keystore.host_recipient,
        *keystore.recovery_recipients,
        *(known.recipient for known in keystore.epochs),
    ]
    for text in hidden:
        assert text not in shown
