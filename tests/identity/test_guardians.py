"""Goal: any k guardians bring the kit back, with the stock `age` program too, and k - 1 learn nothing.

Method: sets of every size with every choice of keys; the `age` program on the files as they lie there; files that
are damaged, swapped, foreign, and sets that would be too large.
"""

from __future__ import annotations

import os
import shutil
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_agents import age_decrypt, new_agent

from antsmem.core.age import HybridIdentity, X25519Identity, parse_recipient, seal
from antsmem.core.errors import CannotUnlockError, IntegrityError, UsageError
from antsmem.core.record import replace
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.guardians import (
    MOST_FILES,
    GuardianSet,
    bring_guardians,
    check_guardians,
    guardian_change,
    guardian_files,
    guardian_files_in,
    open_with_guardians,
    read_guardian_set,
)
from antsmem.identity.keystore import Keystore
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.signing import SigningKey

KEYS = [X25519Identity.generate() for _ in range(6)]
KIT = RecoveryKit(X25519Identity.generate(), "kevin", "QmOfTheseTests", "2026-11-20T15:23:31.000Z")
READER = X25519Identity.generate()
KEYSTORE = Keystore(
    agent="kevin",
    scid=KIT.scid,
    host="laptop",
    log_head="",
    op_key=SigningKey.generate(),
    host_recipient=str(READER.recipient),
    recovery_recipients=(str(KIT.identity.recipient),),
    recovery_hash="",
    fingerprint_key=bytes(32),
)


def files_for(count: int, threshold: int, number: int = 1) -> dict[str, bytes]:
    recipients = tuple(str(key.recipient) for key in KEYS[:count])
    guardians = GuardianSet(number, threshold, recipients, "2026-11-20T15:23:31.000Z")
    return guardian_files(KIT, guardians, KEYSTORE)


@settings(max_examples=20)
@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.randoms())
def test_any_k_open_it_in_any_order_and_fewer_do_not(size: tuple[int, int], shuffled: object) -> None:
    count, threshold = size
    files = files_for(count, threshold)
    for chosen in combinations(KEYS[:count], threshold):
        keys = list(chosen)
        shuffled.shuffle(keys)  # type: ignore[attr-defined]
        assert open_with_guardians(files, keys) == KIT
    for chosen in combinations(KEYS[:count], threshold - 1):
        with pytest.raises(CannotUnlockError, match=f"{threshold} of them are needed"):
            open_with_guardians(files, [*chosen, *KEYS[count:]])


def test_the_age_program_alone_brings_the_kit_back(tmp_path: Path) -> None:
    files = files_for(3, 2)
    for number, key in enumerate(KEYS[:3], 1):
        (tmp_path / f"{number}.txt").write_text(f"# a guardian\n{key.secret()}\n")
    for first, second in combinations("123", 2):
        sealed = tmp_path / "sealed"
        sealed.write_bytes(files[f"guardians-1-{first}-{second}.sealed"])
        inner = tmp_path / "inner"
        inner.write_bytes(age_decrypt(tmp_path / f"{first}.txt", sealed))
        assert age_decrypt(tmp_path / f"{second}.txt", inner).decode() == KIT.text()


def test_one_damaged_file_does_not_stand_in_the_way_of_others() -> None:
    files = files_for(3, 2)
    files["guardians-1-1-2.sealed"] = files["guardians-1-1-2.sealed"][:-1]
    assert open_with_guardians(files, KEYS[:3]) == KIT


def test_a_kit_that_was_typed_in_without_its_labels_gets_them() -> None:
    bare = RecoveryKit.parse(KIT.identity.secret())
    guardians = GuardianSet(1, 1, (str(KEYS[0].recipient),), "")
    back = open_with_guardians(guardian_files(bare, guardians, KEYSTORE), KEYS[:1])
    assert (back.agent, back.scid) == ("kevin", KIT.scid)


def test_guardians_with_post_quantum_keys_open_it_too() -> None:
    keys = [HybridIdentity.generate(), X25519Identity.generate()]
    guardians = GuardianSet(1, 2, tuple(str(key.recipient) for key in keys), "")
    files = guardian_files(KIT, guardians, KEYSTORE)
    assert open_with_guardians(files, keys) == KIT


@pytest.mark.parametrize(
    ("count", "threshold", "why"), [(3, 0, "cannot be"), (3, 4, "cannot be"), (6, 3, ""), (9, 4, "files")]
)
def test_a_set_that_cannot_be_or_needs_too_many_files_is_refused(count: int, threshold: int, why: str) -> None:
    recipients = [str(X25519Identity.generate().recipient) for _ in range(count)]
    if not why:
        check_guardians(recipients, threshold)
        return
    with pytest.raises(UsageError, match=why):
        check_guardians(recipients, threshold)


def test_the_largest_set_has_as_many_files_as_are_allowed() -> None:
    recipients = tuple(str(X25519Identity.generate().recipient) for _ in range(8))
    files = guardian_files(KIT, GuardianSet(1, 4, recipients, ""), KEYSTORE)
    assert len(files) == MOST_FILES + 1
    assert max(map(len, files.values())) < 16 << 10, "small files"


def test_one_who_is_named_twice_or_is_no_public_key_is_refused_without_being_shown() -> None:
    one = str(KEYS[0].recipient)
    with pytest.raises(UsageError, match="twice"):
        check_guardians([one, one], 1)
    for wrong in (KEYS[0].secret(), "ssh-ed25519 AAAA", "age1nonsense", ""):
        with pytest.raises(UsageError) as caught:
            check_guardians([one, wrong], 1)
        assert not wrong or wrong not in str(caught.value)


