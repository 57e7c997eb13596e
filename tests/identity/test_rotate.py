"""Goal: after a rotation the old keys count no more, the new ones do, and a crash leaves old or new.

Method: rotations by kit, with revoked hosts, a new kit, guardians; a kill before each step; what the holder of
every old key can still do, beside what that key could do before (the controls).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from made_agents import FRIDAY_NS, WEEK_NS, all_files, files_in, killed_at_every_step, new_agent, saved_copy

from antsmem.core.age import X25519Identity
from antsmem.core.disk import write_file
from antsmem.core.errors import CannotUnlockError, RetiredError, UsageError
from antsmem.core.record import replace
from antsmem.identity.change import finish_change, save_change
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.document import op_keys_of, with_op_keys
from antsmem.identity.epochs import new_epoch, open_epochs
from antsmem.identity.escrow import open_escrow
from antsmem.identity.extend import commit, extend_log
from antsmem.identity.files import IdentityFiles
from antsmem.identity.guardians import (
    GuardianSet,
    guardian_change,
    guardian_files,
    guardian_files_in,
    open_with_guardians,
    read_guardian_set,
)
from antsmem.identity.keystore import Keystore, check_keystore, open_keystore, save_keystore
from antsmem.identity.log import parse_log
from antsmem.identity.multikey import key_hash
from antsmem.identity.recover import recover_identity
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.rotate import RotatedIdentity, Rotation, rotate_identity
from antsmem.identity.secret import Secret
from antsmem.identity.signing import SigningKey

LATER_NS = FRIDAY_NS + WEEK_NS
Agent = tuple[IdentityFiles, CreatedIdentity]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    files, made = new_agent(tmp_path)
    files = replace(files, escrow=tmp_path / "escrow")
    (tmp_path / "escrow").mkdir()
    write_file(tmp_path / "escrow/1-keystore-escrow.age", [made.escrow])
    return files, made


def now(files: IdentityFiles, made: CreatedIdentity) -> Keystore:
    return open_keystore(files.keystore, [made.host_key])


def rotated(agent: Agent, kit: RecoveryKit | None = None, **wanted: object) -> RotatedIdentity:
    files, made = agent
    rotation = Rotation(**wanted)  # type: ignore[arg-type]
    return rotate_identity(kit or made.kit, now(files, made), files, made.host_key, LATER_NS, rotation)


def new_kit() -> RecoveryKit:
    return RecoveryKit(X25519Identity.generate(), "kevin")


def test_the_host_speaks_with_a_new_key_and_the_old_one_is_revoked(agent: Agent) -> None:
    files, made = agent
    done = rotated(agent)
    log = parse_log(files.log.read_bytes())
    assert log == done.log and log.version == 2
    check_keystore(now(files, made), log)
    old, new = made.keystore.op_key.public, done.keystore.op_key.public
    assert log.op_key(old).until == 2 and not log.op_key(new).revoked
    assert op_keys_of(log.document) == {"laptop": new}
    with pytest.raises(RetiredError, match="revoked by version 2"):
        check_keystore(made.keystore, log)


def test_the_kit_rotates_again_and_again(agent: Agent) -> None:
    files, made = agent
    for version in range(2, 6):
        assert rotated(agent).log.version == version
        assert made.kit.generation(parse_log(files.log.read_bytes())) == version - 1


def test_secrets_and_epochs_stay_and_new_epochs_begin(agent: Agent) -> None:
    """Whoever had the host's keys may have the epoch of this week."""
    files, made = agent
    done = rotated(agent, destroyed=["hot-20261123"])
    assert done.keystore.fingerprint_key == made.keystore.fingerprint_key
    names = [epoch.name for epoch in done.keystore.epochs]
    assert names == ["hot-20261116", "cold-20261116", "hot-20261123-2", "cold-20261123"]
    held = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    assert set(open_epochs(held, [made.kit.identity])) == set(names)
    assert set(open_epochs(held, [made.host_key])) == {name for name in names if name.startswith("hot-")}


