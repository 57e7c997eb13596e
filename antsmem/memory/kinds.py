"""How a file is merged, by its name: a daily log, Markdown, a guarded file, or as a whole."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["daily", "text", "guarded", "whole"]

GUARDED: Final = frozenset({"SOUL.md", "AGENTS.md", "IDENTITY.md", "POLICY.md"})
"""Files at the top that say what the agent is and may do: two versions of them are for a human to choose from."""

_DAILY: Final = re.compile(r"memory/[0-9]{4}-[0-9]{2}-[0-9]{2}\.md")


def kind_of(path: str) -> Kind:
    """The kind of the file at `path` (relative to the workspace)."""
    if path in GUARDED:
        return "guarded"
    if _DAILY.fullmatch(path):
        return "daily"
    return "text" if path.endswith(".md") else "whole"


_NAME_BYTES: Final = 255
_LONGEST_ENDING: Final = 64
_BESIDE: Final = re.compile(r"\.(?:conflict|proposal)[^/]*-([0-9A-Z]{10})(?:\.[^/.]*)?$")


def beside(path: str, word: str, device: str, revision: str) -> str:
    """Where what did not come in at `path` stands: `photo.conflict-laptop-01JD3Q….png`. `word` is `conflict` or
    `proposal`."""
    folder, slash, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _LONGEST_ENDING:
        stem, dot, ending = name, "", ""
    marked = f".{word}-{device.partition('~')[0]}-{revision[-10:]}{dot}{ending}"
    room = _NAME_BYTES - len(marked.encode())
    return f"{folder}{slash}{stem[:80].encode()[:room].decode(errors='ignore')}{marked}"


def revision_beside(path: str) -> str:
    """The last letters of the revision that `beside` named `path` for; empty if it is no such name."""
    found = _BESIDE.search(path)
    return found[1] if found else ""
