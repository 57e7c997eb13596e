"""Goal: what is backed up in a week is sealed to that week's key, which the right people open and which dies with
its file.

Method: epochs over weeks, with their files present, destroyed, swapped and damaged; the `age` program goes the way
from a kit to a sealed file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_agents import FRIDAY_NS, WEEK_NS, age_decrypt, files_in, new_agent, saved_copy

from antsmem.core.age import X25519Identity, parse_recipient, seal
from antsmem.core.clock import utc_text
from antsmem.core.errors import CannotUnlockError, ConflictError, IntegrityError, UsageError
from antsmem.core.record import replace
from antsmem.identity.epochs import (
    Epoch,
    NewEpoch,
    Tier,
    check_epoch_name,
    current_epoch,
    first_number,
    is_current,
    new_epoch,
    open_epoch,
    open_epochs,
)
from antsmem.identity.keystore import open_keystore, save_keystore
from antsmem.identity.recover import recover_identity
from antsmem.identity.rollover import ensure_epoch

HOST, RECOVERY = X25519Identity.generate(), X25519Identity.generate()
TIERS: tuple[Tier, ...] = ("hot", "cold")
DAY_NS = 86_400_000_000_000


def epoch(tier: Tier, now_ns: int = FRIDAY_NS, taken: tuple[str, ...] = ()) -> NewEpoch:
    return new_epoch(tier, taken, str(HOST.recipient), [str(RECOVERY.recipient)], now_ns)


def test_two_hosts_make_epochs_of_the_same_week_under_different_names(tmp_path: Path) -> None:
    files, made = new_agent(tmp_path / "first")
    others = files_in(tmp_path / "second")
    second = recover_identity(made.kit, saved_copy(files, None), "desktop", others, FRIDAY_NS)
    files.log.write_bytes(second.log.text)
    later = FRIDAY_NS + WEEK_NS
    for tier in TIERS:
        here = ensure_epoch(made.keystore, tier, files, made.host_key, later)
        there = ensure_epoch(second.keystore, tier, others, second.host_key, later)
        made, second = replace(made, keystore=here.keystore), replace(second, keystore=there.keystore)
        assert here.epoch.start == there.epoch.start and here.epoch.name != there.epoch.name


def test_hosts_that_share_repositories_do_not_share_names() -> None:
    """Else the key file of one would take the place of the other's."""
    hosts = [f"host{number}" for number in range(12)]
    assert first_number(hosts[:1], hosts[0]) == 1, "alone, as ever"
    names = set()
    for host in hosts:
        number = first_number(hosts, host)
        first = new_epoch("hot", (), str(HOST.recipient), [str(RECOVERY.recipient)], FRIDAY_NS, number).epoch.name
        second = new_epoch(
            "hot", [first], str(HOST.recipient), [str(RECOVERY.recipient)], FRIDAY_NS, number
        ).epoch.name
        check_epoch_name(first)
        check_epoch_name(second)
        assert (len(second), second) > (len(first), first), "the newest is the current one"
        names |= {first, second}
    assert len(names) == 24


def test_an_epoch_is_named_after_the_monday_of_its_week() -> None:
    assert epoch("hot").epoch.file_name == "hot-20261116.age"
    assert epoch("cold").epoch.file_name == "cold-20261116.age"
    monday = FRIDAY_NS - FRIDAY_NS % DAY_NS - 4 * DAY_NS
    assert utc_text(monday) == "2026-11-16T00:00:00.000Z"
    assert epoch("hot", monday).epoch.start == "20261116"
    assert epoch("hot", monday - 1).epoch.start == "20261109"
    assert epoch("hot", monday + WEEK_NS - 1).epoch.start == "20261116"
    assert epoch("hot", 0).epoch.start == "19691229"


@given(st.integers(0, 4_000_000_000))
def test_every_instant_is_in_one_week_of_seven_days(seconds: int) -> None:
    found = Epoch(f"hot-{epoch_start(seconds)}", "")
    assert is_current(found, seconds * 1_000_000_000)
    assert not is_current(found, seconds * 1_000_000_000 + WEEK_NS)


