"""Goal: each verb leaves a secret in the state that its name promises, and says no where it cannot be meant.

Method: the verbs, one after another, on a real keystore; and a host that compares itself with anchors that are
ahead, behind, silent or in contradiction.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_ledgers import Held, Shelf

from antsmem.core.errors import (
    BackendError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RollbackError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.identity.anchor import PinFile, publish
from antsmem.identity.secret import usable
from antsmem.identity.secret_revoke import destroy_secret, revoke_secret
from antsmem.identity.secret_rotate import activate_secret, rotate_secret
from antsmem.identity.secret_set import NewSecret, set_secrets
from antsmem.identity.secret_verify import compare_ledger, vouch_for


@pytest.fixture
def held(tmp_path: Path) -> Held:
    held = Held(tmp_path / "agent")
    held.set("token", b"one")
    return held


def now(held: Held, name: str = "token") -> bytes:
    return usable(held.open().keystore.secrets, name).value


def rows(held: Held) -> list[str]:
    return [f"{row.op} {row.body.get('name')} {row.body.get('version')}" for row in held.open().ledger.rows]


def test_a_secret_that_has_a_value_is_not_set_again(held: Held) -> None:
    with pytest.raises(WouldOverwriteError, match="token"):
        held.set("token", b"two")
    held.set("token", b"one")  # the same is not another
    assert now(held) == b"one" and rows(held) == ["set token 1"]


def test_many_are_set_or_none(held: Held) -> None:
    wanted = [NewSecret("new", b"n"), NewSecret("token", b"other")]
    with pytest.raises(WouldOverwriteError):
        set_secrets(held.access, wanted, held.tick())
    assert held.states() == {("token", 1): "active"}
    set_secrets(held.access, wanted, held.tick(), replacing=True)
    assert held.states() == {("token", 1): "superseded", ("token", 2): "active", ("new", 1): "active"}


@pytest.mark.parametrize("new", [
    NewSecret("", b"x"), NewSecret("a/b", b"x"), NewSecret("a#b", b"x"), NewSecret("-a", b"x"),
    NewSecret("a" * 129, b"x"), NewSecret("a\n", b"x"), NewSecret("a", b""), NewSecret("a", bytes((1 << 16) + 1)),
    NewSecret("a", b"x", "other"),
])  # fmt: skip
def test_a_secret_that_cannot_be_is_refused(held: Held, new: NewSecret) -> None:
    with pytest.raises(UsageError):
        set_secrets(held.access, [new], held.tick())
    with pytest.raises(UsageError, match="twice"):
        set_secrets(held.access, [NewSecret("a", b"x"), NewSecret("a", b"y")], held.tick())


def test_rotating_supersedes_and_keeps_the_class(held: Held) -> None:
    rotate_secret(held.access, "token", b"two", held.tick())
    rotate_secret(held.access, "token", b"three", held.tick())
    assert held.states() == {("token", 2): "superseded", ("token", 3): "active"}
    assert now(held) == b"three"
    assert rows(held) == ["set token 1", "rotate token 2", "rotate token 3"]


def test_a_pending_value_is_superseded_by_one_that_is_set(held: Held) -> None:
    rotate_secret(held.access, "token", b"two", held.tick(), pending=True)
    set_secrets(held.access, [NewSecret("token", b"three")], held.tick(), replacing=True)
    assert now(held) == b"three" and held.states() == {("token", 2): "superseded", ("token", 3): "active"}
    with pytest.raises(NotFoundError, match="no pending"):
        activate_secret(held.access, "token", held.tick())


def test_rotating_in_two_steps_keeps_the_old_value_until_the_second(held: Held) -> None:
    rotate_secret(held.access, "token", b"two", held.tick(), pending=True)
    assert now(held) == b"one"
    with pytest.raises(WouldOverwriteError, match="pending"):
        rotate_secret(held.access, "token", b"three", held.tick())
    activate_secret(held.access, "token", held.tick())
    assert now(held) == b"two" and held.states()["token", 1] == "superseded"
    with pytest.raises(NotFoundError, match="no pending"):
        activate_secret(held.access, "token", held.tick())


def test_what_is_not_there_is_not_rotated_revoked_or_vouched_for(held: Held) -> None:
    for verb in (
        lambda: rotate_secret(held.access, "none", b"x", held.tick()),
        lambda: activate_secret(held.access, "none", held.tick()),
        lambda: revoke_secret(held.access, "none", held.tick()),
        lambda: revoke_secret(held.access, "token", held.tick(), version=7),
        lambda: destroy_secret(held.access, "none", held.tick()),
        lambda: vouch_for(held.access, "none", held.tick()),
    ):
        with pytest.raises(NotFoundError):
            verb()
    assert rows(held) == ["set token 1"]


def test_a_token_that_changes_every_hour_does_not_fill_the_ledger(held: Held) -> None:
    held.set("session", b"0", "rotating")
    for number in range(1, 30):
        rotate_secret(held.access, "session", b"%d" % number, held.tick())
    assert now(held, "session") == b"29"
    assert len(rows(held)) == 2 and len(held.open().keystore.secrets) == 3
    revoke_secret(held.access, "session", held.tick())
    with pytest.raises(NotFoundError, match="revoked"):
        now(held, "session")
    held.set("session", b"new", "rotating")
    assert now(held, "session") == b"new"


def test_revoking_keeps_the_value_for_the_scanner_and_destroying_erases_it(held: Held) -> None:
    revoke_secret(held.access, "token", held.tick(), reason="leaked")
    (secret,) = held.open().keystore.secrets
    assert (secret.state, secret.value) == ("revoked", b"one")
    with pytest.raises(NotFoundError, match="revoked"):
        now(held)
    destroy_secret(held.access, "token", held.tick())
    (secret,) = held.open().keystore.secrets
    assert (secret.state, secret.value) == ("destroyed", b"")
    revoke_secret(held.access, "token", held.tick())
    assert rows(held) == ["set token 1", "revoke token 0", "destroy token 0"]


def test_one_version_is_revoked_and_the_other_stays(held: Held) -> None:
    rotate_secret(held.access, "token", b"two", held.tick())
    revoke_secret(held.access, "token", held.tick(), version=1)
    assert held.states() == {("token", 1): "revoked", ("token", 2): "active"}


@pytest.mark.parametrize("end", [revoke_secret, destroy_secret])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_one_version_of_a_token_that_changes_every_hour_is_ended_for_good_and_no_other(
    held: Held, end: Callable[..., object], version: int
) -> None:
    held.set("session", b"1", "rotating")
    for value in (b"2", b"3"):
        rotate_secret(held.access, "session", value, held.tick())
    before = held.access.files.keystore.read_bytes()
    for _ in range(2):
        end(held.access, "session", held.tick(), version=version)
    assert len(rows(held)) == 5
    for _ in range(2):
        states = {number: state for (name, number), state in held.states().items() if name == "session"}
        assert states.get(version, "destroyed") in {"revoked", "destroyed"}
        assert states[3] == "active" or version == 3
        held.access.files.keystore.write_bytes(before)  # an old copy put back says the same


def test_what_ended_with_another_is_not_brought_back_to_end_alone(held: Held) -> None:
    held.set("session", b"1", "rotating")
    rotate_secret(held.access, "session", b"2", held.tick())
    revoke_secret(held.access, "session", held.tick())
    for version in (1, 2):
        revoke_secret(held.access, "session", held.tick(), version=version)
    assert rows(held)[1:] == ["set session 1", "revoke session 0"]
    held.set("session", b"3", "rotating")
    revoke_secret(held.access, "session", held.tick(), version=3)
    assert rows(held)[3:] == ["set session 3", "revoke session 3"]


def test_a_class_is_not_changed_by_the_way(held: Held) -> None:
    held.set("token", b"one")
    with pytest.raises(WouldOverwriteError, match="class static"):
        held.set("token", b"one", "leased")
    changed = set_secrets(held.access, [NewSecret("token", b"one", "leased")], held.tick(), replacing=True).secrets
    assert [(each.version, each.kind) for each in changed] == [(2, "leased")]


def test_after_a_revocation_a_new_value_is_a_new_version(held: Held) -> None:
    revoke_secret(held.access, "token", held.tick())
    held.set("token", b"two")
    assert held.states() == {("token", 1): "revoked", ("token", 2): "active"}


def test_revoking_twice_writes_one_row(held: Held) -> None:
    for _ in range(3):
        revoke_secret(held.access, "token", held.tick())
    assert rows(held) == ["set token 1", "revoke token 0"]


def test_an_anchor_takes_what_is_newer_and_nothing_else(held: Held) -> None:
    shelf, first = Shelf("shelf"), held.publication()
    assert publish(first, [shelf, Shelf("down", down=True)]).took == ("shelf",)
    held.set("later")
    newer = held.publication()
    publish(newer, [shelf])
    publish(newer, [shelf])
    with pytest.raises(RollbackError, match="newer"):
        publish(first, [shelf])
    assert shelf.data == newer


def test_one_anchor_that_refuses_keeps_the_others_from_nothing(held: Held) -> None:
    first = held.publication()
    held.set("later")
    ahead, behind = Shelf("ahead", held.publication()), Shelf("behind")
    with pytest.raises(RollbackError):
        publish(first, [ahead, behind])
    assert behind.data == first
    for error in (BackendError("x"), ConflictError("x")):
        shelf = Shelf("odd")
        shelf.publish = lambda _data, error=error: (_ for _ in ()).throw(error)  # type: ignore[method-assign, misc]
        assert publish(first, [shelf]).failed == {"odd": error}


def test_the_pin_holds_the_head_only(held: Held, tmp_path: Path) -> None:
    pin = PinFile(tmp_path / "pin.json")
    assert pin.fetch() is None
    pin.publish(held.publication())
    assert len(pin.fetch() or b"") < 700


def two_hosts(held: Held) -> Held:
    """A copy of the host that goes on by itself."""
    place = held.place.with_name("copy")
    other = Held(held.place.with_name("unused"))
    shutil.copytree(held.place, place)
    files = held.access.files
    moved = {
        name: place / getattr(files, name).relative_to(held.place)
        for name in ("log", "keystore", "epochs", "host_key")
    }
    from antsmem.core.record import replace

    other.place, other.made = place, held.made
    other.access = replace(
        held.access, files=replace(files, **moved), pin=place / held.access.pin.relative_to(held.place)
    )
    other.now_ns = held.now_ns
    return other


def test_what_was_revoked_elsewhere_is_revoked_here(held: Held) -> None:
    other, shelf = two_hosts(held), Shelf("shelf")
    revoke_secret(other.access, "token", other.tick())
    other.set("new")
    publish(other.publication(), [shelf])
    compared = compare_ledger(held.access, [shelf, Shelf("down", down=True)], held.tick())
    assert compared.adopted == 2 and set(compared.silent) == {"down"}
    assert held.states() == {("token", 1): "revoked"}
    with pytest.raises(NotFoundError):
        now(held)
    assert rows(held) == rows(other)
    held.set("after")


def test_two_hosts_that_both_went_on_are_a_fork(held: Held) -> None:
    other, shelf = two_hosts(held), Shelf("shelf")
    held.set("one")
    other.set("two")
    other.set("three")
    publish(other.publication(), [shelf])
    with pytest.raises(RollbackError, match="two histories"):
        compare_ledger(held.access, [shelf], held.tick())
    assert ("three", 1) not in held.states()


def test_a_ledger_that_was_lost_is_found_again(held: Held) -> None:
    held.set("second")
    shelf = Shelf("shelf", held.publication())
    held.access.files.ledger.unlink()
    with pytest.raises(RollbackError, match="gone"):
        held.open()
    assert compare_ledger(held.access, [shelf], held.tick()).custody.ledger.seq == 2
    assert rows(held) == ["set token 1", "set second 1"]


def test_a_lost_ledger_is_not_replaced_by_an_older_one(held: Held) -> None:
    shelf = Shelf("shelf", held.publication())
    held.set("second")
    held.set("third")
    held.access.files.ledger.unlink()
    with pytest.raises(RollbackError, match="has seen row 3"):
        compare_ledger(held.access, [shelf], held.tick())


def test_a_forged_anchor_changes_nothing(held: Held) -> None:
    before = held.open()
    with pytest.raises(IntegrityError):
        compare_ledger(held.access, [Shelf("shelf", b"{}")], held.tick())
    assert held.open() == before


def test_vouching_for_what_is_active_changes_nothing(held: Held) -> None:
    assert vouch_for(held.access, "token", held.tick()).secrets[0].state == "active"
    assert rows(held) == ["set token 1"]
