"""Goal: what no host may keep is in the escrow, for recovery only, and only one of this identity is believed.

Method: escrows opened by the right and the wrong key, with every seventh byte changed, forged, of another agent.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_agents import FRIDAY_NS, new_agent

from antsmem.core.disk import temp_name
from antsmem.core.errors import (
    CannotUnlockError,
    IntegrityError,
    UsageError,
)
from antsmem.core.record import replace
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.escrow import keep_escrow, newest_escrow, open_escrow, seal_escrow
from antsmem.identity.files import IdentityFiles
from antsmem.identity.secret import Secret
from antsmem.identity.signing import SigningKey

Agent = tuple[IdentityFiles, CreatedIdentity]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return new_agent(tmp_path)


def secret(name: str, value: bytes = b"") -> Secret:
    now = "2026-11-20T15:23:31.000Z"
    return Secret(name, 1, "active", "static", now, now, value or os.urandom(12))


def test_an_escrow_opens_for_recovery_only_and_holds_the_next_key(agent: Agent) -> None:
    _, made = agent
    keystore = replace(made.keystore, secrets=(secret("one", b"value"),))
    next_key = SigningKey.generate()
    data = seal_escrow(keystore, next_key)
    escrow = open_escrow(data, [made.kit.identity], made.log)
    assert escrow.next_key == next_key
    assert escrow.secrets == keystore.secrets
    assert escrow.fingerprint_key == keystore.fingerprint_key
    assert (escrow.agent, escrow.scid, escrow.host) == ("kevin", made.log.scid, "laptop")
    assert (escrow.log_head, escrow.sequence) == (made.log.head, 1)
    with pytest.raises(CannotUnlockError):
        open_escrow(data, [made.host_key], made.log)


def test_an_escrow_that_is_changed_or_of_another_identity_is_refused(agent: Agent, tmp_path: Path) -> None:
    _, made = agent
    for place in range(0, len(made.escrow), 7):
        changed = bytearray(made.escrow)
        changed[place] ^= 1 << place % 8
        with pytest.raises((IntegrityError, CannotUnlockError)):
            open_escrow(changed, [made.kit.identity], made.log)
    _, other = new_agent(tmp_path / "other")
    with pytest.raises(IntegrityError, match="not of"):
        open_escrow(made.escrow, [made.kit.identity], other.log)
    forged = seal_escrow(replace(made.keystore, op_key=SigningKey.generate()), SigningKey.generate())
    with pytest.raises(IntegrityError, match="never spoke"):
        open_escrow(forged, [made.kit.identity], made.log)


def test_an_escrow_without_recovery_is_refused(agent: Agent) -> None:
    _, made = agent
    with pytest.raises(UsageError, match="recovery"):
        seal_escrow(replace(made.keystore, recovery_recipients=()), SigningKey.generate())


def test_a_keystore_is_not_taken_for_an_escrow(agent: Agent) -> None:
    files, made = agent
    with pytest.raises(UsageError, match=r"not `antsmem\.escrow/1`"):
        open_escrow(files.keystore.read_bytes(), [made.kit.identity], made.log)


def test_the_newest_escrow_is_none_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / temp_name("20261120T152331.000Z-keystore-escrow.age")).write_bytes(b"half")
    assert newest_escrow(tmp_path) is None
    kept = keep_escrow(tmp_path, b"whole", FRIDAY_NS)
    assert newest_escrow(tmp_path) == kept and kept.name == "20261120T152331.000Z-keystore-escrow.age"


def test_an_escrow_made_while_the_clock_is_behind_is_the_newest(tmp_path: Path) -> None:
    made = [keep_escrow(tmp_path, b"%d" % number, FRIDAY_NS - number * 10**15) for number in range(5)]
    assert made == sorted(made) and newest_escrow(tmp_path) == made[-1]
    assert sorted(tmp_path.iterdir()) == made[-3:] and made[-1].read_bytes() == b"4"
    (tmp_path / "20261399T990000.000Z-keystore-escrow.age").write_bytes(b"not of ours")
    keep_escrow(tmp_path, b"5", FRIDAY_NS)
