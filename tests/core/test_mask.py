"""Goal: no secret leaves a masked stream, however its bytes are cut, and everything else leaves it unchanged.

Method: hypothesis draws secrets that overlap and share beginnings, text that is full of them in every spelling,
and cuts; what comes out must be what a naive masker makes of the whole, byte for byte. Controls: without the mask,
and with a masker that forgets what it held back, the same streams leak.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.mask import LEAST_BYTES, SHOWN_BYTES, Mask, Stream
from antsmem.core.spellings import spellings

ALPHABET = "ab/\n"
SECRETS = st.lists(
    st.text(ALPHABET, min_size=4, max_size=12).filter(lambda text: len(text.strip()) >= 4), max_size=4
)


def named(secrets: list[str]) -> list[tuple[str, bytes]]:
    return [(f"s{number}", secret.encode()) for number, secret in enumerate(secrets)]


def texts(values: list[tuple[str, bytes]]) -> dict[bytes, str]:
    """Every spelling that is to be masked, and whose it is: the first's, as names are kept in order."""
    found: dict[bytes, str] = {}
    for name, value in values:
        stripped = value.strip()
        lines = [line.strip() for line in stripped.splitlines()] if b"\n" in stripped else []
        for part in (stripped, *(line for line in lines if len(line) >= 16)):
            for text in spellings(part):
                if len(text) >= LEAST_BYTES:
                    found.setdefault(text, name)
    return found


def naive(values: list[tuple[str, bytes]], data: bytes) -> bytes:
    """What a mask makes of `data`: every occurrence looked up by itself, and an end that may be cut off."""
    known = texts(values)
    spans = [
        (start, start + len(text), name)
        for text, name in known.items()
        for start in range(len(data))
        if data.startswith(text, start)
    ]
    for start in range(len(data)):
        fitting = [text for text in known if len(text) > len(data) - start and text.startswith(data[start:])]
        if fitting:
            length = len(data) - start
            if length > SHOWN_BYTES or any(2 * length > len(text) for text in fitting):
                spans.append((start, len(data), "cut off"))
            break
    out, place, covered = [], 0, 0
    for start, end, name in sorted(spans, key=lambda span: (span[2] == "cut off", span[0], -span[1], span[2])):
        if end <= covered:
            continue
        if start >= covered:
            out += [data[place:start], f"[secret:{name}]".encode()]
        place = covered = end
    return b"".join([*out, data[place:]])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(borders)]


def passed(stream: Stream, pieces: list[bytes]) -> bytes:
    return b"".join([*map(stream.feed, pieces), stream.end()])


