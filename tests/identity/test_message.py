"""Goal: only the agent it is for reads a message, and it is from the agent it says, or refused.

Method: messages opened by every host, by strangers, changed, re-sealed, sent on under another name.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_agents import FRIDAY_NS
from relays import Agent, new_agent

from antsmem.core.age import unseal
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, NotFoundError, UsageError
from antsmem.core.record import replace
from antsmem.identity.document import with_op_keys
from antsmem.identity.envelope import seal_envelope
from antsmem.identity.message import MAX_TEXT_BYTES, Address, _recipient, open_message, seal_message

ANNA, KEVIN, EVE = new_agent(), new_agent("laptop", "desktop"), new_agent()
ADDRESS = Address(ANNA.scid, KEVIN.scid, "A" * 22)


def sealed(text: str = "hello", by: Agent = ANNA, address: Address = ADDRESS) -> bytes:
    return seal_message(text, address, by.key, KEVIN.log, FRIDAY_NS)


@pytest.mark.parametrize("host", ["laptop", "desktop"])
def test_every_host_of_the_receiver_reads_it(host: str) -> None:
    found = open_message(sealed("über\n"), ADDRESS, KEVIN.keys[host], ANNA.log)
    assert (found.text, found.host, found.time) == ("über\n", "laptop", "2026-11-20T15:23:31.000Z")
    assert not found.revoked and "über" not in repr(found)


def test_nobody_else_reads_it() -> None:
    for key in (EVE.key, ANNA.key):
        with pytest.raises(CannotUnlockError):
            open_message(sealed(), ADDRESS, key, ANNA.log)


def test_its_length_tells_little() -> None:
    assert len({len(sealed("x" * length)) for length in (1, 10, 1000, 3000)}) == 1


def test_a_message_under_another_name_is_refused() -> None:
    """Eve takes a message that is not from her, or seals one of her own, and gives it out as Anna's."""
    with pytest.raises(IntegrityError, match="never spoke"):
        open_message(sealed(by=EVE), ADDRESS, KEVIN.key, ANNA.log)
    with pytest.raises(IntegrityError):
        open_message(sealed(), replace(ADDRESS, sender=EVE.scid), KEVIN.key, EVE.log)
    with pytest.raises(IntegrityError):
        open_message(sealed(), replace(ADDRESS, message="B" * 22), KEVIN.key, ANNA.log)
    to_eve = seal_message("hello", Address(ANNA.scid, EVE.scid, "A" * 22), ANNA.key, KEVIN.log, FRIDAY_NS)
    with pytest.raises(IntegrityError):
        open_message(to_eve, ADDRESS, KEVIN.key, ANNA.log)


def test_a_message_by_a_key_that_was_revoked_since_says_so() -> None:
    moved = new_agent()
    thief = moved.key
    moved.host("desktop")
    address = replace(ADDRESS, sender=moved.scid)
    data = seal_message("hello", address, thief, KEVIN.log, FRIDAY_NS)
    assert open_message(data, address, KEVIN.key, moved.log).revoked


@given(st.integers(0, 10**6))
@settings(max_examples=200)
def test_no_bit_can_be_flipped(bit: int) -> None:
    data = bytearray(SEALED)
    data[bit % len(data)] ^= 1 << bit % 8
    with pytest.raises(AntsmemError):
        open_message(bytes(data), ADDRESS, KEVIN.key, ANNA.log)


SEALED = sealed()


def test_a_message_of_another_form_is_refused() -> None:
    recipients = [_recipient(KEVIN.key.public)]
    body = {
        "schema": "antsmem.message/1",
        "from": ANNA.scid,
        "to": KEVIN.scid,
        "id": "A" * 22,
        "time": "",
        "text": 1,
    }
    with pytest.raises(IntegrityError):
        open_message(seal_envelope(body, ANNA.key, recipients), ADDRESS, KEVIN.key, ANNA.log)
    later = {**body, "schema": "antsmem.message/2", "text": "x"}
    with pytest.raises(UsageError):
        open_message(seal_envelope(later, ANNA.key, recipients), ADDRESS, KEVIN.key, ANNA.log)


def test_too_much_and_nobody_to_read_it_are_refused() -> None:
    with pytest.raises(UsageError):
        sealed("x" * (MAX_TEXT_BYTES + 1))
    gone = new_agent()
    gone.extend(with_op_keys(gone.log.document, {}))
    with pytest.raises(NotFoundError):
        seal_message("hello", ADDRESS, ANNA.key, gone.log, FRIDAY_NS)


def test_what_is_on_the_wire_holds_nothing_of_the_text() -> None:
    assert b"hello" not in sealed() and ANNA.scid.encode() not in sealed()
    with pytest.raises(AntsmemError):
        unseal(sealed(), [])
