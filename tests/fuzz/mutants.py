"""Changed copies of good files: of their bytes, and of the values that they are written from.

Everything is decided by a `random.Random`: a seeded one makes a mutant again, hypothesis lends one that shrinks.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

WORDS = (
    b"", b"\0", b"\n", b"\r\n", b"\t", b" ", b"=", b":", b"-", b"\"", b"\\", b"{", b"[", b"}", b"]", b",",
    b"null", b"true", b"-1", b"0", b"1e9", b"NaN", b"9" * 20, b"9" * 5000, b"\xff", b"\xed\xa0\x80", b"\\ud800",
    b"\xe2\x80\xa8", b"..", b"/", b"../x", b"*", b"&a ", b"*a", b"!!", b"|", b">", b"#", b"---\n", b"A" * 43,
    b"A" * 64, b"\x80" * 16, b"-> X25519 ", b"-> scrypt ", b"\n---", b" 22\n", b"age-encryption.org/v1\n",
    bytes(512), b"\x28\xb5\x2f\xfd", b"2026-11-20T12:00:00.000Z", b"[" * 200, b'{"a":' * 100,
)  # fmt: skip
"""What means something in one of the formats."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 255, 2**31, 2**53 - 1, -(2**53) + 1, "", " ", "0", "-1", "9" * 30, "9" * 5000,
    "x", "..", "../x", "/", "\0", "\n", "ü", "\U0001f600", "\u2028", "a" * 4000, "Ä" * 70, "z6Mk", "0" * 64,
    "f" * 63, "２０２６", "2026-11-20T12:00:00Z", "9999-12-31T23:59:59Z", [], {}, [[]], {"": ""}, [None],
    {"schema": 1}, ["x"] * 300, "antsmem.anchor/" + "9" * 5000,
)  # fmt: skip
"""Values that no member expects."""


def of_bytes(dice: Random, files: Sequence[bytes]) -> bytes:
    """One of `files`, changed in a few places: mostly near its beginning, where formats decide most."""
    data = bytearray(dice.choice(files))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        reach = min(len(data), 600) if dice.random() < 0.7 else len(data)
        at = dice.randrange(reach) if reach else 0
        end = min(len(data), at + dice.choice((1, 2, 16, 64, 1000)))
        match dice.randrange(8):
            case 0 | 1 if data:
                data[at] ^= 1 << dice.randrange(8)
            case 2 if data:
                data[at] = dice.randrange(256)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = dice.choice(WORDS)
            case 5:
                data[at:at] = data[at:end]
            case 6:
                other = dice.choice(files)
                data[at:end] = other[at : at + dice.choice((1, 16, 200))]
            case _:
                data[at : dice.choice((at, end))] = dice.choice(WORDS)
    return bytes(data)


def of_value(dice: Random, value: Any) -> Any:
    """A copy of a JSON `value` with members changed, dropped, added, swapped or buried."""
    whole = [copy.deepcopy(value)]
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        holder, key = _place(dice, whole)
        old = holder[key]
        match dice.randrange(8):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(dice.choice(ODD))
            case 3 if isinstance(holder, dict):
                del holder[key]
            case 4 if isinstance(old, dict):
                old[dice.choice(("x", "", "schema", "id", "\0"))] = dice.choice(("y", 1, None))
            case 5 if isinstance(old, list):
                old.append(copy.deepcopy(dice.choice((*old, *ODD))))
            case 6 if isinstance(old, str):
                text = of_bytes(dice, [old.encode()]).decode(errors="replace")
                holder[key] = text
            case _:
                other, name = _place(dice, whole)
                taken = copy.deepcopy(other[name])
                holder[key] = taken if len(json.dumps(taken)) < 50_000 else None
    return whole[0]


def _place(dice: Random, whole: list[Any]) -> tuple[Any, Any]:
    """A container somewhere in `whole`, and a key in it."""
    holder: Any = whole
    key: Any = 0
    while True:
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or dice.random() < 0.3:
            return holder, key
        holder = inner
        key = dice.choice(list(inner)) if isinstance(inner, dict) else dice.randrange(len(inner))
