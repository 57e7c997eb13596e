"""NOW.md: what the agent is at, in four lines that a restart begins with; everything else in it is a person's.

- Objective: publish the newsletter
- Next action: ask Kim for the pictures
- Blocked by: the login to the mailer
- Must not: send anything before Friday
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from antsmem.core.disk import disk_error, read_file, write_file
from antsmem.core.errors import ConflictError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.workspace.layout import Layout

LABELS: Final = {
    "objective": "Objective",
    "next_action": "Next action",
    "blocked": "Blocked by",
    "forbidden": "Must not",
}
"""Member of `Now` → how its line begins, in the order of a new file."""

LONGEST: Final = 2000
"""Characters of one entry, at most."""

_LIMIT: Final = 1 << 20
_OTHER_NAMES: Final = {"next": "next_action", "blocked": "blocked", "forbidden": "forbidden"}
_KEYS: Final = {label.lower(): key for key, label in LABELS.items()} | _OTHER_NAMES
_LINE: Final = re.compile(
    r"(?P<start>[ \t]*(?:[-*+][ \t]+)?(?:\*\*|__)?)(?P<label>" + "|".join(map(re.escape, _KEYS)) + r")"
    r"(?P<colon>(?:\*\*|__)?[ \t]*:(?:\*\*|__)?)[ \t]*(?P<text>[^\r\n]*)(?P<end>\r?\n?)",
    re.IGNORECASE,
)
_UNWRITABLE: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@record
class Now:
    """What NOW.md says; empty where it says nothing. `path` is where it is, `found` whether it is there."""

    path: Path
    found: bool
    objective: str = ""
    next_action: str = ""
    blocked: str = ""
    forbidden: str = ""


def read_now(layout: Layout) -> Now:
    """What NOW.md says. No file is no error; `UsageError` where it cannot be read or is larger than 1 MiB."""
    path = layout.root / "NOW.md"
    try:
        text = read_file(path, _LIMIT).decode("utf-8", "replace")
    except NotFoundError:
        return Now(path, False)
    found: dict[str, str] = {}
    for line in _outside_comments(text):
        if match := _LINE.fullmatch(line):
            found.setdefault(_KEYS[match["label"].lower()], match["text"].strip())
    return Now(path, True, **found)


def write_now(layout: Layout, changes: Mapping[str, str]) -> Now:
    """Let NOW.md say `changes` (members of `Now`; an empty text clears one) and keep every other byte. The file is
    made if there is none.

    Raises `UsageError` for a text that is too long, and `ConflictError` where somebody wrote the file meanwhile.
    """
    clean = {key: _UNWRITABLE.sub(" ", text).strip() for key, text in changes.items()}
    for key, text in clean.items():
        if len(text) > LONGEST:
            raise UsageError(f"`{LABELS[key]}` is longer than {LONGEST} characters: nothing written")
    path = layout.root / "NOW.md"
    before, mode = _standing(path)
    if before is None:
        lines = "".join(f"- {label}: {clean.get(key, '')}".rstrip() + "\n" for key, label in LABELS.items())
        write_file(path, [f"# Now\n\n{lines}".encode()], mode=0o600, new=True)
        return read_now(layout)
    data = before.decode("utf-8", "surrogateescape")
    after = _changed(data, clean).encode("utf-8", "surrogateescape")
    if after != before:
        if _standing(path)[0] != before:
            raise ConflictError(f"somebody else wrote `{path}` at the same time: nothing written")
        write_file(path, [after])
        os.chmod(path, mode)
    return read_now(layout)


def _changed(text: str, changes: Mapping[str, str]) -> str:
    """`text` with the values of some lines changed, and the missing lines added behind the last one there is."""
    left, lines = dict(changes), text.splitlines(keepends=True)
    shown = _outside_comments(text)
    last = -1
    for at, line in enumerate(lines):
        match = _LINE.fullmatch(line) if shown[at] == line else None
        if match is None:
            continue
        last, key = at, _KEYS[match["label"].lower()]
        if key in left:
            value = left.pop(key)
            lines[at] = (
                match["start"] + match["label"] + match["colon"] + (f" {value}" if value else "") + match["end"]
            )
    end = "\r\n" if "\r\n" in text else "\n"
    new = [f"- {LABELS[key]}: {value}{end}" for key, value in left.items() if value]
    if new:
        last = len(lines) - 1 if last < 0 else last
        if last >= 0 and not lines[last].endswith(("\n", "\r")):
            lines[last] += end
        lines[last + 1 : last + 1] = new
    return "".join(lines)


def _outside_comments(text: str) -> list[str]:
    """The lines of `text`; those that begin in an HTML comment or a fence are empty."""
    found, comment, fence = [], False, False
    for line in text.splitlines(keepends=True):
        marks = line.lstrip().startswith(("```", "~~~"))
        hidden = comment or fence or marks
        fence ^= marks and not comment
        found.append("" if hidden else line)
        if not fence:
            comment = line.rfind("<!--") > line.rfind("-->") or (comment and "-->" not in line)
    return found


def _standing(path: Path) -> tuple[bytes | None, int]:
    """The bytes and the mode of the file that is there; None where there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None, 0
    except OSError as error:
        raise disk_error("read", path, error) from error
    return read_file(path, _LIMIT), stat.S_IMODE(status.st_mode)