def epoch_start(seconds: int) -> str:
    from datetime import UTC, datetime, timedelta

    day = datetime.fromtimestamp(seconds, UTC).date()
    return f"{day - timedelta(days=day.weekday()):%Y%m%d}"


def test_a_hot_epoch_opens_for_host_and_recovery_and_a_cold_one_for_recovery_only() -> None:
    hot, cold = epoch("hot"), epoch("cold")
    for identity in (HOST, RECOVERY):
        key = open_epoch(hot.epoch.name, hot.sealed, [identity])
        assert str(key.recipient) == hot.epoch.recipient
    assert str(open_epoch(cold.epoch.name, cold.sealed, [RECOVERY]).recipient) == cold.epoch.recipient
    for made, identity in ((cold, HOST), (hot, X25519Identity.generate())):
        with pytest.raises(CannotUnlockError):
            open_epoch(made.epoch.name, made.sealed, [identity])


def test_all_files_that_a_key_opens_are_opened_at_once() -> None:
    made = [epoch("hot"), epoch("cold"), epoch("hot", FRIDAY_NS + WEEK_NS)]
    files = {new.epoch.file_name: new.sealed for new in made}
    assert set(open_epochs(files, [HOST])) == {"hot-20261116", "hot-20261123"}
    assert set(open_epochs(files, [RECOVERY])) == {"hot-20261116", "hot-20261123", "cold-20261116"}
    assert open_epochs(files, []) == {}


def test_a_changed_epoch_file_is_refused() -> None:
    made = epoch("hot")
    for place in range(len(made.sealed)):
        changed = bytearray(made.sealed)
        changed[place] ^= 1 << place % 8
        with pytest.raises((IntegrityError, CannotUnlockError)):
            open_epoch(made.epoch.name, changed, [RECOVERY])
    damaged = made.sealed[:-1] + bytes([made.sealed[-1] ^ 1])
    with pytest.raises(IntegrityError):
        open_epochs({made.epoch.file_name: damaged}, [HOST])


def test_the_file_of_another_epoch_is_refused() -> None:
    made = epoch("hot")
    with pytest.raises(IntegrityError, match="another epoch"):
        open_epoch("hot-20261123", made.sealed, [HOST])


@pytest.mark.parametrize(
    "name", ["", "hot", "warm-20261116", "hot-2026", "../hot-20261116", "hot-20261116-0", "hot-20261116\n"]
)
def test_a_name_that_names_no_epoch_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError):
        open_epoch(name, epoch("hot").sealed, [HOST])


def test_a_name_that_was_used_is_not_used_again() -> None:
    second = epoch("hot", taken=("hot-20261116", "cold-20261116"))
    assert second.epoch.name == "hot-20261116-2"
    assert (second.epoch.tier, second.epoch.start) == ("hot", "20261116")
    third = epoch("hot", taken=("hot-20261116", "hot-20261116-2"))
    assert third.epoch.name == "hot-20261116-3"
    epochs = [third.epoch, epoch("hot").epoch, second.epoch]
    names = {known.file_name for known in epochs}
    assert current_epoch(epochs, "hot", names, FRIDAY_NS) == third.epoch


def test_an_epoch_whose_file_is_gone_is_not_sealed_to() -> None:
    hot, cold = epoch("hot").epoch, epoch("cold").epoch
    present = {hot.file_name, cold.file_name}
    assert current_epoch([cold, hot], "hot", present, FRIDAY_NS) == hot
    assert current_epoch([cold, hot], "cold", present, FRIDAY_NS) == cold
    assert current_epoch([cold, hot], "hot", present - {hot.file_name}, FRIDAY_NS) is None
    assert current_epoch([cold, hot], "hot", present, FRIDAY_NS + WEEK_NS) is None


def test_an_epoch_without_a_recovery_recipient_is_refused() -> None:
    for tier in ("hot", "cold"):
        with pytest.raises(UsageError, match="recovery"):
            new_epoch(tier, (), str(HOST.recipient), [], FRIDAY_NS)


def test_recipients_of_epochs_are_not_shown() -> None:
    made = epoch("hot")
    assert "age1" not in repr(made)


