"""Goal: a known value is found in every promised spelling, in windows as in the whole, and none of it is shown.

Method: hypothesis draws values and surroundings, spells them with the standard library's own encoders and cuts the
data anywhere; scanning in windows must say what scanning the whole says. Controls: without the known values, and
without the overlap, the same data must come back clean.
"""

from __future__ import annotations

import base64
import json
import mmap
import random
import re
import string
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import UsageError
from antsmem.identity.patterns import RULES
from antsmem.identity.scanner import Finding, Scanner, line_of, masked

KEY = bytes(range(32))
WORD = string.ascii_letters + string.digits
TOKEN = "gh" + "p_" + "".join(random.Random(4).choices(WORD, k=36))

FORMS: dict[str, Callable[[str], list[bytes]]] = {
    "raw": lambda value: [value.encode()],
    "json": lambda value: [json.dumps({"k": value}).encode(), json.dumps([value], ensure_ascii=False).encode()],
    "url": lambda value: [
        f"x={urllib.parse.quote(value, safe='')}&y".encode(),
        f"x/{urllib.parse.quote(value)}?y".encode(),
        f"x={urllib.parse.quote_plus(value)}".encode(),
        re.sub("%..", lambda code: code[0].lower(), urllib.parse.quote(value, safe="")).encode(),
    ],
    "hex": lambda value: [value.encode().hex().encode(), value.encode().hex().upper().encode()],
    "base64": lambda value: [
        encode(before + value.encode() + after)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
        for before in (b"", b"\xfa", b"us", b"abc")
        for after in (b"", b"\xff", b"yz")
    ],
    "utf-16": lambda value: [value.encode("utf-16-le"), b"\0" + value.encode("utf-16-be"), value.encode("utf-16")],
    "reversed": lambda value: [value.encode()[::-1]],
}

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=60).filter(
    lambda value: value == value.strip() and len(value.encode().strip()) >= 8 and len(set(value)) > 4
)


def known(*values: str) -> list[tuple[str, bytes]]:
    return [(f"v{number}", value.encode()) for number, value in enumerate(values)]


def drawn(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(WORD, k=rng.randint(20, 50))) for _ in range(count)]


def names(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


@pytest.mark.parametrize("form", FORMS)
@given(value=VALUES, before=st.binary(max_size=20), after=st.binary(max_size=20))
def test_a_known_value_is_found_in_every_form(form: str, value: str, before: bytes, after: bytes) -> None:
    scanner = Scanner(known(value), fingerprint_key=KEY, rules=())
    for spelt in FORMS[form](value):
        found = scanner.scan(before + spelt + after)
        assert names(found) == {"known:v0"}, spelt
        assert len({each.fingerprint for each in found}) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 10, 200])
