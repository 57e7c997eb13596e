"""A signed statement has one form: no other bytes with the same meaning are believed, whoever wrote them."""

from __future__ import annotations

import json

import pytest

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import open_statement, sign_statement

KEY = SigningKey(bytes(range(32)))
SAID = {"schema": "antsmem.test/1", "name": "ü", "inside": {"a": [1, {"b": None}]}, "zebra": 1}
GOOD = sign_statement(SAID, KEY)
MEMBER = b',"signature":"' + json.loads(GOOD)["signature"].encode() + b'"'
BARE = GOOD.replace(MEMBER, b"")
CHANGES: list[dict[str, object]] = [{"zebra": 2}, {"signature": "zz"}, {"signature": ""}, {"key": 7}, {"key": ""}]


def opened(data: bytes) -> dict[str, object]:
    return open_statement(data, "antsmem.test/1", {KEY.public}, "it")


def test_what_was_signed_is_what_is_read() -> None:
    assert {key: value for key, value in opened(GOOD).items() if key != "key"} == SAID
    assert BARE.replace(b',"zebra"', MEMBER + b',"zebra"') == GOOD


@pytest.mark.parametrize("at", [at for at in range(len(BARE) + 1) if BARE[:at] + MEMBER + BARE[at:] != GOOD])
def test_the_signature_stands_in_its_place_and_nowhere_else(at: int) -> None:
    with pytest.raises(IntegrityError):
        opened(BARE[:at] + MEMBER + BARE[at:])


@pytest.mark.parametrize(
    "other",
    [
        GOOD[:-1],
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.replace(b'"zebra":1', b'"zebra": 1'),
        GOOD.replace("ü".encode(), b"\\u00fc"),
        GOOD.replace(b'"zebra"', b'"zebr\\u0061"'),
        GOOD.replace(b'"signature"', b'"signatur\\u0065"'),
        GOOD.replace(MEMBER, MEMBER.upper().replace(b"SIGNATURE", b"signature")),
        GOOD.replace(MEMBER, MEMBER + MEMBER),
        json.dumps(json.loads(GOOD)).encode() + b"\n",
        BARE,
        b"null\n",
        b"[]\n",
        b"{}\n",
        *(canonical.dumps({**json.loads(GOOD), **change}) + b"\n" for change in CHANGES),
    ],
)
def test_other_bytes_are_refused(other: bytes) -> None:
    assert other != GOOD
    with pytest.raises(IntegrityError):
        opened(other)


def test_the_same_members_in_another_order_are_not_the_one_form() -> None:
    ordered = GOOD.index(b',"zebra"')
    swapped = GOOD[:ordered].replace(MEMBER, b"") + GOOD[ordered:-2] + MEMBER + b"}\n"
    with pytest.raises(IntegrityError, match="canonical form"):
        opened(swapped)
