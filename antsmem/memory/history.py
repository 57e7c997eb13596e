"""The history of one file: which revisions are its newest, and what they were made from.

Everything here is a function of the set of revisions alone, so that all devices that know the same events come to
the same files, in whatever order the events arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from antsmem.core.record import record
from antsmem.memory.index import Past


@record
class Heads:
    """The newest revisions of a file. `all` are their ids; `distinct` those that differ, newest first."""

    all: tuple[str, ...]
    distinct: tuple[Past, ...]


def heads_of(history: Mapping[str, Past]) -> Heads:
    """The newest revisions of `history` (id → revision, all of one file).

    A deletion yields to a revision with content. A revision that names no base and holds what an ancestor of
    another one held is a stale copy, as a restored backup has it: it says nothing new.
    """
    based = {base for past in history.values() for base in past.bases}
    tops = [past for past in history.values() if past.id not in based and not past.shredded]
    every = tuple(sorted(past.id for past in tops))
    live = [past for past in tops if past.sha256] or tops
    if len(live) > 1:
        live = [past for past in live if not _is_stale(past, live, history)] or live
    distinct: dict[tuple[str, bool], Past] = {}
    for past in sorted(live, key=_age, reverse=True):
        distinct.setdefault((past.sha256, past.executable), past)
    return Heads(every, tuple(distinct.values()))


def common_past(history: Mapping[str, Past], ids: Collection[str]) -> tuple[str, ...]:
    """The newest revisions from which all of `ids` were made; none if they have nothing in common."""
    below = [_ancestors(history, each) for each in ids]
    shared = set.intersection(*below) if below else set()
    older = {base for each in shared for base in history[each].bases}
    return tuple(sorted(each for each in shared if each not in older))


def newest_first(history: Mapping[str, Past], ids: Collection[str]) -> list[Past]:
    """The revisions `ids`, newest first."""
    return sorted((history[each] for each in ids), key=_age, reverse=True)


def _age(past: Past) -> tuple[str, str]:
    return past.clock, past.id


def _is_stale(past: Past, live: Collection[Past], history: Mapping[str, Past]) -> bool:
    if past.bases:
        return False
    for other in live:
        if other.id != past.id and other.sha256 != past.sha256:
            older = (history[each] for each in _ancestors(history, other.id))
            if any(each.sha256 == past.sha256 for each in older):
                return True
    return False


def _ancestors(history: Mapping[str, Past], start: str) -> set[str]:
    """All revisions from which `start` was made, without itself."""
    found: set[str] = set()
    stack = [start]
    while stack:
        for base in history[stack.pop()].bases:
            if base in history and base not in found:
                found.add(base)
                stack.append(base)
    return found
