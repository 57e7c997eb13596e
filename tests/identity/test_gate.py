"""Goal: a credential that was revoked does not come back, whichever old copy of whatever is put before a recovery.

Method: an agent lives, its secrets change, and at each moment its escrow and publications are kept; then a
recovery is given old ones in every mix. Controls: with the newest ledger left out of the comparison, or nobody
asked, the same attack brings the credential back.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_agents import FRIDAY_NS
from made_ledgers import Held, Shelf, ledger_of, more

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, RollbackError
from antsmem.core.record import replace
from antsmem.identity import gate as gate_module
from antsmem.identity.anchor import (
    Publication,
    Told,
    ask,
    publication_from_bytes,
    publication_to_bytes,
    sign_head,
)
from antsmem.identity.gate import Gated, gate, newest_ledger
from antsmem.identity.ledger import Ledger, seal_ledger
from antsmem.identity.secret_revoke import destroy_secret, revoke_secret
from antsmem.identity.secret_rotate import rotate_secret
from antsmem.identity.secrets_escrow import SecretsEscrow, open_secrets, seal_secrets
from antsmem.identity.signing import SigningKey

VALUE = b"the first value"


@pytest.fixture
def held(tmp_path: Path) -> Held:
    held = Held(tmp_path / "agent")
    held.set("token", VALUE)
    held.set("other", b"other")
    return held


def escrow_of(held: Held) -> SecretsEscrow:
    return open_secrets(seal_secrets(held.open()), [held.kit], held.log)


def recovered(
    held: Held, told: Told, escrow: SecretsEscrow | None, *, accept_stale: bool = False, alone: bool = False
) -> Gated:
    """What passes the gate; the restored place is called `repository`."""
    ledgers = {"the escrow": escrow.ledger} if escrow and not alone else {}
    newest = newest_ledger(told, [held.kit], held.log, ledgers)
    return gate(newest, escrow, ("repository",), FRIDAY_NS, accept_stale=accept_stale)


def back(gated: Gated, name: str = "token") -> dict[int, tuple[str, bytes]]:
    return {each.version: (each.state, each.value) for each in gated.secrets if each.name == name}


def test_what_is_good_comes_back_when_an_anchor_vouches_for_it(held: Held) -> None:
    now = held.publication()
    gated = recovered(held, Told({"repository": now, "relay": now}), escrow_of(held))
    assert back(gated) == {1: ("active", VALUE)}
    assert gated.fresh and gated.witnesses == ("repository", "relay")
    assert {each.state for each in gated.verdicts} == {"active"}


@pytest.mark.parametrize("end", [revoke_secret, destroy_secret])
def test_a_revoked_credential_in_an_old_escrow_and_an_old_backup_does_not_come_back(
    held: Held, end: object
) -> None:
    old_escrow, old = escrow_of(held), held.publication()
    end(held.access, "token", held.tick())  # type: ignore[operator]
    told = Told({"repository": old, "relay": held.publication()})
    gated = recovered(held, told, old_escrow)
    assert back(gated)[1][0] in {"revoked", "destroyed"} and back(gated)[1][1] == b""
    assert back(gated, "other") == {1: ("active", b"other")}


def test_control_without_the_newest_ledger_it_comes_back(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    old_escrow, old = escrow_of(held), held.publication()
    revoke_secret(held.access, "token", held.tick())
    # The guard removed: only the restored place is asked, and it is believed.
    gated = recovered(held, Told({"repository": old}), old_escrow, accept_stale=True)
    assert back(gated) == {1: ("active", VALUE)}
    # The guard removed: the oldest ledger decides.
    monkeypatch.setattr(gate_module, "_is_longer", lambda _seq, _ledgers: False)
    monkeypatch.setattr(Ledger, "holds", lambda *_: True)
    told = Told({"repository": old, "relay": old})
    assert back(recovered(held, told, old_escrow)) == {1: ("active", VALUE)}


def test_where_only_the_restored_place_answers_values_are_quarantined(held: Held) -> None:
    old_escrow, old = escrow_of(held), held.publication()
    revoke_secret(held.access, "token", held.tick())
    gated = recovered(held, Told({"repository": old}, {"relay": "does not answer"}), old_escrow)
    assert back(gated) == {1: ("quarantined", VALUE)}
    assert not gated.fresh and gated.silent == {"relay": "does not answer"}


def test_a_person_may_take_them_though_nobody_knows(held: Held) -> None:
    gated = recovered(held, Told(), escrow_of(held), accept_stale=True)
    assert back(gated) == {1: ("active", VALUE)}


def test_what_was_superseded_does_not_come_back(held: Held) -> None:
    old_escrow = escrow_of(held)
    rotate_secret(held.access, "token", b"second", held.tick())
    now = held.publication()
    told = Told({"repository": now, "relay": now})
    gated = recovered(held, told, old_escrow)
    assert back(gated) == {2: ("withheld", b"")}
    (missing,) = [each for each in gated.verdicts if each.reissue]
    assert (missing.name, missing.version) == ("token", 2)
    assert back(recovered(held, told, escrow_of(held)))[2] == ("active", b"second")


@pytest.mark.parametrize("kind", ["rotating", "leased"])
def test_what_is_for_one_use_is_withheld(held: Held, kind: str) -> None:
    held.set("session", b"once", kind)
    rotate_secret(held.access, "session", b"twice", held.tick())
    sealed = seal_secrets(held.open())
    now = held.publication()
    gated = recovered(held, Told({"relay": now}), open_secrets(sealed, [held.kit], held.log))
    assert set(back(gated, "session").values()) <= {("withheld", b""), ("superseded", b"")}
    assert [each.version for each in gated.verdicts if each.reissue] == [2]
    assert all(value.value == b"" for value in escrow_of(held).secrets if value.name == "session")


def test_a_pending_value_waits_on(held: Held) -> None:
    rotate_secret(held.access, "token", b"next", held.tick(), pending=True)
    gated = recovered(held, Told({"relay": held.publication()}), escrow_of(held))
    assert back(gated) == {1: ("active", VALUE), 2: ("pending", b"next")}


def test_without_an_escrow_everything_is_to_be_issued_anew(held: Held) -> None:
    gated = recovered(held, Told({"relay": held.publication()}), None)
    assert {each.name for each in gated.verdicts if each.reissue} == {"token", "other"}
    assert all(each.value == b"" for each in gated.secrets)


def test_an_escrow_newer_than_all_anchors_counts_itself(held: Held) -> None:
    """The host died before its next backup told anybody."""
    before = held.publication()
    held.set("last", b"minute")
    revoke_secret(held.access, "token", held.tick())
    gated = recovered(held, Told({"repository": before, "relay": before}), escrow_of(held))
    assert back(gated, "last") == {1: ("active", b"minute")}
    assert back(gated)[1][0] == "revoked"


def test_what_the_ledger_never_heard_of_is_quarantined(held: Held) -> None:
    escrow = escrow_of(held)
    stranger = replace(escrow.secrets[0], name="unheard")
    gated = recovered(
        held, Told({"relay": held.publication()}), replace(escrow, secrets=(*escrow.secrets, stranger))
    )
    assert back(gated, "unheard") == {1: ("quarantined", VALUE)}


def test_a_pin_above_the_newest_is_a_rollback(held: Held) -> None:
    old = held.publication()
    held.set("later")
    pin = publication_to_bytes(replace(publication_from_bytes(held.publication()), sealed=b""))
    with pytest.raises(RollbackError, match="`pin` has seen row 3"):
        recovered(held, Told({"repository": old, "pin": pin}), None)
    with pytest.raises(RollbackError):
        recovered(held, Told({"pin": pin}), None)
    assert back(recovered(held, Told({"repository": old}), None))[1][0] == "withheld"  # the control


def published(held: Held, ledger: Ledger, key: SigningKey | None = None) -> bytes:
    key = key or held.made.keystore.op_key
    sealed = seal_ledger(ledger, key, [str(held.kit.recipient)])
    return publication_to_bytes(Publication(sign_head(ledger, "laptop", key), sealed))


def test_two_histories_are_a_fork(held: Held) -> None:
    key = held.made.keystore.op_key
    one = ledger_of(held.log, key, "set a 1", "set b 1", "set c 1")
    two = more(replace(one, rows=one.rows[:2]), key, "revoke a 0", "set d 1")
    anchors = {"x": published(held, one), "y": published(held, two)}
    for told in (anchors, dict(reversed(anchors.items()))):
        with pytest.raises(RollbackError, match="two histories"):
            recovered(held, Told(told), None)
    prefix = published(held, replace(one, rows=one.rows[:2]))
    assert recovered(held, Told({"x": published(held, one), "y": prefix}), None).ledger == one


def test_a_forged_publication_stops_everything(held: Held) -> None:
    good = held.publication()
    key, stranger = held.made.keystore.op_key, SigningKey.generate()
    forged = ledger_of(held.log, stranger, "set a 1", "set b 1", "set c 1")
    swapped = replace(publication_from_bytes(published(held, ledger_of(held.log, key, "set a 1"))), sealed=
                      publication_from_bytes(good).sealed)  # fmt: skip
    for bad in (
        published(held, forged, stranger),
        published(held, forged),
        publication_to_bytes(swapped),
        good[:-40],
        b"",
        b"{}",
        b"\xff",
    ):
        with pytest.raises(IntegrityError, match="anchor `relay`"):
            recovered(held, Told({"relay": bad}), None)


def test_every_flipped_byte_of_a_publication_is_refused(held: Held) -> None:
    good = held.publication()
    for at in (*range(0, len(good) - 60, 13), *range(len(good) - 60, len(good) - 1)):
        with pytest.raises(AntsmemError):
            recovered(held, Told({"relay": good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]}), None)


def test_every_flipped_byte_of_the_escrow_is_refused(held: Held) -> None:
    good = seal_secrets(held.open())
    assert VALUE not in good
    for at in range(0, len(good), 13):
        with pytest.raises(AntsmemError):
            open_secrets(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], [held.kit], held.log)
    with pytest.raises(CannotUnlockError):
        open_secrets(good, [held.made.host_key], held.log)
    with pytest.raises(CannotUnlockError):
        open_secrets(good, [X25519Identity.generate()], held.log)


def test_an_escrow_of_somebody_else_is_refused(held: Held, tmp_path: Path) -> None:
    other = Held(tmp_path / "other")
    other.set("token", b"planted")
    planted = other.open()
    keystore = replace(planted.keystore, recovery_recipients=(str(held.kit.recipient),))
    sealed = seal_secrets(replace(planted, keystore=keystore))
    with pytest.raises(IntegrityError):
        open_secrets(sealed, [held.kit], held.log)
    forged = replace(keystore, scid=held.log.scid, op_key=SigningKey.generate())
    with pytest.raises(IntegrityError):
        open_secrets(seal_secrets(replace(planted, keystore=forged)), [held.kit], held.log)


def test_an_anchor_that_is_down_stops_nothing_and_is_told(held: Held) -> None:
    told = ask([Shelf("up", held.publication()), Shelf("down", down=True), Shelf("empty")])
    gated = recovered(held, told, escrow_of(held))
    assert gated.witnesses == ("up",) and set(gated.silent) == {"down"} and gated.fresh


STEPS = st.lists(st.sampled_from(["set", "rotate", "revoke", "destroy", "keep"]), min_size=2, max_size=8)


@settings(max_examples=20)
@given(STEPS, st.data())
def test_in_any_mix_of_old_copies_the_newest_ledger_decides(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], data: st.DataObject
) -> None:
    held = Held(tmp_path_factory.mktemp("agent"))
    held.set("token", b"0")
    kept = []
    for number, step in enumerate(steps, 1):
        try:
            if step == "set":
                held.set("token", b"%d" % number)
            elif step == "rotate":
                rotate_secret(held.access, "token", b"%d" % number, held.tick())
            elif step != "keep":
                (revoke_secret if step == "revoke" else destroy_secret)(held.access, "token", held.tick())
        except AntsmemError:
            continue
        kept.append((escrow_of(held), held.publication()))
    escrow = data.draw(st.sampled_from([escrow for escrow, _ in kept] or [escrow_of(held)]))
    repository = data.draw(st.sampled_from([publication for _, publication in kept] or [held.publication()]))
    gated = recovered(held, Told({"repository": repository, "relay": held.publication()}), escrow)
    truth = {key: each.state for key, each in held.open().ledger.standings().items()}
    now = {each.version: each.value for each in held.open().keystore.secrets if each.state == "active"}
    for version, (state, value) in back(gated).items():
        if truth["token", version] != "active":
            assert value == b"" and state == truth["token", version]
        elif value:
            assert (state, value) == ("active", now[version])
        else:
            assert state == "withheld"


def test_the_publication_is_small_and_says_nothing(held: Held) -> None:
    data = held.publication()
    assert len(data) < 8000
    assert set(canonical.loads(data, 1 << 20)["head"]) == {
        "schema", "scid", "seq", "hash", "time", "host", "by", "sig",
    }  # fmt: skip
    assert b"token" not in data
