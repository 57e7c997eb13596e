"""Goal: a locked host finds what an open one finds, where a value stands by itself, and keeps nothing to read.

Method: the same texts go through a scanner with the values and one with their hashes. Controls: another value's
hashes find nothing, and values that could be guessed have none.
"""

from __future__ import annotations

import base64
import json
import random
import string
import urllib.parse
from pathlib import Path

import pytest

from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.identity.fingerprints import Fingerprints, fingerprints_of, read_fingerprints, write_fingerprints
from antsmem.identity.scanner import Scanner

KEY = bytes(range(32))
VALUE = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=32))
ODD = "".join(random.Random(8).choices(string.ascii_letters + string.digits, k=20)) + '-"/é x'


def locked(*values: str) -> Scanner:
    known = [(f"v{number}", value.encode()) for number, value in enumerate(values)]
    return Scanner(fingerprint_key=KEY, prints=fingerprints_of(known, KEY))


@pytest.mark.parametrize("value", [VALUE, ODD])
@pytest.mark.parametrize(
    "spelt",
    [
        lambda value: value.encode(),
        lambda value: value.encode()[::-1],
        lambda value: value.encode().hex().encode(),
        lambda value: value.encode().hex().upper().encode(),
        lambda value: base64.b64encode(value.encode()),
        lambda value: base64.b64encode(value.encode() + b"\n"),
        lambda value: base64.urlsafe_b64encode(value.encode()),
        lambda value: json.dumps(value).encode(),
        lambda value: urllib.parse.quote(value, safe="").encode(),
    ],
)
def test_what_stands_by_itself_is_found_without_the_value(value: str, spelt: object) -> None:
    assert callable(spelt)
    text = b"token: " + spelt(value) + b" and more\n"
    opened = Scanner([("v0", value.encode())], fingerprint_key=KEY).scan(text)
    found = locked(value).scan(text)
    assert [(each.rule, each.fingerprint) for each in found] == [(each.rule, each.fingerprint) for each in opened]
    assert locked("x" + value[1:]).scan(text) == [], "the control: another value"


def test_in_windows_each_is_found_once() -> None:
    scanner = locked(VALUE)
    text = (b"a " * 5000 + VALUE.encode() + b" ") * 3
    size, found, kept = 12_000, 0, b""
    for start in range(0, len(text), size):
        window = kept + text[start : start + size]
        found += len(scanner.scan(window, seen=len(kept), more=start + size < len(text)))
        kept = window[-scanner.overlap :]
    assert found == 3


def test_the_file_holds_nothing_of_the_values_and_comes_back(tmp_path: Path) -> None:
    prints = fingerprints_of([("one", VALUE.encode()), ("two", ODD.encode()), ("pin", b"1234")], KEY)
    write_fingerprints(tmp_path / "state" / "prints", prints)
    data = (tmp_path / "state" / "prints").read_bytes()
    assert read_fingerprints(tmp_path / "state" / "prints", 0) == prints
    assert not any(
        text in data for value in (VALUE, ODD) for text in (value.encode()[:8], value.encode().hex().encode())
    )
    assert (tmp_path / "state" / "prints").stat().st_mode & 0o777 == 0o600
    assert KEY.hex() not in repr(prints)


@pytest.mark.parametrize("value", ["short", "a-b-c-d-e-f-g-h-i-j", "correct-horse-battery-staple"])
def test_what_could_be_guessed_is_left_out_and_named(value: str) -> None:
    assert fingerprints_of([("it", value.encode())], KEY) == Fingerprints(KEY, (), ("it",))


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"schema":"antsmem.fingerprints/1"}', b"[1]"])
def test_a_damaged_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "prints").write_bytes(data)
    with pytest.raises(IntegrityError):
        read_fingerprints(tmp_path / "prints", 0)
    with pytest.raises(NotFoundError):
        read_fingerprints(tmp_path / "nothing", 0)
