"""Search bytes for many literals at once, with the SIMD search ("Teddy") of `ahocorasick_rs`: gigabytes a second.

It takes few literals at a time and is as selective as the shortest of them, so they are dealt into passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from antsmem.core.disk import Buffer

# For each occurrence: number of the literal, start, end.
Find: TypeAlias = Callable[[Buffer], list[tuple[int, int, int]]]

# The SIMD search takes 64 literals at most, and runs half as fast over more than 32.
PASS: Final = 64
_SLIM: Final = 32


def passes(literals: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """`literals` in as few parts as one search takes, all about as long."""
    count = -(-len(literals) // PASS)
    for part in range(count):
        yield literals[len(literals) * part // count : len(literals) * (part + 1) // count]


def dealt(literals: Sequence[bytes]) -> list[bytes]:
    """Sorted `literals` in the order that makes the search fast.

    Teddy puts literal i into bucket i mod 8 (of more than 32: mod 16) and stops wherever each of four bytes could
    be that of some literal of one bucket: so those that begin alike belong into the same."""
    buckets = 8 if len(literals) <= _SLIM else 16
    size, longer = divmod(len(literals), buckets)
    cuts = [size * bucket + min(bucket, longer) for bucket in range(buckets + 1)]
    parts = [literals[a:b] for a, b in pairwise(cuts)]
    return [part[row] for row in range(size + 1) for part in parts if row < len(part)]


def search_for(literals: Sequence[bytes]) -> Find:
    """A search that passes over what overlaps something it found."""
    from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

    # Too many for SIMD: a DFA is thrice as fast as what the library would choose.
    kind = Implementation.DFA if len(literals) > PASS else None
    return BytesAhoCorasick(literals, MatchKind.LeftmostFirst, kind).find_matches_as_indexes


def search_all(literals: Sequence[bytes]) -> Find:
    """A search that also finds literals that overlap: slower."""
    from ahocorasick_rs import BytesAhoCorasick, Implementation

    search = BytesAhoCorasick(literals, implementation=Implementation.DFA)
    return lambda window: search.find_matches_as_indexes(window, overlapping=True)
