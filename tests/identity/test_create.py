"""Goal: a new identity is complete, its parts fit together, and it is made whole or not at all.

Method: an identity made in an empty place and looked at from every side; the same with something in the way, and
with a disk that fails and an interrupt at each step.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from made_agents import FRIDAY_NS, all_files, failing_at, files_in, new_agent

from antsmem.core.errors import AntsmemError, UsageError, WouldOverwriteError
from antsmem.core.record import replace
from antsmem.identity.create import create_identity
from antsmem.identity.epochs import open_epochs
from antsmem.identity.escrow import open_escrow
from antsmem.identity.keystore import check_keystore, open_keystore
from antsmem.identity.log import parse_log
from antsmem.identity.multikey import key_hash
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.unlock import file_source, unlock


def test_a_new_identity_is_complete(tmp_path: Path) -> None:
    files, made = new_agent(tmp_path)
    assert set(all_files(tmp_path)) == {
        "config/host.key",
        "workspace/.antsmem/identity/did.jsonl",
        "workspace/.antsmem/keystore/keystore.age",
        "workspace/.antsmem/keystore/epochs/hot-20261116.age",
        "workspace/.antsmem/keystore/epochs/cold-20261116.age",
    }
    host_key = unlock([file_source(files.host_key, files.backed_up)]).identity
    assert host_key == made.host_key
    keystore = open_keystore(files.keystore, [host_key])
    assert keystore == made.keystore
    log = parse_log(files.log.read_bytes())
    assert log == made.log
    check_keystore(keystore, log)


def test_the_kit_and_the_escrow_of_a_new_identity_belong_to_it(tmp_path: Path) -> None:
    files, made = new_agent(tmp_path)
    kit = RecoveryKit.parse(made.kit.text())
    assert (kit.agent, kit.scid, kit.made) == ("kevin", made.log.scid, "2026-11-20T15:23:31.000Z")
    assert kit.generation(made.log) == 0
    assert made.keystore.recovery_hash == kit.control_hash(0)
    assert open_keystore(files.keystore, [kit.identity]) == made.keystore
    escrow = open_escrow(made.escrow, [kit.identity], made.log)
    assert key_hash(escrow.next_key.public) in made.log.next_key_hashes
    epochs = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    recipients = {name: str(key.recipient) for name, key in open_epochs(epochs, [kit.identity]).items()}
    assert recipients == {known.name: known.recipient for known in made.keystore.epochs}


def test_nothing_on_the_host_can_change_the_identity(tmp_path: Path) -> None:
    _, made = new_agent(tmp_path)
    assert key_hash(made.keystore.op_key.public) not in made.log.next_key_hashes
    escrow = open_escrow(made.escrow, [made.kit.identity], made.log)
    secrets = [escrow.next_key.seed(), made.kit.control_key(0).seed(), made.kit.identity.secret().encode()]
    for data in all_files(tmp_path).values():
        assert not any(secret in data for secret in secrets)


def test_the_files_of_an_identity_are_for_its_owner_only(tmp_path: Path) -> None:
    files, _ = new_agent(tmp_path)
    for path in (files.host_key, files.keystore, files.log, *files.epochs.iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_two_identities_share_nothing(tmp_path: Path) -> None:
    _, one = new_agent(tmp_path / "one")
    _, two = new_agent(tmp_path / "two")
    assert one.log.scid != two.log.scid
    assert not set(one.log.next_key_hashes) & set(two.log.next_key_hashes)
    assert one.keystore.fingerprint_key != two.keystore.fingerprint_key


@pytest.mark.parametrize("place", ["log", "keystore", "host_key"])
def test_a_new_identity_overwrites_nothing(tmp_path: Path, place: str) -> None:
    files = files_in(tmp_path)
    path: Path = getattr(files, place)
    path.parent.mkdir(parents=True)
    path.write_text("here before")
    with pytest.raises(WouldOverwriteError, match=path.name.replace(".", r"\.")):
        create_identity("kevin", "laptop", files, FRIDAY_NS)
    assert list(all_files(tmp_path).values()) == [b"here before"]


def test_an_epoch_file_in_the_way_stops_it_and_stays(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.epochs.mkdir(parents=True)
    (files.epochs / "cold-20261116.age").write_text("here before")
    with pytest.raises(WouldOverwriteError):
        create_identity("kevin", "laptop", files, FRIDAY_NS)
    assert list(all_files(tmp_path).values()) == [b"here before"]


def test_a_host_key_in_the_workspace_is_refused_before_it_is_made(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    inside = replace(files, host_key=files.keystore.with_name("host.key"))
    with pytest.raises(UsageError, match="backed up"):
        create_identity("kevin", "laptop", inside, FRIDAY_NS)
    assert all_files(tmp_path) == {}


@pytest.mark.parametrize(
    ("agent", "host"), [("", "laptop"), ("kevin\n", "laptop"), ("kevin", "lap top"), ("kevin", "")]
)
def test_a_name_that_cannot_stand_in_a_file_is_refused(tmp_path: Path, agent: str, host: str) -> None:
    with pytest.raises(UsageError):
        create_identity(agent, host, files_in(tmp_path), FRIDAY_NS)
    assert all_files(tmp_path) == {}


class Stop(BaseException):
    """What a Ctrl-C is."""


@pytest.mark.parametrize(("call", "least"), [("fsync", 10), ("link", 4), ("rename", 2), ("write", 5)])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Stop()], ids=["full disk", "interrupt"])
def test_nothing_is_left_of_an_identity_that_could_not_be_made(
    tmp_path: Path, call: str, least: int, error: BaseException
) -> None:
    step = 0
    while True:
        place = tmp_path / str(step)
        try:
            with failing_at(call, step, error):
                create_identity("kevin", "laptop", files_in(place), FRIDAY_NS)
            break
        except (AntsmemError, Stop):
            assert all_files(place) == {}
        step += 1
    assert step >= least
    assert len(all_files(place)) == 5
