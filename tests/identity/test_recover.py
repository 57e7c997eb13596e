"""Goal: from a kit and what a repository keeps, an empty machine becomes a host of the agent, and nothing that a
hostile repository hands over is believed.

Method: an agent lost and brought back, twice; each part of what was saved left out, damaged, forged and swapped; a
failure at each step.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from made_agents import FRIDAY_NS, WEEK_NS, all_files, failing_at, files_in, new_agent, saved_copy

from antsmem.core.age import X25519Identity
from antsmem.core.errors import AntsmemError, IntegrityError, RetiredError, UsageError, WouldOverwriteError
from antsmem.core.record import replace
from antsmem.identity.document import op_keys_of
from antsmem.identity.epochs import first_number, new_epoch, open_epochs
from antsmem.identity.escrow import open_escrow
from antsmem.identity.keystore import check_keystore, open_keystore
from antsmem.identity.log import parse_log
from antsmem.identity.multikey import key_hash
from antsmem.identity.recover import SavedIdentity, recover_identity
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.rollover import ensure_epoch
from antsmem.identity.unlock import file_source, unlock

DESKTOP = first_number(["laptop", "desktop"], "desktop")


def test_an_agent_is_brought_back_on_an_empty_machine(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    kit = RecoveryKit.parse(lost.kit.text())
    files = files_in(tmp_path / "new")
    back = recover_identity(kit, saved_copy(old_files, lost.escrow), "desktop", files, FRIDAY_NS + WEEK_NS)

    host_key = unlock([file_source(files.host_key, files.backed_up)]).identity
    keystore = open_keystore(files.keystore, [host_key])
    assert keystore == back.keystore
    log = parse_log(files.log.read_bytes())
    assert log == back.log
    check_keystore(keystore, log)
    log.refuse_rollback(lost.log.head)
    assert (keystore.agent, keystore.scid, keystore.host) == ("kevin", lost.log.scid, "desktop")
    assert keystore.fingerprint_key == lost.keystore.fingerprint_key
    assert set(op_keys_of(log.document)) == {"laptop", "desktop"}
    assert back.unreadable == ()


def test_every_old_epoch_is_opened_and_the_hot_ones_stay_readable_on_the_new_host(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    files = files_in(tmp_path / "new")
    back = recover_identity(lost.kit, saved_copy(old_files, None), "desktop", files, FRIDAY_NS)
    recipients = {name: str(key.recipient) for name, key in back.epochs.items()}
    assert recipients == {known.name: known.recipient for known in lost.keystore.epochs}
    kept = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    assert set(open_epochs(kept, [back.host_key])) == {"hot-20261116", f"hot-20261116-{DESKTOP}"}
    assert set(open_epochs(kept, [lost.kit.identity])) == {
        "hot-20261116", f"hot-20261116-{DESKTOP}", "cold-20261116", f"cold-20261116-{DESKTOP}",
    }  # fmt: skip


def test_the_new_host_seals_to_keys_of_its_own_making(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    saved = saved_copy(old_files, lost.escrow)
    # Who knows the recipients can make epoch files: a hostile repository hands over its own.
    planted = new_epoch(
        "hot", (), lost.keystore.host_recipient, lost.keystore.recovery_recipients, FRIDAY_NS + WEEK_NS
    )
    saved = replace(saved, epochs={**saved.epochs, planted.epoch.file_name: planted.sealed})
    files = files_in(tmp_path / "new")
    back = recover_identity(lost.kit, saved, "desktop", files, FRIDAY_NS + WEEK_NS)
    assert planted.epoch.name in back.epochs
    for tier in ("hot", "cold"):
        ensured = ensure_epoch(back.keystore, tier, files, back.host_key, FRIDAY_NS + WEEK_NS)
        assert ensured.epoch.recipient != planted.epoch.recipient
        assert ensured.epoch in back.keystore.epochs


def test_an_agent_is_brought_back_a_second_time_with_the_same_kit(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    second_files, third_files = files_in(tmp_path / "second"), files_in(tmp_path / "third")
    second = recover_identity(lost.kit, saved_copy(old_files, lost.escrow), "second", second_files, FRIDAY_NS)
    saved = saved_copy(second_files, second.escrow)
    third = recover_identity(lost.kit, saved, "third", third_files, FRIDAY_NS, retire=["laptop", "second"])
    assert set(op_keys_of(third.log.document)) == {"third"}
    assert third.log.version == 3
    assert lost.kit.generation(third.log) == 2
    made = {epoch.name for epoch in (*lost.keystore.epochs, *second.keystore.epochs)}
    assert set(third.epochs) == made and len(made) == 4
    escrow = open_escrow(third.escrow, [lost.kit.identity], third.log)
    assert key_hash(escrow.next_key.public) in third.log.next_key_hashes
    with pytest.raises(RetiredError, match="revoked"):
        check_keystore(second.keystore, third.log)


def test_the_kit_alone_is_enough(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    bare = RecoveryKit.parse(lost.kit.identity.secret())
    only_log = SavedIdentity(old_files.log.read_bytes(), {})
    files = files_in(tmp_path / "new")
    with pytest.raises(UsageError, match="does not name the agent"):
        recover_identity(bare, only_log, "desktop", files, FRIDAY_NS)
    named = recover_identity(replace(bare, agent="kevin"), only_log, "desktop", files, FRIDAY_NS)
    assert named.epochs == {}
    assert named.keystore.fingerprint_key != lost.keystore.fingerprint_key


def test_a_kit_without_a_name_takes_it_from_the_escrow(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    bare = RecoveryKit.parse(lost.kit.identity.secret())
    back = recover_identity(
        bare, saved_copy(old_files, lost.escrow), "desktop", files_in(tmp_path / "new"), FRIDAY_NS
    )
    assert back.keystore.agent == "kevin"


def test_the_kit_of_another_agent_brings_nothing_back(tmp_path: Path) -> None:
    old_files, _ = new_agent(tmp_path / "old")
    _, other = new_agent(tmp_path / "other")
    with pytest.raises(UsageError, match="may not change identity"):
        recover_identity(other.kit, saved_copy(old_files, None), "x", files_in(tmp_path / "new"), FRIDAY_NS)
    assert all_files(tmp_path / "new") == {}


def test_a_forged_log_or_escrow_brings_nothing_back(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    _, other = new_agent(tmp_path / "other")
    saved = saved_copy(old_files, lost.escrow)
    files = files_in(tmp_path / "new")
    changed = saved.log.replace(b"op-laptop", b"op-lapdog")
    for wrong in (replace(saved, log=changed), replace(saved, log=b"")):
        with pytest.raises(IntegrityError):
            recover_identity(lost.kit, wrong, "desktop", files, FRIDAY_NS)
    damaged = lost.escrow[:-1] + bytes([lost.escrow[-1] ^ 1])
    with pytest.raises(IntegrityError, match="escrow") as caught:
        recover_identity(lost.kit, replace(saved, escrow=damaged), "desktop", files, FRIDAY_NS)
    assert "without it" in caught.value.hint
    with pytest.raises(AntsmemError):
        recover_identity(lost.kit, replace(saved, escrow=other.escrow), "desktop", files, FRIDAY_NS)
    assert all_files(tmp_path / "new") == {}


def test_epoch_files_that_do_not_open_are_named_and_left_out(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    saved = saved_copy(old_files, None)
    hot = saved.epochs["hot-20261116.age"]
    strange = new_epoch("hot", (), *(str(X25519Identity.generate().recipient), [str(lost.host_key.recipient)]), 0)
    epochs = {
        **saved.epochs,
        "hot-20261109.age": hot,
        "../../hot-20261116.age": hot,
        "hot-20261116.age": bytes(hot[:-1]),
        strange.epoch.file_name: strange.sealed,
    }
    files = files_in(tmp_path / "new")
    back = recover_identity(lost.kit, replace(saved, epochs=epochs), "desktop", files, FRIDAY_NS)
    assert set(back.epochs) == {"cold-20261116"}
    assert set(back.unreadable) == set(epochs) - {"cold-20261116.age"}
    assert {path.name for path in files.epochs.iterdir()} == {
        "cold-20261116.age", f"cold-20261116-{DESKTOP}.age", f"hot-20261116-{DESKTOP}.age",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["keystore", "host_key"])
def test_a_machine_that_is_a_host_already_is_left_alone(tmp_path: Path, place: str) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    files = files_in(tmp_path / "new")
    path: Path = getattr(files, place)
    path.parent.mkdir(parents=True)
    path.write_text("here before")
    with pytest.raises(WouldOverwriteError):
        recover_identity(lost.kit, saved_copy(old_files, None), "desktop", files, FRIDAY_NS)
    assert list(all_files(tmp_path / "new").values()) == [b"here before"]


def test_an_older_copy_of_the_log_is_replaced_and_any_other_log_is_not(tmp_path: Path) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    second_files = files_in(tmp_path / "second")
    second = recover_identity(lost.kit, saved_copy(old_files, None), "second", second_files, FRIDAY_NS)
    saved = saved_copy(second_files, None)
    _, other = new_agent(tmp_path / "other")
    for number, there in enumerate((other.log.text, second.log.text + b"{}\n")):
        files = files_in(tmp_path / f"refused-{number}")
        files.log.parent.mkdir(parents=True)
        files.log.write_bytes(there)
        with pytest.raises(WouldOverwriteError, match=r"did\.jsonl"):
            recover_identity(lost.kit, saved, "third", files, FRIDAY_NS)
        assert list(all_files(tmp_path / f"refused-{number}").values()) == [there]
    files = files_in(tmp_path / "third")
    files.log.parent.mkdir(parents=True)
    files.log.write_bytes(lost.log.text)
    back = recover_identity(lost.kit, saved, "third", files, FRIDAY_NS)
    assert files.log.read_bytes() == back.log.text


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_recovery_that_fails_takes_back_what_it_wrote(tmp_path: Path, call: str) -> None:
    old_files, lost = new_agent(tmp_path / "old")
    saved = saved_copy(old_files, lost.escrow)
    step = 0
    while True:
        files = files_in(tmp_path / str(step))
        files.log.parent.mkdir(parents=True)
        files.log.write_bytes(saved.log)
        try:
            with failing_at(call, step, OSError(5, "Input/output error")):
                recover_identity(lost.kit, saved, "desktop", files, FRIDAY_NS)
            break
        except AntsmemError:
            assert list(all_files(tmp_path / str(step)).values()) == [saved.log]
        step += 1
    assert step >= 2
