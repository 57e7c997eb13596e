"""The class of every path: portable, machine-bound, secret or derived, and why.

* portable: in the backup. What no rule names is portable.
* machine-bound: means something on this host only. Its name is recorded, its content is not read.
* secret: never in a backup. Its name is recorded, its content is offered to the keystore.
* derived: made again from something else. Its name is recorded, its content is not read.

The built-in rules are in `rules.py`; `agent.yaml` may add its own. That file travels with the agent and is not
trusted, so it can never turn a built-in secret into anything else, nor touch antsmem's own files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from antsmem.core.record import record
from antsmem.workspace.layout import HOME
from antsmem.workspace.rules import COPY_SUFFIXES, RULES, SQLITE_SIDES, PathClass, Rule

CLASSES: Final[tuple[PathClass, ...]] = ("portable", "secret", "derived", "machine-bound")
"""In the order in which the rules of `agent.yaml` are asked."""

_REVISION: Final = 1
"""Goes into `Classifier.digest`: raise it when the code below judges differently with the same rules."""

MOST_GLOBS: Final = 1000
"""How many globs a class may have in `agent.yaml`."""

_SIDES: Final = (b"~", *SQLITE_SIDES)
_OWN: Final = HOME.encode()


@record
class Verdict:
    """Why a path is not portable. `rule` is the pattern that said so, or the key in `agent.yaml`."""

    path_class: PathClass
    rule: str
    reason: str


class _Row(NamedTuple):
    """A rule made ready: what the name must start and end with, where it must be, what follows."""

    verdict: Verdict
    rank: int
    folded: bool
    start: bytes
    end: bytes
    open: bool  # something may stand between start and end
    dotted: bool  # … and must hold a dot
    place: bytes  # b"" = anywhere, b"/" = at the top, else the directories before the name

    def matches(self, name: bytes, relative: bytes) -> bool:
        if self.folded:
            name, relative = name.lower(), relative.lower()
        if self.place == b"/":
            if relative != name:
                return False
        elif self.place and not (b"/" + relative).endswith(b"/" + self.place + b"/" + name):
            return False
        middle = len(name) - len(self.start) - len(self.end)
        if middle < 0 or (middle > 0 and not self.open):
            return False
        if not (name.startswith(self.start) and name.endswith(self.end)):
            return False
        return not self.dotted or b"." in name[: -len(self.end)]


class _Table:
    """The rules by what is cheap to look up in a name: the whole, the extension, the first two bytes."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.names: dict[bytes, list[_Row]] = {}
        self.extensions: dict[bytes, list[_Row]] = {suffix: [] for suffix in COPY_SUFFIXES}
        self.starts: dict[bytes, list[_Row]] = {}
        self.directories: dict[bytes, list[_Row]] = {}
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        pattern = rule.pattern
        where, _, text = pattern.rstrip("/").rpartition("/")
        place = b"/" if pattern.startswith("/") else where.encode()
        start, star, end = text.encode().partition(b"*")
        dotted = end.startswith(b".*.")
        row = _Row(
            Verdict(rule.path_class, pattern, rule.reason),
            rank=("portable", "secret", "derived", "machine-bound").index(rule.path_class),
            folded=rule.path_class in {"portable", "secret"},
            start=start,
            end=end[2:] if dotted else end,
            open=bool(star),
            dotted=dotted,
            place=place,
        )
        if row.folded:
            row = row._replace(start=start.lower(), end=row.end.lower(), place=place.lower())
        if pattern.endswith("/"):
            self.directories.setdefault(start.lower(), []).append(row)
        elif not star:
            self.names.setdefault(start.lower(), []).append(row)
        elif start:
            self.starts.setdefault(start[:2].lower(), []).append(row)
        else:
            self.extensions.setdefault(row.end.lower(), []).append(row)

    def file(self, name: bytes, relative: bytes) -> Verdict | None:
        lower = name.lower()
        rows = [
            row
            for rows in (
                self.names.get(lower, ()),
                self.extensions.get(lower[lower.rfind(b".") :], ()),
                self.starts.get(lower[:2], ()),
            )
            for row in rows
            if row.matches(name, relative)
        ]
        if rows:
            return min(rows, key=lambda row: row.rank).verdict
        for suffix in (*_SIDES, *COPY_SUFFIXES):
            if lower.endswith(suffix) and len(lower) > len(suffix):
                return self.copied(name[: -len(suffix)], relative[: -len(name)])
        return None

    def copied(self, name: bytes, folder: bytes) -> Verdict | None:
        """The verdict on a copy of `name`: vim puts a dot before it, so that is tried without as well."""
        for original in (name, name.removeprefix(b".")):
            verdict = self.file(original, folder + original) if original else None
            if verdict is not None and verdict.path_class == "secret":
                return verdict
        return None

    def directory(self, name: bytes, relative: bytes) -> Verdict | None:
        for row in self.directories.get(name.lower(), ()):
            if row.matches(name, relative):
                return row.verdict
        return None


_BUILT_IN: Final = _Table(RULES)
_GIT_LOCK: Final = Verdict("machine-bound", ".git/**/*.lock", "lock of a git command on this host")


