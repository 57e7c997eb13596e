"""What stands in the workspace at one path, once everything that is known of it is merged.

Nothing is ever dropped for being older: what cannot be merged stands beside, under a name that says from where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from antsmem.core.record import field, record
from antsmem.memory.blocks import MAX_BLOCKS, Joined, merge_logs, merge_texts
from antsmem.memory.history import Heads, common_past, heads_of, newest_first
from antsmem.memory.index import Past
from antsmem.memory.kinds import Kind, beside, kind_of
from antsmem.memory.local import LocalMemory

Clash: TypeAlias = Literal["", "both kept", "copy beside", "proposal beside", "directory in the way"]

MAX_MERGED_BYTES: Final = 4 << 20
"""A larger text is not merged: the newer stands, the other beside it."""

_DEPTH: Final = 8
"""How far a past that was itself a merge is merged again, to find what two sides had in common."""


@record
class Wanted:
    """A file as it should be: what the revisions `heads` come to. `content` is None where it is that of the
    revision `source`."""

    path: str
    sha256: str
    executable: bool
    source: Past
    heads: tuple[str, ...]
    content: bytes | None = field(default=None, repr=False)


@record
class Outcome:
    """What one path comes to: its file (none if it is deleted), other versions beside it, and why those are
    there."""

    path: str
    files: tuple[Wanted, ...]
    clash: Clash = ""


def outcome(memory: LocalMemory, path: str, fetch: Callable[[str], bytes] | None = None) -> Outcome | None:
    """What `path` comes to; None if nothing is known of it any more. Raises as `LocalMemory.content`."""
    history = memory.index.history(path)
    heads = heads_of(history)
    if not heads.distinct:
        return None
    newest = heads.distinct[0]
    if not newest.sha256:
        return Outcome(path, ())
    made = Outcome(path, (_as_it_is(path, newest, heads.all),))
    if len(heads.distinct) > 1:
        made = _merged(_Merge(memory, history, kind_of(path), fetch), path, heads)
    if any(is_live(memory, below) for below in memory.index.below(path)):
        return _aside(made)
    return made


def is_live(memory: LocalMemory, path: str) -> bool:
    """Whether there is a file at `path`, as far as is known."""
    heads = heads_of(memory.index.history(path))
    return bool(heads.distinct and heads.distinct[0].sha256)


def _merged(merge: _Merge, path: str, heads: Heads) -> Outcome:
    if merge.kind == "guarded":
        return _beside(merge, path, heads, heads.distinct[-1])
    joined = merge.all_of(heads.distinct, 0) if merge.kind != "whole" else None
    newest = heads.distinct[0]
    if joined is None:
        return _beside(merge, path, heads, newest)
    digest = hashlib.sha256(joined.text).hexdigest()
    wanted = Wanted(path, digest, newest.executable, newest, heads.all, joined.text)
    return Outcome(path, (wanted,), "both kept" if joined.clashes else "")


def _beside(merge: _Merge, path: str, heads: Heads, stays: Past) -> Outcome:
    """`stays` in its place, the others beside it. An edit of the one says nothing about the others."""
    clash: Clash = "proposal beside" if merge.kind == "guarded" else "copy beside"
    files, taken = [], set[str]()
    for past in heads.distinct:
        if past is not stays:
            same = tuple(each for each in heads.all if _holds(merge.history[each], past))
            taken.update(same)
            word = clash.partition(" ")[0].replace("copy", "conflict")
            name = beside(path, word, past.device, past.id)
            while is_live(merge.memory, name):  # somebody made a file of its own of it
                word += "-again"
                name = beside(path, word, past.device, past.id)
            files.append(_as_it_is(name, past, same))
    own = tuple(each for each in heads.all if each not in taken)
    return Outcome(path, (_as_it_is(path, stays, own), *files), clash)


def _holds(one: Past, other: Past) -> bool:
    return (one.sha256, one.executable) == (other.sha256, other.executable)


def _aside(made: Outcome) -> Outcome:
    """The file gives way to a directory of its name."""
    first, *rest = made.files
    name = beside(made.path, "conflict", first.source.device, first.source.id)
    moved = Wanted(name, first.sha256, first.executable, first.source, first.heads, first.content)
    return Outcome(made.path, (moved, *rest), "directory in the way")


def _as_it_is(path: str, past: Past, heads: tuple[str, ...]) -> Wanted:
    return Wanted(path, past.sha256, past.executable, past, heads)


class _Merge:
    """The merging of one file's revisions."""

    def __init__(
        self,
        memory: LocalMemory,
        history: Mapping[str, Past],
        kind: Kind,
        fetch: Callable[[str], bytes] | None,
    ) -> None:
        self.memory = memory
        self.history = history
        self.kind = kind
        self.fetch = fetch

    def all_of(self, pasts: tuple[Past, ...], depth: int) -> Joined | None:
        """The texts of `pasts`, newest first, as one; None if one of them is no text that can be merged."""
        texts = [self.text(past) for past in pasts]
        if not all(_can_be_merged(text) for text in texts):
            return None
        base = self.base(pasts, depth)
        merge = merge_logs if self.kind == "daily" else merge_texts
        joined = Joined(texts[0], 0)
        for text in texts[1:]:
            more = merge(base, joined.text, text)
            joined = Joined(more.text, joined.clashes + more.clashes)
        return joined

    def base(self, pasts: tuple[Past, ...], depth: int) -> bytes | None:
        """What `pasts` were made from."""
        shared = newest_first(self.history, common_past(self.history, [past.id for past in pasts]))
        shared = [past for past in shared if past.sha256 and not past.shredded]
        if not shared:
            return None
        if len(shared) > 1 and depth < _DEPTH and (joined := self.all_of(tuple(shared), depth + 1)) is not None:
            return joined.text
        return self.text(shared[0])

    def text(self, past: Past) -> bytes:
        return self.memory.content(past, self.fetch)


def _can_be_merged(text: bytes) -> bool:
    if len(text) > MAX_MERGED_BYTES or b"\0" in text or text.count(b"\n") > MAX_BLOCKS:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