def test_only_the_newest_set_counts() -> None:
    files = files_for(3, 2) | files_for(2, 2, number=12)
    with pytest.raises(CannotUnlockError):
        open_with_guardians(files, [KEYS[0], KEYS[2]])
    assert open_with_guardians(files, KEYS[:2]) == KIT


def test_other_files_and_none_at_all_open_nothing() -> None:
    with pytest.raises(CannotUnlockError, match="no guardians' files"):
        open_with_guardians({"hot-20261116.age": b"x", "guardians-0-1.sealed": b"x"}, KEYS)


def test_a_damaged_file_is_called_damaged_and_an_endless_one_is_not_opened() -> None:
    name, data = "guardians-1-1-2.sealed", files_for(2, 2)["guardians-1-1-2.sealed"]
    with pytest.raises(IntegrityError):
        open_with_guardians({name: data[:-1]}, KEYS)
    with pytest.raises(IntegrityError, match="too large"):
        open_with_guardians({name: bytes(1 << 20)}, KEYS)
    inner = b"".join(seal([bytes(1 << 17)], [parse_recipient(str(KEYS[1].recipient))]))
    with pytest.raises(IntegrityError, match="too large"):
        open_with_guardians({name: b"".join(seal([inner], [parse_recipient(str(KEYS[0].recipient))]))}, KEYS)


def test_a_planted_file_that_holds_no_kit_is_called_forged() -> None:
    """Whoever knows the guardians' public keys can seal something for them."""
    planted = b"".join(seal([b"not a kit"], [parse_recipient(str(KEYS[0].recipient))]))
    with pytest.raises(IntegrityError, match="forged"):
        open_with_guardians({"guardians-1-1.sealed": planted}, KEYS)
    both = files_for(3, 1) | {"guardians-1-1.sealed": planted}
    assert open_with_guardians(both, KEYS[:2]) == KIT, "and does not stand in the way of others"


@pytest.fixture
def agent(tmp_path: Path) -> CreatedIdentity:
    return new_agent(tmp_path)[1]


def in_force(agent: CreatedIdentity, number: int = 1) -> dict[str, bytes]:
    recipients = tuple(str(key.recipient) for key in KEYS[:3])
    guardians = GuardianSet(number, 2, recipients, "2026-11-20T15:23:31.000Z")
    return guardian_files(agent.kit, guardians, agent.keystore)


def test_host_and_kit_may_know_who_the_guardians_are_and_nobody_else(agent: CreatedIdentity) -> None:
    files = in_force(agent, number=3)
    for reader in (agent.host_key, agent.kit.identity):
        found = read_guardian_set(files, [reader], agent.log)
        assert found and (found.number, found.threshold) == (3, 2)
        assert found.recipients == tuple(str(key.recipient) for key in KEYS[:3])
        assert found.recipients[0] not in repr(found)
    with pytest.raises(CannotUnlockError):
        read_guardian_set(files, KEYS, agent.log)
    assert read_guardian_set({}, [agent.host_key], agent.log) is None


def test_a_set_that_no_host_of_the_agent_signed_is_not_believed(agent: CreatedIdentity, tmp_path: Path) -> None:
    _, other = new_agent(tmp_path / "other")
    recipients = (str(KEYS[0].recipient),)
    stranger = replace(agent.keystore, op_key=other.keystore.op_key)
    forged = guardian_files(agent.kit, GuardianSet(1, 1, recipients, ""), stranger)
    with pytest.raises(IntegrityError, match="never spoke"):
        read_guardian_set(forged, [agent.host_key], agent.log)
    renamed = {"guardians-2-set.sealed": in_force(agent)["guardians-1-set.sealed"]}
    with pytest.raises(IntegrityError, match="another set"):
        read_guardian_set(renamed, [agent.host_key], agent.log)


def test_a_change_of_the_set_names_all_old_files_as_gone(agent: CreatedIdentity) -> None:
    before, after = in_force(agent), in_force(agent, number=2)
    change = guardian_change(before, after)
    assert {name for name, data in change.items() if data is None} == {f"guardians/{name}" for name in before}
    assert {name for name, data in change.items() if data} == {f"guardians/{name}" for name in after}


def test_a_recovery_takes_the_newest_set_and_may_read_it(agent: CreatedIdentity, tmp_path: Path) -> None:
    folder = tmp_path / "guardians"
    folder.mkdir()
    for name, data in in_force(agent).items():
        (folder / name).write_bytes(data)
    _, new_host = new_agent(tmp_path / "new")
    stale_and_new = in_force(agent) | in_force(agent, number=2)
    bring_guardians(folder, stale_and_new, agent.kit, new_host.keystore, agent.log)
    assert set(guardian_files_in(folder)) == set(os.listdir(folder)) == set(in_force(agent, number=2))
    assert read_guardian_set(guardian_files_in(folder), [new_host.host_key], agent.log)
    bring_guardians(folder, {}, agent.kit, new_host.keystore, agent.log)
    assert os.listdir(folder) == [], "there are none in force: those of an old backup are not either"
    shutil.rmtree(folder)
    bring_guardians(folder, {}, agent.kit, new_host.keystore, agent.log)
    assert not folder.exists()


def test_a_set_that_somebody_put_into_the_repository_stops_no_recovery(
    agent: CreatedIdentity, tmp_path: Path
) -> None:
    _, new_host = new_agent(tmp_path / "new")
    theirs = [parse_recipient(str(X25519Identity.generate().recipient))]
    for planted in (b"junk", b"".join(seal([b"x"], theirs)), b""):
        for name in ("guardians-9-set.sealed", "guardians-9-1-2.sealed"):
            files = in_force(agent) | {name: planted}
            bring_guardians(tmp_path / "guardians", files, agent.kit, new_host.keystore, agent.log)
            assert set(os.listdir(tmp_path / "guardians")) == set(in_force(agent))
