"""HEARTBEAT.md as lines: which are headings, items, prose, and which say nothing: fences, comments, empty bullets.

Every byte of the file belongs to exactly one line. Nothing is refused: bytes that are no UTF-8 are read as U+FFFD.
A comment is `<!-- … -->` over any number of lines; what stands beside it on a line still counts. A fence is one of
CommonMark: three or more backticks or tildes, up to a line of as many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

from antsmem.core.record import mutable_record, record

MAX_BYTES: Final = 128 * 1024
"""A larger file is not read: nothing that a person wrote by hand is."""

_BEGUN: Final = re.compile(rb"(?:\xef\xbb\xbf)?---[ \t]*\r?\n(?:[a-z]+[ \t]*:.*\n){0,10}?heartbeat[ \t]*:")
"""What starts as front matter of ours does."""


class Kind(Enum):
    """What a line is."""

    BLANK = "blank"
    HEADING = "heading"
    ITEM = "item"
    TEXT = "text"
    TABLE = "table"
    RULE = "rule"
    STUB = "stub"  # a bullet, a box, a table's rule: nothing in it
    FENCE = "fence"  # the marks and what is between them
    COMMENT = "comment"
    HASHED = "hashed"  # a task behind a `#`, as in a configuration file: commented out
    MATTER = "matter"  # front matter


WORK: Final = frozenset({Kind.ITEM, Kind.TEXT, Kind.TABLE})
"""Lines that ask for something."""


@record
class Line:
    """A line of the file: `start` and `end` are its bytes, with its line end; `text` is it without comments.

    `level` is 1 to 6 for a heading, else the width of the indentation. `said` is what follows the mark of a
    heading or an item; `box` the character in an item's `[ ]`, if it has one.
    """

    number: int
    start: int
    end: int
    kind: Kind
    text: str
    level: int = 0
    said: str = ""
    box: str = ""


@record
class Document:
    """The lines of a file, and what is odd about them: (line, warning)."""

    lines: tuple[Line, ...]
    warnings: tuple[tuple[int, str], ...]


_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?")
_ITEM: Final = re.compile(r"([ \t]*)(?:[-*+•]|\d{1,9}[.)])(?:[ \t]+(.*))?")
_BOX: Final = re.compile(r"\[([ xX~!/-])\](?:[ \t]+(.*))?")
_FENCE: Final = re.compile(r"[ \t]*(?:(?:[-*+•]|\d{1,9}[.)])[ \t]+)?(`{3,}|~{3,})(.*)")
_RULES: Final = ("-", "*", "_", "=")
_HASHED: Final = re.compile(r"[ \t]*#+(?:[ \t]*[-*+]|\d{1,3}[.)]|\[[ xX]\])[ \t]+\S.*")
_TABLE_RULE: Final = re.compile(r"[ \t]*\|[ \t:|-]*")


@mutable_record
class _Place:
    """What is open at the end of a line: the mark of a fence, a comment, and since when."""

    fence: str = ""
    comment: bool = False
    since: int = 0


def read_document(data: bytes) -> Document:
    """The lines of the file with these bytes."""
    place = _Place()
    lines, warnings = [], []
    matter = _front_matter(data)
    if not matter and _BEGUN.match(data):
        warnings.append((1, "front matter opens here and never ends: read as text"))
    bad = False
    for number, (start, end) in enumerate(_bounds(data), 1):
        raw = data[start:end].rstrip(b"\r\n")
        text = raw.decode("utf-8", "replace")
        if not bad and "\ufffd" in text and b"\xef\xbf\xbd" not in raw:
            bad = True
            warnings.append((number, "holds bytes that are no UTF-8: read as `\ufffd`"))
        if number == 1:
            text = text.removeprefix("\ufeff")
        if number <= matter:
            lines.append(Line(number, start, end, Kind.MATTER, text))
        else:
            lines.append(_line(number, (start, end), text, place))
    if place.fence or place.comment:
        what = "fence" if place.fence else "comment"
        warnings.append((place.since, f"a {what} opens here and never ends: nothing below is a task"))
    warnings += [
        (line.number, "is commented out with `#`: does not run") for line in lines if line.kind is Kind.HASHED
    ]
    return Document(tuple(lines), tuple(sorted(warnings)))


def front_matter(data: bytes) -> bytes:
    """What stands between the two `---` at the top of the file; nothing where there are none."""
    bounds = list(_bounds(data))[: _front_matter(data)]
    return data[bounds[0][1] : bounds[-1][0]] if bounds else b""


def _bounds(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield start, end
        start = end


def _front_matter(data: bytes) -> int:
    """How many lines at the top are front matter, with its marks."""
    if not data.removeprefix(b"\xef\xbb\xbf").startswith(b"---"):
        return 0
    for number, (start, end) in enumerate(_bounds(data), 1):
        if number > 100:
            break
        if data[start:end].removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").rstrip() == b"---":
            if number > 1:
                return number
        elif number == 1:
            break
    return 0


def _line(number: int, bounds: tuple[int, int], text: str, place: _Place) -> Line:
    if place.fence:
        mark = text.strip()
        if len(mark) >= len(place.fence) and not mark.strip(place.fence[0]):
            place.fence = ""
        return Line(number, *bounds, Kind.FENCE, text, _width(text))
    shown = _without_comments(text, place, number)
    if not shown.strip():
        kind = Kind.BLANK if not text.strip() else Kind.COMMENT
        return Line(number, *bounds, kind, shown, _width(text))
    fence = _FENCE.fullmatch(shown)
    if fence and not (fence[1][0] == "`" and "`" in fence[2]):
        place.fence, place.since = fence[1], number
        return Line(number, *bounds, Kind.FENCE, shown, _width(shown))
    return _plain_line(number, bounds, shown)


def _plain_line(number: int, bounds: tuple[int, int], text: str) -> Line:
    bare = text.strip()
    if _HASHED.fullmatch(text):
        return Line(number, *bounds, Kind.HASHED, text, _width(text))
    if heading := _HEADING.fullmatch(text):
        said = (heading[2] or "").strip()
        closing = said.rstrip("#")
        if closing != said and (not closing or closing[-1] in " \t"):
            said = closing.strip()
        return Line(number, *bounds, Kind.HEADING, text, len(heading[1]), said)
    marks = set(bare.replace(" ", "").replace("\t", ""))
    if len(marks) == 1 and marks & {*_RULES} and bare.count(next(iter(marks))) >= 3:
        return Line(number, *bounds, Kind.RULE, text)
    if bare.startswith("|"):
        kind = Kind.STUB if _TABLE_RULE.fullmatch(text) else Kind.TABLE
        return Line(number, *bounds, kind, text, _width(text))
    if item := _ITEM.fullmatch(text):
        said, box = (item[2] or "").strip(), ""
        if found := _BOX.fullmatch(said):
            box, said = found[1], (found[2] or "").strip()
        return Line(number, *bounds, Kind.ITEM if said else Kind.STUB, text, _width(text), said, box)
    return Line(number, *bounds, Kind.TEXT, text, _width(text), bare)


def _without_comments(text: str, place: _Place, number: int) -> str:
    """`text` without what is in comments; notes in `place` whether one is still open."""
    kept = []
    position = 0
    while position < len(text):
        if place.comment:
            end = text.find("-->", position)
            if end < 0:
                break
            place.comment, position = False, end + 3
        else:
            begin = text.find("<!--", position)
            kept.append(text[position : begin if begin >= 0 else len(text)])
            if begin < 0:
                break
            place.comment, place.since, position = True, number, begin + 4
    return "".join(kept)


def _width(text: str) -> int:
    """How far a line is indented; a tab goes to the next multiple of four."""
    width = 0
    for character in text:
        if character == " ":
            width += 1
        elif character == "\t":
            width += 4 - width % 4
        else:
            break
    return width