def test_ten_of_ten_among_many_values_are_found_and_named(form: str, count: int) -> None:
    values = drawn(count)
    scanner = Scanner(known(*values), fingerprint_key=KEY)
    clean = Scanner(fingerprint_key=KEY)
    for number in range(0, count, max(1, count // 10)):
        for spelt in FORMS[form](values[number]):
            data = b"note: " + spelt + b" end\n"
            assert names(scanner.scan(data)) == {f"known:v{number}"}
            assert clean.scan(data) == []  # the control: it is the value that is found, not its form


def test_the_form_and_the_place_are_told() -> None:
    value = drawn(1)[0]
    scanner = Scanner(known(value), fingerprint_key=KEY)
    for form, spell in FORMS.items():
        if form not in {"json", "url"}:  # the same as raw, for letters and digits
            spelt = spell(value)[0]
            (found,) = scanner.scan(b"1234567 " + spelt)
            assert (found.form, found.start) == (form, 8)
            assert found.end in {8 + len(spelt), 8 + len(spelt.rstrip(b"=")), 8 + len(spelt.rstrip(b"=")) - 1}


def test_white_space_around_a_value_does_not_count() -> None:
    scanner = Scanner([("v", b"\n" + TOKEN.encode() + b" \r\n")], fingerprint_key=KEY)
    assert names(scanner.scan(b"key=" + TOKEN.encode())) == {"known:v"}


def test_known_values_that_overlap_are_all_found() -> None:
    whole = "postgres://kevin:" + drawn(1)[0] + "@db/x"
    part = drawn(1)[0]
    scanner = Scanner(known(whole, part, part[:-6], part[5:]), fingerprint_key=KEY)
    assert names(scanner.scan(whole.encode())) == {"known:v0", "known:v1", "known:v2", "known:v3"}
    assert names(scanner.scan(part[5:].encode())) == {"known:v3"}


@given(st.text("ab", min_size=8, max_size=14), st.text("ab", min_size=8, max_size=14), st.text("ab", max_size=60))
def test_values_that_repeat_themselves_are_all_found(first: str, second: str, text: str) -> None:
    """Letters chosen so that needles overlap one another and themselves."""
    scanner = Scanner(known(first, second), fingerprint_key=KEY, rules=())
    found = {(each.rule, each.start) for each in scanner.scan(text.encode()) if each.form == "raw"}
    expected = {
        (f"known:v{number}", at)
        for number, value in enumerate((first, second))
        for at in range(len(text))
        if text.startswith(value, at)
    }
    if first == second:
        expected = {("known:v0", at) for _, at in expected}
        found = {("known:v0", at) for _, at in found}
    assert expected <= found | {
        (each.rule, each.start) for each in scanner.scan(text.encode()) if each.form != "raw"
    }


def test_a_known_value_counts_before_the_rule_that_would_find_it_too() -> None:
    data = f"token: {TOKEN}\n".encode()
    (by_rule,) = Scanner(fingerprint_key=KEY).scan(data)
    (by_value,) = Scanner([("github", TOKEN.encode())], fingerprint_key=KEY).scan(data)
    assert (by_rule.rule, by_value.rule) == ("github-token", "known:github")
    assert (by_rule.start, by_rule.end) == (by_value.start, by_value.end) == (7, 47)
    assert by_rule.fingerprint == by_value.fingerprint


def test_of_two_rules_in_one_place_the_more_telling_one_is_reported() -> None:
    found = Scanner(fingerprint_key=KEY).scan(f"https://oauth2:{TOKEN}@git.host/x.git".encode())
    assert [each.rule for each in found] == ["github-token"]
    found = Scanner(fingerprint_key=KEY).scan(f"https://oauth2:x.{TOKEN}@git.host/x.git".encode())
    assert [(each.rule, each.start) for each in found] == [("github-token", 17)]


def test_short_values_are_not_searched_and_that_is_told() -> None:
    scanner = Scanner([("pin", b"1234567"), ("word", b" 12345678 "), ("empty", b"")], fingerprint_key=KEY)
    assert scanner.too_short == ("pin", "empty")
    assert names(scanner.scan(b"1234567 and 12345678")) == {"known:word"}


def test_a_long_value_is_found_by_its_beginning() -> None:
    value = "".join(drawn(200, seed=3))
    scanner = Scanner(known(value), fingerprint_key=KEY)
    for form, spell in FORMS.items():
        assert names(scanner.scan(b"\n" + spell(value)[0])) == {"known:v0"}, form
    assert scanner.scan(value[:2047].encode()) == []
    controls = bytes(range(1, 9)) * 250
    scanner = Scanner([("c", controls)], fingerprint_key=KEY)
    spelt = json.dumps(controls.decode()).encode()
    data = bytes(9000) + spelt + bytes(9000)
    assert names(in_windows(scanner, data, [9000 + len(spelt) - 3])) == {"known:c"}


def test_a_fingerprint_is_the_same_everywhere_and_another_under_another_key() -> None:
    value = drawn(1)[0]
    prints = {
        found.fingerprint
        for spell in FORMS.values()
        for spelt in spell(value)
        for found in Scanner(known(value), fingerprint_key=KEY).scan(spelt)
    }
    assert len(prints) == 1 and {len(each) for each in prints} == {16}
    (other,) = Scanner(known(value), fingerprint_key=bytes(32)).scan(value.encode())
    assert other.fingerprint not in prints


def test_a_fingerprint_key_has_32_bytes() -> None:
    with pytest.raises(UsageError, match="32 bytes, not 31"):
        Scanner(fingerprint_key=bytes(31))


def test_the_digest_changes_with_rules_values_and_key_only() -> None:
    values = known(*drawn(2))
    digests = [
        Scanner(fingerprint_key=KEY).digest,
        Scanner(fingerprint_key=bytes(32)).digest,
        Scanner(fingerprint_key=KEY, rules=RULES[1:]).digest,
        Scanner(values, fingerprint_key=KEY).digest,
        Scanner(values[:1], fingerprint_key=KEY).digest,
        Scanner([("other", values[0][1])], fingerprint_key=KEY).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert Scanner(list(values), fingerprint_key=KEY).digest == Scanner(tuple(values), fingerprint_key=KEY).digest
    again = f"from antsmem.identity.scanner import Scanner; print(Scanner(fingerprint_key={KEY!r}).digest.hex())"
    said = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True).stdout
    assert said.strip() == digests[0].hex()


Cuts = Callable[[bytes, int], list[Finding]]


def in_windows(scanner: Scanner, data: bytes, cuts: list[int], overlap: int | None = None) -> list[Finding]:
    """As a caller does it: each window begins with the last `overlap` bytes of the one before."""
    kept = scanner.overlap if overlap is None else overlap
    found: list[Finding] = []
    begin = 0
    for cut in [*cuts, len(data)]:
        start = max(0, begin - kept)
        window = memoryview(data)[start:cut]
        for each in scanner.scan(window, seen=begin - start, more=cut < len(data)):
            found.append(Finding(each.rule, each.start + start, each.end + start, each.fingerprint, each.form))
        begin = cut
    return found


def planted(seed: int) -> tuple[Scanner, bytes]:
    """30 kB with secrets near one another, and a scanner that knows one of them."""
    rng = random.Random(seed)
    value, password = drawn(2, seed)
    secrets = [
        "gh" + "p_" + "".join(rng.choices(WORD, k=36)),
        "https://kevin:" + password + "@host/x",
        "7123456789:AA" + "".join(rng.choices(WORD, k=33)),
        "glrt-" + "".join(rng.choices(WORD, k=27)) + ".01." + "0a1b2c3d4",
        "GATEWAY_TOKEN=" + "".join(rng.choices(WORD, k=40)),
        "-----BEGIN " + "PRIVATE KEY-----\n" + base64.b64encode(rng.randbytes(1200)).decode() + "\n-----END",
        value, value.encode().hex(), base64.b64encode(b"x" + value.encode()).decode(),
    ]  # fmt: skip
    parts: list[str] = []
    while sum(map(len, parts)) < 30_000:
        parts += ["word " * rng.randrange(120), rng.choice(secrets), rng.choice(["\n", " ", '"', ",\n"])]
    return Scanner(known(value), fingerprint_key=KEY), "".join(parts).encode()


@given(st.integers(0, 50), st.lists(st.integers(1, 30_000), max_size=6))
def test_windows_find_exactly_what_the_whole_holds(seed: int, cuts: list[int]) -> None:
    scanner, data = planted(seed)
    whole = scanner.scan(data)
    assert whole
    assert in_windows(scanner, data, sorted({min(cut, len(data) - 1) for cut in cuts})) == whole


def test_every_cut_through_a_secret_finds_it_once() -> None:
    rng = random.Random(2)
    value = drawn(1)[0]
    scanner = Scanner(known(value), fingerprint_key=KEY)
    password = "://kevin:" + "".join(rng.choices(WORD, k=20)) + "@host/"
    for secret in (TOKEN, value, value.encode().hex(), password):
        data = ("." * 9000 + " " + secret + " " + "." * 9000).encode()
        (whole,) = scanner.scan(data)
        for cut in range(8990, 9010 + len(secret)):
            assert in_windows(scanner, data, [cut]) == [whole], cut


def test_windows_without_overlap_miss_what_a_border_cuts() -> None:
    """The control of the test above."""
    scanner = Scanner(fingerprint_key=KEY)
    data = ("." * 9000 + TOKEN + "." * 9000).encode()
    assert in_windows(scanner, data, [9010]) != []
    assert in_windows(scanner, data, [9010], overlap=0) == []


def test_a_caller_without_flags_finds_at_least_as_much() -> None:
    scanner, data = planted(7)
    cut = len(data) // 2
    found = {each.fingerprint for each in scanner.scan(data[:cut])}
    found |= {each.fingerprint for each in scanner.scan(data[cut - scanner.overlap :])}
    assert found >= {each.fingerprint for each in scanner.scan(data)}


def test_any_buffer_is_scanned_in_place(tmp_path: Path) -> None:
    scanner = Scanner(fingerprint_key=KEY)
    data = b"\xff" * 5 + TOKEN.encode() + b"\n"
    expected = scanner.scan(data)
    assert len(expected) == 1
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert scanner.scan(memoryview(mapped)) == expected
    assert scanner.scan(bytearray(data)) == scanner.scan(memoryview(b"ab" + data)[2:]) == expected
    assert scanner.scan(b"") == scanner.scan(memoryview(b"")) == []


def test_clean_bytes_compile_no_rule_and_the_module_loads_no_search() -> None:
    scanner = Scanner(known(*drawn(3)), fingerprint_key=KEY)
    assert scanner.scan(b"The agent wrote a note about nothing in particular.\n" * 1000) == []
    assert not any(scanner._tails)
    code = "import sys, antsmem.identity.scanner; print('ahocorasick_rs' in sys.modules, 'blake3' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]


def test_the_searches_stay_within_what_simd_takes() -> None:
    """More than 64 literals in one search would be ten times as slow, and nothing else would tell."""
    scanner = Scanner(known(*drawn(9)), fingerprint_key=KEY)
    assert scanner._known is not None
    assert [len(table) <= 64 for _, table in scanner._keywords] == [True, True]
    assert len(scanner._known._needles) <= 64 == len(scanner._known._passes) * 64


@given(st.binary(max_size=200))
def test_a_masked_secret_shows_at_most_its_public_prefix(secret: bytes) -> None:
    shown, _, rest = masked(secret).partition("…")
    public = {keyword.decode() for rule in RULES for keyword in rule.keywords}
    assert shown in public | {""}
    assert rest == f"({len(secret)} bytes)"
    assert secret.startswith(shown.encode()) and (not shown or len(secret) - len(shown) >= 16)


def test_a_masked_token_keeps_what_tells_its_kind() -> None:
    assert masked(TOKEN.encode()) == "ghp_…(40 bytes)"
    assert masked(b"sk-" + b"ant-" + b"q" * 100) == "sk-…(107 bytes)"
    assert masked(b"hunter22") == masked(b"sk-" + b"abcde") == "…(8 bytes)"


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\xff"])).map(b"".join), st.integers(0, 40))
def test_a_line_is_counted_from_one(data: bytes, offset: int) -> None:
    assert line_of(data, offset) == line_of(memoryview(data), offset) == len(data[:offset].split(b"\n"))


def test_a_findings_repr_shows_nothing_of_the_secret() -> None:
    scanner = Scanner([("github", TOKEN.encode())], fingerprint_key=KEY)
    said = repr(scanner.scan(TOKEN.encode())) + repr(scanner) + str(scanner)
    assert TOKEN[4:10] not in said and KEY.hex() not in said
