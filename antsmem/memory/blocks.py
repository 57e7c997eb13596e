"""Merge Markdown by blocks: a heading, a paragraph, an item of a list, a fenced block, an entry of a daily log.

Three versions go in, nothing that anybody wrote is lost: what one side changed is taken, what both sides changed
stands twice, the newer first. The three-way walk is that of diff3 (Khanna, Kunal, Pierce: "A Formal Investigation
of Diff3", 2007), with blocks in the place of lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from antsmem.core.record import record
from antsmem.workspace.dailylog import ANCHOR

MAX_BLOCKS: Final = 20_000
"""A text with more blocks is not merged: comparing them could take minutes."""

_MOST_PAIRS: Final = 1_000_000
_ITEM: Final = re.compile(rb"(?:[-*+]|[0-9]{1,9}[.)])[ \t]")
_HEADING: Final = re.compile(rb"#{1,6}(?:[ \t]|$)")
_FENCE: Final = re.compile(rb" {0,3}(```+|~~~+)")


class Block(NamedTuple):
    """`key` is what is compared: the bytes without the line ends after them; `full` is with them."""

    key: bytes
    full: bytes

    @property
    def plain(self) -> bool:
        """Whether it is a paragraph, which runs into one that follows at once."""
        first = self.key.lstrip(b" ")
        return not (_ITEM.match(first) or _HEADING.match(first) or _FENCE.match(self.key))


@record
class Joined:
    """A merged text. `clashes`: how many blocks both sides had changed and that stand twice now."""

    text: bytes
    clashes: int


def split(text: bytes) -> list[Block]:
    """The blocks of `text`: joined, their `full` bytes are `text`. A block ends with the blank lines after it."""
    blocks: list[list[bytes]] = []
    fence, blank, item = b"", False, False
    for line in re.findall(rb"[^\n]*\n|[^\n]+", text):
        bare = line.strip()
        if fence:
            blocks[-1].append(line)
            if bare.startswith(fence) and not bare.strip(fence[:1]):
                fence = b""
            continue
        opens = _FENCE.match(line)
        heading, starts_item = _HEADING.match(line), _ITEM.match(line)
        indented = line[:1] in {b" ", b"\t"}
        after_heading = bool(blocks) and _HEADING.match(blocks[-1][0])
        new = bool(bare) and (
            not blocks
            or bool(heading or starts_item)
            or (bool(after_heading) and not blank)
            or (blank and not (indented and item))
            or (opens is not None and not (indented and item))
        )
        if new or not blocks:
            blocks.append([line])
            item = bool(starts_item)
        else:
            blocks[-1].append(line)
        if opens:
            fence = opens[1]
        blank = not bare
    return [Block(b"".join(lines).rstrip(b"\n"), b"".join(lines)) for lines in blocks]


def join(blocks: Sequence[Block]) -> bytes:
    """The text of `blocks`, each on lines of its own, two paragraphs apart."""
    parts: list[bytes] = []
    for place, block in enumerate(blocks):
        full = block.full
        if place + 1 < len(blocks):
            if not full.endswith(b"\n"):
                full += b"\n"
            if block.plain and blocks[place + 1].plain and not full.endswith(b"\n\n"):
                full += b"\n"
        parts.append(full)
    return b"".join(parts)


def merge_texts(base: bytes | None, newer: bytes, older: bytes) -> Joined:
    """`newer` and `older`, both made from `base` (None: from nothing common), as one text."""
    if older in {newer, base}:
        return Joined(newer, 0)
    if base == newer:
        return Joined(older, 0)
    ours, theirs = split(newer), split(older)
    blocks, clashes = three_way(common(ours, theirs) if base is None else split(base), ours, theirs)
    return Joined(join(blocks), clashes)


def merge_logs(base: bytes | None, newer: bytes, older: bytes) -> Joined:
    """Two versions of a daily log as one: all entries of both, by the clock in their anchors, once each; an entry
    that both changed stands twice. What is no entry is merged as any text."""
    if older in {newer, base}:
        return Joined(newer, 0)
    if base == newer:
        return Joined(older, 0)
    sides = [_parted(split(text)) for text in (base or b"", newer, older)]
    (_, was), (ours, new), (theirs, old) = sides
    rest, clashes = three_way(common(ours, theirs) if base is None else sides[0][0], ours, theirs)
    entries: list[Block] = []
    for name in sorted({*new, *old}):
        kept = _chosen(was.get(name), new.get(name), old.get(name))
        clashes += len(kept) > 1
        entries += kept
    first = _before_entries(newer if new else older)
    head = next((place for place, block in enumerate(rest) if block.key not in first), len(rest))
    return Joined(join([*rest[:head], *entries, *rest[head:]]), clashes)


def _chosen(was: Block | None, new: Block | None, old: Block | None) -> list[Block]:
    """What stands of one entry: what one side made of it, or what both did, the newer first."""
    before, ours, theirs = (block.key if block else None for block in (was, new, old))
    if theirs in {ours, before}:
        found = [new]
    elif before == ours:
        found = [old]
    else:
        found = [new, old]
    return [block for block in found if block is not None]


def _parted(blocks: Sequence[Block]) -> tuple[list[Block], dict[tuple[bytes, int], Block]]:
    """What is no entry, and the entries by their anchor (and how often it stood before)."""
    rest: list[Block] = []
    entries: dict[tuple[bytes, int], Block] = {}
    for block in blocks:
        if match := ANCHOR.match(block.key.partition(b"\n")[0]):
            turn = 0
            while (match[1], turn) in entries:
                turn += 1
            entries[match[1], turn] = block
        else:
            rest.append(block)
    return rest, entries


def _before_entries(text: bytes) -> set[bytes]:
    """The blocks that stand before the first entry of `text`."""
    found: set[bytes] = set()
    for block in split(text):
        if ANCHOR.match(block.key.partition(b"\n")[0]):
            break
        found.add(block.key)
    return found


def three_way(base: Sequence[Block], newer: Sequence[Block], older: Sequence[Block]) -> tuple[list[Block], int]:
    """The blocks of the merge, and how many were changed on both sides."""
    in_newer, in_older = _matches(base, newer), _matches(base, older)
    stable = [place for place in range(len(base)) if place in in_newer and place in in_older]
    out: list[Block] = []
    clashes, at = 0, (0, 0, 0)
    for place in [*stable, None]:
        end = (len(base), len(newer), len(older)) if place is None else (place, in_newer[place], in_older[place])
        chunk, clash = _chunk(base[at[0] : end[0]], newer[at[1] : end[1]], older[at[2] : end[2]])
        out += chunk
        clashes += clash
        if place is not None:
            out.append(newer[end[1]])
            at = (end[0] + 1, end[1] + 1, end[2] + 1)
    return out, clashes


def common(newer: Sequence[Block], older: Sequence[Block]) -> list[Block]:
    """What two versions without a common past share: their longest common run of blocks, as a past."""
    return [newer[place] for place in _matches(newer, older)]


def _chunk(base: Sequence[Block], newer: Sequence[Block], older: Sequence[Block]) -> tuple[list[Block], int]:
    """The part between two stable blocks. A block of the past stays if both sides have it; what is new stays."""
    was, new, old = ({block.key for block in side} for side in (base, newer, older))
    out = [block for block in newer if block.key not in was or block.key in old]
    held = {block.key for block in out}
    out += [block for block in older if block.key not in was and block.key not in held]
    gone = sum(key not in new and key not in old for key in was)
    fresh = bool(new - was - old) and bool(old - was - new)
    return out, gone if fresh else 0


def _matches(one: Sequence[Block], other: Sequence[Block]) -> Mapping[int, int]:
    """Where the blocks of `one` stand in `other`, in the order of both. Where the same ones stand in both so often
    that comparing each pair could take minutes, no run begins with one of the most frequent."""
    ours, theirs = [block.key for block in one], [block.key for block in other]
    often = Counter(theirs)
    matcher = SequenceMatcher(None, ours, theirs, autojunk=sum(often[key] for key in ours) > _MOST_PAIRS)
    return {
        match.a + step: match.b + step for match in matcher.get_matching_blocks() for step in range(match.size)
    }
