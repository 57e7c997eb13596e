"""Goal: OpenClaw gets the secrets that it asks for, and our provider speaks with anything that answers like that.

Method: requests and answers as OpenClaw's documentation shows them (docs.openclaw.ai/gateway/secrets), and broken
ones. That our server answers our client, tests/cli/test_resolve.py shows.
"""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import AntsmemError, NotFoundError, UsageError
from antsmem.identity.answer import Answer, answer, reference_of
from antsmem.identity.reference import Reference

REQUEST = b'{ "protocolVersion": 1, "provider": "vault", "ids": ["providers/openai/apiKey"] }'
VALUE = "".join(["Zk7Qw2", "é\n", '"'])


def give(reference: Reference) -> bytes:
    if reference.name == "bytes":
        return b"\xff"
    if reference.name == "missing":
        raise NotFoundError("no secret is named `missing`")
    return VALUE.encode()


def asked(*ids: str) -> Answer:
    return answer(json.dumps({"protocolVersion": 1, "provider": "p", "ids": ids}).encode(), give)


def test_the_documented_request_gets_the_documented_answer() -> None:
    found = answer(REQUEST, give)
    assert json.loads(found.data) == {"protocolVersion": 1, "values": {"providers/openai/apiKey": VALUE}}
    assert found.failed == () and found.data.count(b"\n") == 1 and "Zk7Qw2" not in repr(found)


def test_what_cannot_be_given_is_an_error_of_its_id() -> None:
    found = asked("db", "missing", "bytes", "../x")
    document = json.loads(found.data)
    assert document["values"] == {"db": VALUE}
    assert document["errors"]["missing"] == {"message": "no secret is named `missing`"}
    assert set(document["errors"]) == {"missing", "bytes", "../x"} == set(found.failed)


def test_nothing_asked_is_nothing_answered() -> None:
    assert json.loads(asked().data) == {"protocolVersion": 1, "values": {}}


@pytest.mark.parametrize(
    ("id_", "reference"),
    [
        ("db", Reference("age", "db")),
        ("vault/prod/db", Reference("vault", "prod/db")),
        ("vault/prod/db:password", Reference("vault", "prod/db", "password")),
        ("db:password", Reference("age", "db", "password")),
    ],
)
def test_an_id_is_a_reference_with_a_colon(id_: str, reference: Reference) -> None:
    assert reference_of(id_) == reference


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"protocolVersion": 2, "ids": []}',
        b'{"protocolVersion": 1}',
        b'{"protocolVersion": 1, "ids": "db"}',
        b'{"protocolVersion": 1, "ids": [1]}',
        b'{"protocolVersion": 1, "ids": ["a"], "ids": ["b"]}',
        json.dumps({"protocolVersion": 1, "ids": ["x"] * 513}).encode(),
        b" " * (1 << 18) + REQUEST,
    ],
)
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    with pytest.raises(UsageError):
        answer(request_, give)


@given(st.binary(max_size=100) | st.text(max_size=60).map(lambda id_: json.dumps([id_]).encode()))
def test_no_request_ends_in_another_error(request_: bytes) -> None:
    with suppress(AntsmemError):
        answer(b'{"protocolVersion": 1, "ids": ' + request_ + b"}", give)
