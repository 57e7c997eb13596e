"""Goal: one value has one byte string, the same as in other JCS implementations, and nothing ambiguous is read.

Method: `rfc8785` as oracle on generated values, the sorting example of RFC 8785, and a list of texts to refuse.
"""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.canonical import MAX_DEPTH, MAX_INTEGER, dumps, loads
from antsmem.core.errors import IntegrityError, UsageError

LIMIT = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(values)
def test_a_value_has_the_same_bytes_as_in_another_implementation(value: object) -> None:
    assert dumps(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(values)
def test_what_was_written_is_read_back(value: object) -> None:
    data = dumps(value)
    assert loads(data, LIMIT) == value
    assert dumps(loads(data, LIMIT)) == data


def test_keys_are_sorted_by_utf16_code_units_and_not_by_code_points() -> None:
    # The example of RFC 8785, section 3.2.3.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(dumps(dict.fromkeys(keys, 0)))) == expected
    assert sorted(keys) != expected


def test_text_is_not_normalised() -> None:
    assert dumps(["\u00e9", "e\u0301"]) == '["\u00e9","e\u0301"]'.encode()


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        b"x",
        {1: 2},
        {None: 1},
        "\ud800",
        {"\udc00": 1},
        {1, 2},
    ],
    ids=repr,
)
def test_a_value_that_json_writes_in_several_ways_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        dumps({"inside": [value]})


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":[{"a":1,"a":1}]}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1.0",
        b"1e3",
        b"-0.0",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"",
        b"{",
        b"{} {}",
        b"{'a':1}",
        b'"\n"',
        b"[1,]",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 200_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_an_ambiguous_or_hostile_text_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError):
        loads(text, LIMIT)


def test_a_text_as_deep_as_allowed_is_read() -> None:
    text = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert dumps(loads(text, LIMIT)) == text


def test_a_text_over_the_limit_is_not_read() -> None:
    assert loads(b'"12345"', 7) == "12345"
    with pytest.raises(IntegrityError, match="more than 6"):
        loads(b'"12345"', 6)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()[:-1]))
def test_broken_text_never_raises_anything_but_an_integrity_error(data: bytes) -> None:
    with suppress(IntegrityError):
        loads(data, LIMIT)
