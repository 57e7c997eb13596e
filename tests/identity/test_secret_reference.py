"""Goal: a reference means one secret or nothing. Method: forms by hand, and what hypothesis thinks of."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import AntsmemError, NotFoundError, UsageError
from antsmem.identity.reference import Reference, member, parse_reference


@pytest.mark.parametrize(
    ("text", "provider", "name", "key"),
    [
        ("secret://db", "age", "db", ""),
        ("secret://db#password", "age", "db", "password"),
        ("secret://vault/prod/db.main#user", "vault", "prod/db.main", "user"),
        ("secret://env/OPENAI_API_KEY", "env", "OPENAI_API_KEY", ""),
        ("secret://age/a/b", "age", "a/b", ""),
        ("secret://team-2/_x@y+z=1", "team-2", "_x@y+z=1", ""),
    ],
)
def test_a_reference_is_taken_apart(text: str, provider: str, name: str, key: str) -> None:
    assert parse_reference(text) == Reference(provider, name, key)


@pytest.mark.parametrize(
    "text",
    [
        *("", "db", "secret:db", "secret:/db", "SECRET://db", "secret://", "secret:///db", "secret://vault/"),
        *("secret://db#", "secret://#k", "secret://db#a#b", "secret://vault//x", "secret://vault/../x"),
        *("secret://vault/.x", "secret://vault/x/.", "secret://Vault/x", "secret://a/b c", " secret://db"),
        *("secret://db\n", "secret://dé", "secret://d%62", "secret://db?x", "secret://" + "x" * 600),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)


@given(st.text(max_size=30) | st.text("abV/#.-_ 1", max_size=20).map("secret://".__add__))
def test_what_is_accepted_is_written_the_same_way_and_leads_nowhere_else(text: str) -> None:
    try:
        found = parse_reference(text)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert parse_reference(str(found)) == found
    assert all(part and part[0] not in ".-" for part in found.name.split("/"))


@pytest.mark.parametrize(
    ("value", "found"),
    [(b'{"k":"v"}', b"v"), (b' {"k": 5432}\n', b"5432"), (b'{"k":{"a":[1]}}', b'{"a":[1]}'), (b'{"k":""}', b"")],
)
def test_a_member_is_text_or_json(value: bytes, found: bytes) -> None:
    assert member(value, "k", "x") == found


@pytest.mark.parametrize("value", [b"", b"plain-secret", b'"k"', b'["k"]', b"\xff", b'{"k":1,"k":2}', b"[" * 9999])
def test_what_is_no_object_has_no_member(value: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        member(value, "k", "x")
    assert "plain" not in str(caught.value) and caught.value.__cause__ is None


def test_a_member_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError) as caught:
        member(b'{"other": "value"}', "k", "x")
    assert "value" not in str(caught.value) + caught.value.hint


@given(st.binary(max_size=60), st.text(max_size=5))
def test_no_value_ends_in_another_error(value: bytes, key: str) -> None:
    with suppress(AntsmemError):
        member(value, key, "x")
