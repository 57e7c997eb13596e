"""Goal: a file made to hurt its reader costs little time and memory, and is refused.

Method: endless and huge headers, stanzas, lines and white space from generators that count what is read of them;
tracemalloc; counted scalar multiplications. Controls raise a limit and must see the cost.
"""

import itertools
import tracemalloc

import pytest

from antsmem.core import age
from antsmem.core.age import header, keys
from antsmem.core.errors import CannotUnlockError

IDENTITY = age.X25519Identity.generate()
VERSION = b"age-encryption.org/v1\n"
FOOTER = b"--- " + b"A" * 43 + b"\n"
GREASE = b"-> grease\n\n"
FOREIGN = b"-> X25519 " + b"C" + b"A" * 42 + b"\n" + b"A" * 43 + b"\n"


class Flood:
    """`start`, and then `again` for ever (or `times`), counting what is taken."""

    def __init__(self, start: bytes, again: bytes, times: int | None = None) -> None:
        self.taken_bytes = 0
        self.chunks = itertools.chain(
            [start], itertools.repeat(again, times) if times else itertools.repeat(again)
        )

    def __iter__(self):
        for chunk in self.chunks:
            self.taken_bytes += len(chunk)
            if self.taken_bytes > 64 << 20:
                raise AssertionError("reads without limit")
            yield chunk


FLOODS = {
    "a header that does not end": (VERSION, GREASE),
    "an endless first line": (VERSION[:-1], b"1" * 1000),
    "an endless stanza line": (VERSION + b"-> grease ", b"a" * 1000),
    "endless arguments": (VERSION + b"-> grease", b" a" * 500),
    "an endless body": (VERSION + b"-> grease\n", b"A" * 64 + b"\n"),
    "an endless body line": (VERSION + b"-> grease\n", b"A" * 1000),
    "an endless footer": (VERSION + GREASE + b"--- ", b"A" * 1000),
    "zeros": (b"", bytes(1000)),
    "endless white space": (b"", b" " * 1000),
    "endless empty lines": (b"", b"\n" * 1000),
    "drops": (VERSION, b"a" * 50),
    "a million stanzas": (VERSION, FOREIGN * 100),
    "an endless armor line": (b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"A" * 1000),
    "a header that does not end, in armor": (
        age.armor(VERSION + GREASE * 10_000).partition(b"\n-----END")[0][: 65 * 2000 + 35],
        b"A" * 64 + b"\n",
    ),
}


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.parametrize("read", [age.inspect, lambda flood: list(age.unseal_stream(flood, [IDENTITY]))])
def test_a_flood_is_refused_after_a_bounded_read(name, read):
    flood = Flood(*FLOODS[name])
    tracemalloc.start()
    try:
        with pytest.raises(age.AgeFileError):
            read(flood)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert flood.taken_bytes < 1 << 20
    assert peak < 4 << 20


def test_control_without_the_limit_a_flood_is_read_on(monkeypatch):
    monkeypatch.setattr(header, "_LIMIT_BYTES", 1 << 40)
    with pytest.raises(AssertionError, match="reads without limit"):
        age.inspect(Flood(VERSION, GREASE * 10_000))


def test_a_giant_buffer_is_refused_without_a_copy_of_it():
    giant = VERSION + GREASE * 1_000_000 + FOOTER
    tracemalloc.start()
    try:
        with pytest.raises(age.AgeFileError, match="no end of it within 262144 bytes"):
            age.inspect(giant)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_largest_header_costs_one_key_a_bounded_number_of_tries(monkeypatch):
    tries = itertools.count()
    multiply = keys.crypto_scalarmult
    monkeypatch.setattr(keys, "crypto_scalarmult", lambda *pair: (next(tries), multiply(*pair))[1])
    share = header.encode64(keys.crypto_scalarmult_base(bytes(31) + b"\x40"))
    stanza = f"-> X25519 {share}\n{'A' * 43}\n".encode()
    fitting = ((1 << 18) - 200) // len(stanza)
    with pytest.raises(CannotUnlockError):
        age.unseal(VERSION + stanza * fitting + FOOTER, [IDENTITY])
    assert 2000 < next(tries) < 3000
    with pytest.raises(age.AgeFileError):
        age.unseal(VERSION + stanza * (fitting + 10) + FOOTER, [IDENTITY])


def test_thousands_of_tiny_stanzas_are_read_and_match_nobody():
    data = VERSION + b"-> a\n\n" * 40_000 + FOOTER
    assert len(age.inspect(data).kinds) == 40_000
    with pytest.raises(CannotUnlockError):
        age.unseal(data, [IDENTITY, age.HybridIdentity.generate(), age.ScryptIdentity("pass")])


@pytest.mark.parametrize(
    "stanza",
    [
        b"",
        b"-> \n\n",
        b"->\n\n",
        b"-> a  b\n\n",
        b"-> a \n\n",
        b"-> a\tb\n\n",
        b"-> \xc3\xa9\n\n",
        b"-> a\x7f\n\n",
        b"->a\n\n",
        b"-> a\n",
        b"-> a\n=\n",
        b"-> a\nA\n",
        b"-> a\nAB\n",
        b"-> a\nAA==\n",
        b"-> a\n\xff\n",
        b"-> a\n" + b"A" * 65 + b"\n",
        b"-> a\n" + b"A" * 64 + b"\n",
        b"-> a\n\n\n",
        b"\n",
        b"x\n",
        b"-> scrypt AA 1\n\n-> a\n\n",
    ],
)
def test_a_malformed_stanza_is_refused(stanza):
    with pytest.raises(age.AgeFileError) as caught:
        list(age.unseal_stream([VERSION + stanza + FOOTER], [IDENTITY]))
    assert caught.value.part == "header"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("footer", [b"---", b"---\n", b"--- \n", b"--- AAAA\n", FOOTER[:-1], FOOTER[:-2] + b"=\n"])
def test_a_malformed_footer_is_refused(footer):
    with pytest.raises(age.AgeFileError) as caught:
        age.inspect([VERSION + GREASE + footer])
    assert caught.value.part == "header"
