"""What a task is called: its id, and whether a changed one is still the same work.

An id is given in a tag, or made: a slug of what the task says, and four hexadecimal digits of the SHA-256 of the
headings above it and its text. Times and tags are no part of it, so a new schedule is not new work.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from antsmem.core.record import record

SIMILAR: Final = 0.8
_SLUG_LONGEST: Final = 40
_COMPARED: Final = 200
_MOST_COMPARED: Final = 200


@record
class Known:
    """A task that was there before: what to record of one, so that it is recognised when its text has changed."""

    id: str
    path: tuple[str, ...]
    title: str


@record
class Renames:
    """`same`: new id → the old id whose work it goes on with. `ambiguous`: new id → old ids, one of which it may
    be: nobody knows what was done, so a task that happens once must wait for a person."""

    same: dict[str, str]
    ambiguous: dict[str, tuple[str, ...]]


def made_id(path: Sequence[str], title: str) -> str:
    """The id of a task that was given none."""
    import hashlib

    text = "\n".join(" ".join(unicodedata.normalize("NFC", part).split()) for part in (*path, title))
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"{_slug(title)}-{digest[:4]}"


def _slug(title: str) -> str:
    folded = unicodedata.normalize("NFKD", title[:_COMPARED]).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
    if len(slug) > _SLUG_LONGEST:
        slug = slug[: _SLUG_LONGEST + 1].rpartition("-")[0] or slug[:_SLUG_LONGEST]
    return slug or "task"


def find_renames(before: Iterable[Known], after: Iterable[Known], given: Iterable[str] = ()) -> Renames:
    """Which tasks of `after` are an edited one of `before`: under the same headings, at least 0.8 alike, and each
    the other's only candidate. `given` are ids that a person wrote: those are never guessed at."""
    old, new = list(before), list(after)
    stayed = {task.id for task in old} & {task.id for task in new} | set(given)
    gone = [task for task in old if task.id not in stayed][:_MOST_COMPARED]
    came = [task for task in new if task.id not in stayed][:_MOST_COMPARED]
    candidates = {task.id: tuple(each.id for each in gone if _alike(each, task)) for task in came}
    wanted = [old_id for ids in candidates.values() for old_id in ids]
    same, ambiguous = {}, {}
    for new_id, ids in candidates.items():
        if len(ids) == 1 and wanted.count(ids[0]) == 1:
            same[new_id] = ids[0]
        elif ids:
            ambiguous[new_id] = ids
    return Renames(same, ambiguous)


def _alike(one: Known, other: Known) -> bool:
    if one.path != other.path:
        return False
    from difflib import SequenceMatcher  # only where a task is gone and another has come

    match = SequenceMatcher(
        None, one.title[:_COMPARED].casefold(), other.title[:_COMPARED].casefold(), autojunk=False
    )
    return match.real_quick_ratio() >= SIMILAR and match.quick_ratio() >= SIMILAR and match.ratio() >= SIMILAR
