"""Goal: armor is written as the `age` program writes it, and read as strictly.

Method: shapes around the 64 columns and around the blocks that are read at once; each way to bend the text.
"""

import pytest

from antsmem.core import age
from antsmem.core.age.armor import dearmor
from antsmem.core.age.source import Source

BEGIN, END = b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"-----END AGE ENCRYPTED FILE-----\n"
BLOCK = 1024 * 48
DATA = bytes(range(256)) * 800


def read(text: bytes, step: int = 1 << 20) -> bytes:
    return b"".join(dearmor(Source(text[at : at + step] for at in range(0, len(text), step))))


@pytest.mark.parametrize(
    "size", [0, 1, 47, 48, 49, 95, 96, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 50]
)
def test_armor_comes_back_whatever_its_length(size):
    text = age.armor(DATA[:size])
    lines = text.split(b"\n")
    assert text.startswith(BEGIN)
    assert text.endswith(END)
    assert {len(line) for line in lines[1:-3]} <= {64}
    for step in (1 << 20, 4097, 77):
        assert read(text, step) == DATA[:size]
        assert read(text.replace(b"\n", b"\r\n"), step) == DATA[:size]


@pytest.mark.parametrize("bad", [b"=", b" ", b"\n", b"\r", b"-", b"\0", b"_", b"\xff"])
@pytest.mark.parametrize("place", [0, 31, 63, 64, 65 * 1000, 65 * 1023 + 64, 65 * 1024 + 10, 65 * 3000])
def test_a_wrong_letter_is_refused_wherever_it_is(bad, place):
    text = bytearray(age.armor(DATA))
    at = len(BEGIN) + place
    if text[at : at + 1] != bad:
        text[at : at + 1] = bad
        with pytest.raises(age.AgeFileError) as caught:
            read(bytes(text))
        assert caught.value.part == "armor"


def test_lines_of_other_lengths_that_add_up_to_a_block_are_refused():
    lines = age.armor(DATA).split(b"\n")
    lines[5], lines[6] = lines[5] + lines[6][:4], lines[6][4:]
    with pytest.raises(age.AgeFileError, match="longer than 64"):
        read(b"\n".join(lines))


def test_white_space_is_allowed_around_it_but_not_without_end():
    text = age.armor(b"data")
    assert read(b" \n\t\n\r\n" + text + b"\r\n \t" * 100) == b"data"
    assert read(b"\n" * 1000 + text + b" " * 1000) == b"data"
    for bent in (b"\n" * 1100 + text, text + b"\n" * 1100, text + b"\n.", text + text, b" " + text):
        with pytest.raises(age.AgeFileError):
            read(bent)


def test_a_file_without_armor_is_not_looked_for_armor():
    with pytest.raises(age.AgeFileError, match="begins neither as an age file nor as an armored one"):
        age.inspect(b"\x7fELF")