@given(SECRETS, st.data(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cuts_give_what_a_naive_masker_makes_of_the_whole(
    secrets: list[str], data: st.DataObject, places: list[int]
) -> None:
    values = named(secrets)
    pieces = st.sampled_from(sorted(texts(values)) or [b"x"]) | st.text(ALPHABET, max_size=6).map(str.encode)
    whole = b"".join(data.draw(st.lists(pieces, max_size=8)))
    assert passed(Mask(values).stream(), cut(whole, places)) == naive(values, whole)


@given(SECRETS, st.data())
def test_byte_by_byte_is_no_way_around_it(secrets: list[str], data: st.DataObject) -> None:
    values = named(secrets)
    whole = b"".join(data.draw(st.lists(st.sampled_from(sorted(texts(values)) or [b"x"]), max_size=4)))
    assert passed(Mask(values).stream(), [bytes([byte]) for byte in whole]) == naive(values, whole)


@given(SECRETS, st.data(), st.lists(st.integers(0, 10_000), max_size=12), st.lists(st.booleans(), max_size=14))
def test_with_pauses_no_secret_leaves_whole_and_nothing_else_is_lost(
    secrets: list[str], data: st.DataObject, places: list[int], pauses: list[bool]
) -> None:
    values = named(secrets)
    pieces = st.sampled_from(sorted(texts(values)) or [b"x"]) | st.text(ALPHABET, max_size=6).map(str.encode)
    whole = b"".join(data.draw(st.lists(pieces, max_size=8)))
    stream = Mask(values).stream()
    out = b""
    for number, piece in enumerate(cut(whole, places)):
        out += stream.feed(piece)
        if pauses[number : number + 1] == [True]:
            out += stream.idle()
    out += stream.end()
    clean = out.replace(b"[secret:", b"\0[")
    assert [text for text in texts(values) if text in clean] == []
    if b"[secret:" not in naive(values, whole):
        assert out == whole


SECRET = "".join(["Zk7Qw2", "/x Rt4+", 'Vb"8Nm', "1Hs6é"])


def spelt(secret: str) -> dict[str, bytes]:
    """By other encoders than those of the program."""
    raw = secret.encode()
    return {
        "raw": raw,
        "json": json.dumps({"k": secret}).encode(),
        "json, not escaped": json.dumps([secret], ensure_ascii=False).encode(),
        "url": urllib.parse.quote(secret, safe="").encode(),
        "form": urllib.parse.urlencode({"k": secret}).encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "utf-16": secret.encode("utf-16"),
        "utf-16-be": secret.encode("utf-16-be"),
        "reversed": raw[::-1],
        **{f"base64 at {before}": base64.b64encode(b"q" * before + raw + b"z") for before in range(3)},
        **{
            f"base64url at {before}": base64.urlsafe_b64encode(b"\xff" * before + raw + b"z")
            for before in range(3)
        },
    }


@pytest.mark.parametrize("form", spelt(SECRET))
@pytest.mark.parametrize("step", [1, 2, 3, 7, 16, 1000])
def test_every_promised_spelling_is_taken_out(form: str, step: int) -> None:
    data = b"before " + spelt(SECRET)[form] + b" after"
    out = passed(Mask([("it", SECRET.encode())]).stream(), [data[a : a + step] for a in range(0, len(data), step)])
    assert b"[secret:it]" in out and out.startswith(b"before ") and out.endswith(b" after")
    assert len(out) < len(data), "all of it went, not only a part"


@given(st.binary(min_size=4, max_size=40).map(lambda value: value.hex()), st.integers(0, 2), st.booleans())
def test_nothing_is_left_of_base64_that_ends_with_the_secret(secret: str, before: int, padded: bool) -> None:
    text = base64.b64encode(b"u" * before + secret.encode()).rstrip(b"" if padded else b"=")
    out = passed(Mask([("it", secret.encode())]).stream(), [text[:5], text[5:], b"\n"])
    assert out.endswith(b"[secret:it]\n")


def test_without_the_mask_they_would_leak() -> None:
    for data in spelt(SECRET).values():
        assert passed(Mask([]).stream(), [data]) == data


def test_a_masker_that_holds_nothing_back_leaks() -> None:
    mask, secret = Mask([("it", SECRET.encode())]), SECRET.encode()
    assert mask.whole(secret[:9]) + mask.whole(secret[9:]) != mask.whole(secret)
    assert SECRET[9:15].encode() in mask.whole(secret[:9]) + mask.whole(secret[9:])


def test_a_line_of_a_key_file_is_masked_by_itself() -> None:
    lines = ["-----BEGIN " + "TEST-----", "A1b2C3d4" * 8, "E5f6G7h8" * 8, "-----END " + "TEST-----"]
    mask = Mask([("key", "\n".join(lines).encode())])
    out = mask.whole("\r\n".join(f"  {line}" for line in lines).encode())
    assert out.count(b"[secret:key]") == 2 and b"A1b2" not in out and b"BEGIN" in out


def test_the_secret_members_of_an_object_are_masked_by_themselves() -> None:
    account = {
        "type": "service_account",
        "user": "kimberly",
        "password": "correct-horse",
        "private_key": "a\nb\nc d",
    }
    mask = Mask([("it", json.dumps(account).encode())])
    assert mask.whole(b"kimberly has correct-horse") == b"kimberly has [secret:it#password]"
    assert mask.whole(b"a\nb\nc d service_account") == b"[secret:it#private_key] service_account"


def test_a_pause_shows_a_prompt_that_ends_like_a_secret_begins() -> None:
    stream = Mask([("it", b"word-of-the-day")]).stream()
    assert stream.feed(b"Pass") == b"Pass"
    assert stream.feed(b"wo") == b"" and stream.holds
    assert stream.idle() == b"wo" and not stream.holds
    assert stream.feed(b"rd-of-the-day\n") == b"[secret:it]\n", "what follows is masked all the same"


def test_a_pause_late_in_a_secret_shows_nothing() -> None:
    stream = Mask([("it", b"word-of-the-day")]).stream()
    assert stream.feed(b"word-of-the-d") == b"" and stream.idle() == b""
    assert stream.end() == b"[secret:cut off]"


def test_too_short_values_are_named_and_left_alone() -> None:
    mask = Mask([("pin", b"123"), ("space", b"   \n"), ("code", b"1234")])
    assert mask.too_short == ("pin", "space")
    assert mask.whole(b"123 1234") == b"123 [secret:code]"


def test_what_is_held_back_is_bounded_by_the_longest_spelling() -> None:
    secret = b"ab" * 200
    stream = Mask([("it", secret)]).stream()
    for _ in range(1000):
        stream.feed(b"aba")
        assert len(stream._held) < 3 * len(secret)