def test_the_new_escrow_holds_the_key_that_the_log_commits_to(agent: Agent) -> None:
    files, made = agent
    done = rotated(agent)
    assert files.escrow
    newest = max(files.escrow.iterdir())
    assert str(newest) == done.escrow
    escrow = open_escrow(newest.read_bytes(), [made.kit.identity], done.log)
    assert key_hash(escrow.next_key.public) in done.log.next_key_hashes
    assert escrow.log_head == done.log.head


def test_the_new_escrow_holds_no_secret_that_ended(agent: Agent) -> None:
    files, made = agent
    ended = Secret("token", 1, "revoked", "static", "", "", b"a value that was revoked")
    save_keystore(files.keystore, replace(now(files, made), secrets=(ended,)), made.host_key)
    done = rotated(agent)
    assert done.keystore.secrets == (ended,)
    assert open_escrow(Path(done.escrow).read_bytes(), [made.kit.identity], done.log).secrets == ()


def thief_rotates(log_text: bytes, key: SigningKey) -> None:
    """What somebody with a control key does: put a host of his own in."""
    log = parse_log(log_text)
    document = with_op_keys(log.document, {"thief": SigningKey.generate().public})
    extend_log(log, key, commit(key_hash(SigningKey.generate().public)), document, LATER_NS)


def test_a_stolen_next_key_is_worth_nothing_after_a_rotation(agent: Agent) -> None:
    files, made = agent
    stolen = open_escrow(made.escrow, [made.kit.identity], made.log).next_key
    thief_rotates(files.log.read_bytes(), stolen)  # control: before the rotation it changes the identity
    rotated(agent)
    with pytest.raises(UsageError, match="may not change identity"):
        thief_rotates(files.log.read_bytes(), stolen)


def test_a_kit_that_was_used_changes_nothing_with_its_old_generation(agent: Agent) -> None:
    files, made = agent
    rotated(agent)
    with pytest.raises(UsageError, match="may not change identity"):
        thief_rotates(files.log.read_bytes(), made.kit.control_key(0))
    thief_rotates(files.log.read_bytes(), made.kit.control_key(1))  # control


def test_another_host_is_revoked_with_it(tmp_path: Path, agent: Agent) -> None:
    files, made = agent
    second_files = files_in(tmp_path / "second")
    second = recover_identity(made.kit, saved_copy(files, None), "desktop", second_files, FRIDAY_NS)
    files.log.write_bytes(second.log.text)
    done = rotated(agent, revoke=["desktop"])
    assert set(op_keys_of(done.log.document)) == {"laptop"} and done.revoked == ("desktop",)
    with pytest.raises(RetiredError):
        check_keystore(second.keystore, done.log)


def test_a_host_that_nobody_knows_or_that_rotates_is_not_revoked(agent: Agent) -> None:
    files, _ = agent
    before = files.log.read_bytes()
    with pytest.raises(UsageError, match="no op key"):
        rotated(agent, revoke=["elsewhere"])
    with pytest.raises(UsageError, match="is this host"):
        rotated(agent, revoke=["laptop"])
    assert files.log.read_bytes() == before


def test_another_kit_rotates_nothing(agent: Agent) -> None:
    files, _ = agent
    before = all_files(files.host_key.parents[1])
    with pytest.raises(UsageError, match="may not change identity"):
        rotated(agent, new_kit())
    assert all_files(files.host_key.parents[1]) == before


def test_a_retired_host_does_not_rotate(tmp_path: Path, agent: Agent) -> None:
    files, made = agent
    second = recover_identity(made.kit, saved_copy(files, None), "laptop", files_in(tmp_path / "x"), FRIDAY_NS)
    files.log.write_bytes(second.log.text)
    with pytest.raises(RetiredError):
        rotated(agent)


def test_a_new_kit_opens_everything_and_the_old_one_nothing_that_is_here(agent: Agent) -> None:
    files, made = agent
    kit = new_kit()
    done = rotated(agent, new_kit=kit)
    assert files.escrow
    held = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    escrows = [path.read_bytes() for path in files.escrow.iterdir()]
    assert len(escrows) == 1 and done.unreadable == ()
    assert set(open_epochs(held, [kit.identity])) == {name.removesuffix(".age") for name in held}
    open_escrow(escrows[0], [kit.identity], done.log)
    open_keystore(files.keystore, [kit.identity])
    assert open_epochs(held, [made.kit.identity]) == {}
    for locked_out in (
        lambda: open_escrow(escrows[0], [made.kit.identity], done.log),
        lambda: open_keystore(files.keystore, [made.kit.identity]),
    ):
        with pytest.raises(CannotUnlockError):
            locked_out()
    with pytest.raises(UsageError, match="may not change identity"):
        made.kit.generation(done.log)
    assert kit.generation(done.log) == 0
    assert rotated(agent, kit).log.version == 3, "and the new one rotates"


