"""Bech32 (BIP 173), the checksummed letters in which age writes its keys, without BIP 173's limit of length.

The case of the part before the separator is kept, because age tells identities (capitals) from recipients by it.
Errors never show the text, which may be a secret key.
"""

from __future__ import annotations

from antsmem.core.errors import UsageError

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {letter: value for value, letter in enumerate(_LETTERS)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def encode(prefix: str, data: bytes) -> str:
    """`data` after the lower-case `prefix`, all in lower case."""
    values = _regroup(data, 8, 5, pad=True)
    check = _polymod([*_expand(prefix), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values += [check >> shift & 31 for shift in (25, 20, 15, 10, 5, 0)]
    return f"{prefix}1{''.join(_LETTERS[value] for value in values)}"


def decode(text: str) -> tuple[str, bytes]:
    """The prefix (in its own case) and the bytes of `text`. `UsageError` for anything that `encode`, or
    `encode` and then upper case, does not write."""
    lower = text.lower()
    if not text.isascii() or text not in {lower, text.upper()}:
        raise UsageError("a key must be written in one case and in ASCII")
    prefix, separator, rest = lower.rpartition("1")
    if not prefix or not separator or len(rest) < 6 or not all(33 <= ord(letter) <= 126 for letter in prefix):
        raise UsageError("a key is cut or has no prefix")
    values = [_VALUES.get(letter, -1) for letter in rest]
    if -1 in values:
        raise UsageError("a key has a letter that keys do not use")
    if _polymod([*_expand(prefix), *values]) != 1:
        raise UsageError("a key was mistyped: its checksum is wrong")
    return text[: len(prefix)], bytes(_regroup(values[:-6], 5, 8, pad=False))


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode("ascii")
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, factor in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= factor
    return check


def _regroup(values: bytes | list[int], have: int, want: int, *, pad: bool) -> list[int]:
    """Groups of `have` bits as groups of `want` bits. The bits left over must be few and zero, unless `pad`."""
    held = bits = 0
    groups = []
    for value in values:
        held = (held << have | value) & 0xFFFF
        bits += have
        while bits >= want:
            bits -= want
            groups.append(held >> bits & (1 << want) - 1)
    left = held << (want - bits) & (1 << want) - 1
    if pad and bits:
        groups.append(left)
    elif not pad and (bits >= have or left):
        raise UsageError("a key does not end on a whole byte")
    return groups