class Classifier:
    """Tells the class of paths. `globs` are the rules of `agent.yaml` by class; `glob_fault` says which are valid.

    Raises `ValueError` for a glob that is not.
    """

    def __init__(self, globs: Mapping[PathClass, Sequence[str]] | None = None) -> None:
        self._globs = {name: tuple((globs or {}).get(name, ())) for name in CLASSES}
        self._own = [
            (_own_verdict(name), _compiled(patterns, directory=False), _compiled(patterns, directory=True))
            for name, patterns in self._globs.items()
            if patterns
        ]

    @property
    def digest(self) -> bytes:
        """32 bytes that change when any path might be judged differently."""
        import hashlib

        parts = [_REVISION, RULES, sorted(COPY_SUFFIXES), SQLITE_SIDES, self._globs]
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()

    def classify_file(self, name: bytes, relative: bytes) -> Verdict | None:
        """The verdict on anything that is not a directory; None = portable.

        `relative` is the whole path from the top of the workspace, `name` its last part.
        """
        table, verdict = _BUILT_IN, None
        lower = name.lower()
        if (
            lower in table.names
            or lower[lower.rfind(b".") :] in table.extensions
            or lower[:2] in table.starts
            or name.endswith(_SIDES)
        ):
            verdict = table.file(name, relative)
            if b".git/" in relative:
                verdict = _in_git(verdict, name, relative)
            elif verdict is not None and verdict.path_class == "portable":
                verdict = None
        return self._asked(verdict, relative, directory=False) if self._own else verdict

    def classify_dir(self, name: bytes, relative: bytes) -> Verdict | None:
        """The verdict on a directory with everything below it; None = look inside."""
        verdict = None
        if name.lower() in _BUILT_IN.directories:
            verdict = _BUILT_IN.directory(name, relative)
            if b".git/" in relative:
                verdict = _in_git(verdict, name, relative)
        return self._asked(verdict, relative, directory=True) if self._own else verdict

    def _asked(self, verdict: Verdict | None, relative: bytes, *, directory: bool) -> Verdict | None:
        if verdict is not None and verdict.path_class == "secret":
            return verdict
        if _OWN in relative and (b"/" + relative + b"/").find(b"/" + _OWN + b"/") >= 0:
            return verdict
        for own, files, directories in self._own:
            if (directories if directory else files).fullmatch(relative):
                return None if own.path_class == "portable" else own
        return verdict


def _in_git(verdict: Verdict | None, name: bytes, relative: bytes) -> Verdict | None:
    """In a git repository names are branches and submodules: only its locks and real secrets are left out."""
    inside = (b"/" + relative).rpartition(b"/.git/")[2] if b"/.git/" in b"/" + relative else None
    if inside is None:
        return None if verdict is not None and verdict.path_class == "portable" else verdict
    if name.endswith(b".lock") or name == b"gc.pid":
        return _GIT_LOCK
    if verdict is None or verdict.path_class != "secret" or inside.startswith((b"refs/", b"logs/")):
        return None
    return verdict


def _own_verdict(path_class: PathClass) -> Verdict:
    return Verdict(path_class, f"classes.{path_class}", "a rule of this agent (`.antsmem/agent.yaml`)")


def glob_fault(glob: str) -> str | None:
    """What is wrong with a rule of `agent.yaml`; None if it is good.

    `*` stands for anything within a name, `?` for one byte, `**` as a whole part for any number of directories.
    Without a `/` before its end a glob holds at any depth, else from the top of the workspace; with a `/` at its
    end it holds for directories only. Everything else stands for itself.
    """
    if not glob.strip("/"):
        return "is empty"
    if len(glob) > 512:
        return "is longer than 512 characters"
    if not glob.strip("*?/. "):
        return "names nothing: it would match every path"
    parts = glob.strip("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "holds an empty part, `.` or `..`"
    if parts.count("**") > 2:
        return "holds `**` more than twice"
    return None


def _compiled(globs: Sequence[str], *, directory: bool) -> re.Pattern[bytes]:
    """One expression for all `globs`. Atomic groups keep a hostile glob from costing more than linear time."""
    if len(globs) > MOST_GLOBS:
        raise ValueError(f"more than {MOST_GLOBS} globs")
    alternatives = []
    for glob in globs:
        if (fault := glob_fault(glob)) is not None:
            raise ValueError(f"`{glob}` {fault}")
        if directory or not glob.endswith("/"):
            alternatives.append(_expression(glob))
    return re.compile("|".join(alternatives or ["(?!)"]).encode(), re.DOTALL)


def _expression(glob: str) -> str:
    body = glob.rstrip("/")
    anchored = "/" in body
    parts = body.lstrip("/").split("/")
    text = "" if anchored else "(?:.*/)?"
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _part(part) + ("" if last else "/")
    return f"(?:{text})"


def _part(part: str) -> str:
    """One name of a glob. The earliest place of each piece between two stars is always good enough."""
    first, *others = re.split(r"\*+", part)
    text = _piece(first)
    for number, piece in enumerate(others):
        if number == len(others) - 1:
            text += "[^/]*" + _piece(piece)
        else:
            text += f"(?>[^/]*?{_piece(piece)})"
    return text


def _piece(piece: str) -> str:
    return "".join("[^/]" if sign == "?" else re.escape(sign) for sign in piece)