def test_the_payload_of_an_epoch_file_is_untouched_by_a_new_kit(agent: Agent) -> None:
    files, _ = agent
    before = (files.epochs / "hot-20261116.age").read_bytes()
    rotated(agent, new_kit=new_kit())
    after = (files.epochs / "hot-20261116.age").read_bytes()
    payload = before[before.index(b"\n---") :].partition(b"\n")[2].partition(b"\n")[2]
    assert after != before and payload and after.endswith(payload)


def test_an_epoch_of_a_former_kit_is_named_and_left_as_it_is(agent: Agent) -> None:
    files, _ = agent
    strange = new_epoch("cold", (), "", [str(X25519Identity.generate().recipient)], 0)
    write_file(files.epochs / strange.epoch.file_name, [strange.sealed])
    done = rotated(agent, new_kit=new_kit())
    assert done.unreadable == (strange.epoch.file_name,)
    assert (files.epochs / strange.epoch.file_name).read_bytes() == strange.sealed


def add_guardians(agent: Agent, keys: list[X25519Identity]) -> None:
    files, made = agent
    keystore = now(files, made)
    guardians = GuardianSet(1, 2, tuple(str(key.recipient) for key in keys), "")
    new = guardian_files(made.kit, guardians, keystore)
    save_change(files, keystore, made.host_key, guardian_change(guardian_files_in(files.guardians), new))


def test_the_guardians_of_before_hold_the_new_kit(agent: Agent) -> None:
    files, made = agent
    keys = [X25519Identity.generate() for _ in range(3)]
    add_guardians(agent, keys)
    old_files = guardian_files_in(files.guardians)
    rotated(agent)
    assert guardian_files_in(files.guardians) == old_files, "the same kit: the same files"
    kit = new_kit()
    done = rotated(agent, new_kit=kit)
    there = guardian_files_in(files.guardians)
    assert open_with_guardians(there, keys[1:]).identity == kit.identity
    assert not set(there) & set(old_files)
    found = read_guardian_set(there, [made.host_key], done.log)
    assert found and found.number == 2 and found.threshold == 2
    # A former guardian's copy holds a kit that may change nothing any more.
    with pytest.raises(UsageError):
        open_with_guardians(old_files, keys).generation(done.log)


def test_a_kill_anywhere_leaves_the_old_identity_or_the_new_one(agent: Agent, tmp_path: Path) -> None:
    files, made = agent
    add_guardians(agent, [X25519Identity.generate() for _ in range(2)])
    kit = new_kit()
    root = files.host_key.parents[1]
    saved = all_files(root)
    seen = set()

    def check() -> None:
        finish_change(files)
        log, keystore = parse_log(files.log.read_bytes()), now(files, made)
        check_keystore(keystore, log)
        opener = kit if log.version == 2 else made.kit
        assert files.escrow
        held = {path.name: path.read_bytes() for path in files.epochs.iterdir() if path.name[0] != "."}
        assert len(open_epochs(held, [opener.identity])) == len(held) == 2 * log.version
        escrows = [path for path in files.escrow.iterdir() if path.name[0] != "."]
        open_escrow(escrows[0].read_bytes(), [opener.identity], log)
        found = read_guardian_set(guardian_files_in(files.guardians), [made.host_key], log)
        assert found and found.number == log.version and len(escrows) == 1
        seen.add(log.version)
        for name in all_files(root).keys() - saved.keys():
            (root / name).unlink()
        for name, data in saved.items():
            (root / name).write_bytes(data)

    assert killed_at_every_step(lambda: rotated(agent, new_kit=kit) and None, check) > 30
    assert seen == {1, 2}
