"""Goal: a document is changed by the kit alone, whole or not at all, and never behind another run's back.

Method: relays entered into a real agent's files; the wrong kit, another agent's document, a log that changed
meanwhile, a process killed before every step on the disk.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from made_agents import FRIDAY_NS, all_files, killed_at_every_step, new_agent

from antsmem.core.age import X25519Identity
from antsmem.core.errors import ConflictError, UsageError
from antsmem.core.record import replace
from antsmem.identity.amend import amend_identity
from antsmem.identity.change import finish_change
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.document import with_op_keys
from antsmem.identity.escrow import newest_escrow, open_escrow
from antsmem.identity.files import IdentityFiles
from antsmem.identity.handle import relays_of, with_relays
from antsmem.identity.keystore import check_keystore, open_keystore
from antsmem.identity.log import parse_log
from antsmem.identity.multikey import key_hash
from antsmem.identity.recovery import RecoveryKit

HOUR_NS = 3600 * 10**9
RELAYS = ["https://relay.example"]


def agent(place: Path) -> tuple[IdentityFiles, CreatedIdentity]:
    """An agent whose operator keeps escrows."""
    files, made = new_agent(place)
    return replace(files, escrow=place / "escrow"), made


def test_relays_come_into_the_log_and_everything_knows(tmp_path: Path) -> None:
    files, made = agent(tmp_path)
    document = with_relays(made.log.document, RELAYS)
    for number in (1, 2):
        log = parse_log(files.log.read_bytes())
        keystore = open_keystore(files.keystore, [made.host_key])
        done = amend_identity(
            log, document, made.kit, keystore, made.host_key, (files, FRIDAY_NS + number * HOUR_NS)
        )
        document = with_relays(log.document, ["https://other.example"])
    log = parse_log(files.log.read_bytes())
    assert log == done.log and log.version == 3 and relays_of(log.document) == ("https://other.example",)
    assert log.operational_keys == made.log.operational_keys and log.scid == made.log.scid
    keystore = open_keystore(files.keystore, [made.host_key])
    check_keystore(keystore, log)
    assert keystore == done.keystore and keystore.log_head == log.head
    assert made.kit.control_hash(2) == keystore.recovery_hash
    escrow = open_escrow(Path(done.escrow).read_bytes(), [made.kit.identity], log)
    assert key_hash(escrow.next_key.public) in log.next_key_hashes


def test_nobody_else_may(tmp_path: Path) -> None:
    files, made = agent(tmp_path)
    before = all_files(tmp_path)
    document = with_relays(made.log.document, RELAYS)
    for kit, wanted in (
        (RecoveryKit(X25519Identity.generate()), document),
        (made.kit, with_op_keys(document, {"thief": made.keystore.op_key.public})),
    ):
        with pytest.raises(UsageError):
            amend_identity(made.log, wanted, kit, made.keystore, made.host_key, (files, FRIDAY_NS + HOUR_NS))
    assert all_files(tmp_path) == before


def test_a_log_that_changed_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    files, made = agent(tmp_path)
    place = (files, FRIDAY_NS + HOUR_NS)
    first = with_relays(made.log.document, RELAYS)
    amend_identity(made.log, first, made.kit, made.keystore, made.host_key, place)
    before = all_files(tmp_path)
    second = with_relays(made.log.document, ["https://other.example"])
    with pytest.raises(ConflictError):
        amend_identity(made.log, second, made.kit, made.keystore, made.host_key, place)
    assert all_files(tmp_path) == before


def test_killed_at_any_step_the_host_goes_on(tmp_path: Path) -> None:
    files, made = agent(tmp_path)
    clean = all_files(tmp_path)
    document = with_relays(made.log.document, RELAYS)

    def amend() -> None:
        amend_identity(made.log, document, made.kit, made.keystore, made.host_key, (files, FRIDAY_NS + HOUR_NS))

    def check() -> None:
        log = parse_log(files.log.read_bytes())
        assert log.text.startswith(made.log.text) and log.version in {1, 2}
        finish_change(files)
        log = parse_log(files.log.read_bytes())
        keystore = open_keystore(files.keystore, [made.host_key])
        check_keystore(keystore, log)
        assert keystore.log_head == log.head
        made.kit.generation(log)
        newest = newest_escrow(tmp_path / "escrow")
        assert (newest is None) == (log.version == 1)
        if newest is not None:
            key = open_escrow(newest.read_bytes(), [made.kit.identity], log).next_key
            assert key_hash(key.public) in log.next_key_hashes
            newest.unlink()
        for name, data in clean.items():
            (tmp_path / name).write_bytes(data)

    assert killed_at_every_step(amend, check) > 5