def test_the_age_program_goes_from_a_kit_to_what_was_sealed_in_a_week(tmp_path: Path) -> None:
    files, agent = new_agent(tmp_path)
    (tmp_path / "kit").write_text(agent.kit.text())
    for known in agent.keystore.epochs:
        key, sealed = tmp_path / "epoch.key", tmp_path / "pack.age"
        key.write_bytes(age_decrypt(tmp_path / "kit", files.epochs / known.file_name))
        sealed.write_bytes(b"".join(seal([b"a pack"], [parse_recipient(known.recipient)])))
        assert age_decrypt(key, sealed) == b"a pack"


def test_the_age_program_opens_a_hot_epoch_with_the_host_key(tmp_path: Path) -> None:
    files, _ = new_agent(tmp_path)
    text = age_decrypt(files.host_key, files.epochs / "hot-20261116.age")
    assert b"# name: hot-20261116\n" in text


def test_the_epoch_of_the_week_is_used_until_the_week_ends(tmp_path: Path) -> None:
    files, agent = new_agent(tmp_path)
    before = files.keystore.read_bytes()
    same = ensure_epoch(agent.keystore, "hot", files, agent.host_key, FRIDAY_NS + DAY_NS)
    assert not same.created
    assert same.epoch in agent.keystore.epochs
    assert files.keystore.read_bytes() == before

    rolled = ensure_epoch(agent.keystore, "hot", files, agent.host_key, FRIDAY_NS + WEEK_NS)
    assert rolled.created
    assert rolled.epoch.name == "hot-20261123"
    assert open_keystore(files.keystore, [agent.host_key]) == rolled.keystore
    assert rolled.keystore.epochs == (*agent.keystore.epochs, rolled.epoch)
    again = ensure_epoch(rolled.keystore, "hot", files, agent.host_key, FRIDAY_NS + WEEK_NS)
    assert again.epoch == rolled.epoch


def test_a_cold_key_of_a_new_week_is_not_on_the_host(tmp_path: Path) -> None:
    files, agent = new_agent(tmp_path)
    rolled = ensure_epoch(agent.keystore, "cold", files, agent.host_key, FRIDAY_NS + WEEK_NS)
    sealed = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    assert set(open_epochs(sealed, [agent.host_key])) == {"hot-20261116"}
    recovered = open_epochs(sealed, [agent.kit.identity])
    assert str(recovered[rolled.epoch.name].recipient) == rolled.epoch.recipient


def test_a_destroyed_epoch_of_this_week_is_followed_by_one_of_another_name(tmp_path: Path) -> None:
    files, agent = new_agent(tmp_path)
    (files.epochs / "hot-20261116.age").unlink()
    made = ensure_epoch(agent.keystore, "hot", files, agent.host_key, FRIDAY_NS)
    assert made.epoch.name == "hot-20261116-2"
    later = ensure_epoch(made.keystore, "hot", files, agent.host_key, FRIDAY_NS + WEEK_NS)
    assert {known.name for known in later.keystore.epochs} == {"cold-20261116", "hot-20261116-2", "hot-20261123"}


def test_an_epoch_file_that_the_keystore_does_not_know_is_left_alone(tmp_path: Path) -> None:
    files, agent = new_agent(tmp_path)
    left = files.epochs / "hot-20261123.age"
    left.write_bytes(b"of a run that was killed")
    made = ensure_epoch(agent.keystore, "hot", files, agent.host_key, FRIDAY_NS + WEEK_NS)
    assert made.epoch.name == "hot-20261123-2"
    assert left.read_bytes() == b"of a run that was killed"


def test_a_roll_over_that_cannot_be_saved_leaves_no_file(tmp_path: Path) -> None:
    files, agent = new_agent(tmp_path)
    save_keystore(files.keystore, agent.keystore, agent.host_key)
    before = set(files.epochs.iterdir())
    with pytest.raises(ConflictError):
        ensure_epoch(agent.keystore, "hot", files, agent.host_key, FRIDAY_NS + WEEK_NS)
    assert set(files.epochs.iterdir()) == before
