"""Find known secrets on a locked host: by keyed hashes of how they are spelt, kept in a private file.

Of each spelling the longest run of letters and digits is an anchor. In a text, runs of such a length are hashed
and looked up; where one is known, the whole spelling around it is hashed too. Nothing can be read back from the
file, but who has it can try guesses: so values and anchors that might be guessed are left out, and only searched
for where the keystore is open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.disk import Buffer, make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError
from antsmem.core.record import field, record
from antsmem.core.spellings import spellings
from antsmem.identity.fields import Fields
from antsmem.identity.waivers import NONE, Waivers, remembered_waivers

SCHEMA: Final = "antsmem.fingerprints/1"
MIN_VALUE_BYTES: Final = 16
_ANCHOR_BYTES: Final = 12
_HASH_BYTES: Final = 16
_MAX_BYTES: Final = 16 << 20
_HINT: Final = "antsmem scan --remember makes it anew, where the keystore can be opened"


@record
class Print:
    """A spelling of `length` bytes; its anchor of `size` bytes stands `offset` bytes behind its beginning."""

    name: str
    form: str
    length: int
    offset: int
    size: int
    anchor: bytes
    whole: bytes
    value: bytes
    """Fingerprint of the value itself, as findings have it."""


@record
class Fingerprints:
    """All prints of the agent's secrets. `left_out` names the values that have none; `waivers` stood when
    they were made."""

    key: bytes = field(repr=False)
    prints: tuple[Print, ...]
    left_out: tuple[str, ...]
    waivers: Waivers = NONE


class PrintSearch:
    """Searches for what has a print. Threads may share one."""

    def __init__(self, prints: Fingerprints) -> None:
        self.longest = max((each.length for each in prints.prints), default=0)
        self._key = prints.key
        self._by_anchor: dict[bytes, list[Print]] = {}
        for each in prints.prints:
            self._by_anchor.setdefault(each.anchor, []).append(each)
        sizes = {each.size for each in prints.prints}
        self._sizes = sizes
        self._run = re.compile(rb"[A-Za-z0-9]{%d,}" % min(sizes)).finditer if sizes else None

    def search(self, window: Buffer) -> Iterator[tuple[int, int, Print]]:
        """Start, end and print of every spelling in `window` whose anchor has no letter or digit beside it."""
        for run in self._run(window) if self._run else ():
            if run.end() - run.start() in self._sizes:
                fitting = self._by_anchor.get(_hash(self._key, run[0]), ())
                there = [each for each in fitting if self._stands(each, window, run.start() - each.offset)]
                for each in {one.name: one for one in sorted(there, key=lambda one: one.length)}.values():
                    start = run.start() - each.offset
                    yield start, start + each.length, each

    def _stands(self, print_: Print, window: Buffer, start: int) -> bool:
        text = bytes(window[start : start + print_.length]) if start >= 0 else b""
        return len(text) == print_.length and _hash(self._key, text) == print_.whole


_RUN: Final = re.compile(rb"[A-Za-z0-9]{%d,}" % _ANCHOR_BYTES)


def fingerprints_of(known: Sequence[tuple[str, bytes]], key: bytes, waivers: Waivers = NONE) -> Fingerprints:
    """The prints of values under their names; `key`: 32 secret bytes, those of the scanner."""
    prints, left_out = [], []
    for name, given in known:
        value = given.strip()
        mine = list(_prints_of(name, value, key)) if _is_drawn(value) else []
        prints += mine
        left_out += [] if mine else [name]
    return Fingerprints(key, tuple(prints), tuple(left_out), waivers)


def _is_drawn(value: bytes) -> bool:
    """Whether `value` looks too random to be guessed: in it are many letters and digits without a gap."""
    runs = re.findall(_RUN, value) if len(value) >= MIN_VALUE_BYTES else []
    return any(len(re.findall(rb"[0-9]", run)) > 1 and len(re.findall(rb"[A-Za-z]", run)) > 1 for run in runs)


def _prints_of(name: str, value: bytes, key: bytes) -> Iterator[Print]:
    mine = _hash(key, value)
    for text, form in _standing_alone(value).items():
        runs = list(re.finditer(_RUN, text))
        if runs:
            anchor = max(runs, key=lambda run: run.end() - run.start())
            size = anchor.end() - anchor.start()
            yield Print(name, form, len(text), anchor.start(), size, _hash(key, anchor[0]), _hash(key, text), mine)


def _standing_alone(value: bytes) -> dict[bytes, str]:
    """The spellings, and those of base64 as they are where nothing else is in it: to the end, without padding."""
    from base64 import b64encode, urlsafe_b64encode

    found = spellings(value)
    for code in (b64encode, urlsafe_b64encode):
        for ending in (b"", b"\n"):
            found.setdefault(code(value + ending).rstrip(b"="), "base64")
    return found


def write_fingerprints(path: Path, prints: Fingerprints) -> None:
    """Replace the file at `path` (0600)."""
    make_private_dir(path.parent)
    rows = [
        {
            "name": each.name,
            "form": each.form,
            "length": each.length,
            "offset": each.offset,
            "size": each.size,
            "anchor": each.anchor.hex(),
            "whole": each.whole.hex(),
            "value": each.value.hex(),
        }
        for each in prints.prints
    ]
    document = {
        "schema": SCHEMA,
        "key": prints.key.hex(),
        "prints": rows,
        "left_out": list(prints.left_out),
        "waivers": [
            [path.hex(), rule, found.hex(), ends] for path, rule, found, ends in prints.waivers.standing()
        ],
    }
    write_file(path, [canonical.dumps(document)])


def read_fingerprints(path: Path, now_ns: int) -> Fingerprints:
    """What `write_fingerprints` wrote, with the waivers that have not ended by `now_ns`; `NotFoundError` without
    it, `IntegrityError` if it is damaged."""
    data = read_file(path, _MAX_BYTES)
    try:
        fields = Fields(canonical.loads(data, _MAX_BYTES), "a file of fingerprints")
        fields.choice("schema", (SCHEMA,))
        key, rows, names = bytes.fromhex(fields.text("key")), fields.items("prints"), fields.items("left_out")
        waived = [(bytes.fromhex(a), str(b), bytes.fromhex(c), str(d)) for a, b, c, d in fields.items("waivers")]
        fields.end()
        waivers = remembered_waivers(waived, now_ns)
        return Fingerprints(key, tuple(map(_print, rows)), tuple(map(str, names)), waivers)
    except (IntegrityError, TypeError, ValueError):
        raise IntegrityError(f"`{path}` is damaged", hint=_HINT) from None


def _print(value: Any) -> Print:
    fields = Fields(value, "a fingerprint")
    made = Print(
        fields.text("name"),
        fields.text("form"),
        fields.number("length"),
        fields.number("offset"),
        fields.number("size"),
        bytes.fromhex(fields.text("anchor")),
        bytes.fromhex(fields.text("whole")),
        bytes.fromhex(fields.text("value")),
    )
    fields.end()
    return made


def _hash(key: bytes, data: bytes) -> bytes:
    from blake3 import blake3

    return blake3(data, key=key).digest(_HASH_BYTES)
