"""Read a schedule from a heading or a tag: a full match of the table of phrases, or nothing; never a guess.

Bounded: headings are cut at 200 characters, and no expression here can look at one character in two ways.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

from antsmem.core.record import record
from antsmem.heartbeat import phrases
from antsmem.heartbeat.schedule import (
    DAY,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    WEEK,
    WORKDAYS,
    Days,
    Every,
    Schedule,
    Tick,
    cron_of,
    parse_duration,
)

_LONGEST: Final = 200
_CLOCK: Final = re.compile(
    r"(?P<h12>1[0-2]|0?[1-9])(?::(?P<m12>[0-5]\d))? ?(?P<half>[ap])m"
    r"|(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?! ?[ap]m)(?: uhr| h)?"
    r"|(?P<hour>[01]?\d|2[0-3])(?: uhr|[点點時](?!間)(?:(?P<minute>[0-5]?\d)分)?)"
)
_BRACKET: Final = re.compile(r"[(\[【]([^()\[\]【】]*)[)\]】]$")
_NUMBERED: Final = re.compile(r"\d{1,3}[.)] ")
_RANGE: Final = re.compile(r"\d ?- ?\d")
_WORD: Final = re.compile(r"[a-z][a-z-]*")
_EDGES: Final = " *_`:-•·|,."
_DROPPED: Final = {"So", "Sk", "Cf", "Mn", "Cs", "Co"}
"""Categories of characters that say nothing here: pictures, accents, what is invisible. Japanese voicing marks are
among them, and kept."""
_DASHES: Final = dict.fromkeys(map(ord, "‐‑‒–—―−〜～"), "-")
_ABOUT_BASE: Final = re.compile(r"~?\d{1,4} ?(?:m|min|mins|minutes|h|hours?)")
_COUNTED: Final = re.compile(
    r"(\d{1,5}) ?([^\d\s]{1,8})|([a-z]{3,6}) ([a-z]{1,8})|([一二两兩三四五六八十]?)([^\d\s]{1,8})"
)


@record
class Reading:
    """A heading that was understood: its schedule, and what it says besides."""

    schedule: Schedule
    title: str


def plain(text: str) -> str:
    """`text` in the form of the table: width and case folded, no accents, symbols or mark-up, single spaces."""
    kept = [
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFKD", text[:_LONGEST].translate(_DASHES))
        if character.isascii()
        or "\u3099" <= character <= "\u309a"
        or unicodedata.category(character) not in _DROPPED
    ]
    folded = unicodedata.normalize("NFC", "".join(kept)).lower()
    return _bare(" ".join(folded.replace("*", "").replace("`", "").replace("__", "").split()))


def _bare(said: str) -> str:
    """`said` without what decorates its edges. A sign or a point right before a digit is no decoration: without
    it, `-5m` and `.5h` would be five minutes and five hours."""
    bare = said.strip(_EDGES)
    sign = said.rstrip(_EDGES)[: -len(bare)][-1:]
    return sign + bare if bare[:1].isdigit() and sign in {"-", ".", ","} else bare


def read_heading(text: str) -> Reading | None:
    """What a heading says about time, if the whole of it or its last bracket says nothing else; None leaves the
    section as it is. A heading longer than 200 characters says nothing."""
    if len(text) > _LONGEST:
        return None
    before, bracket = _last_bracket(text)
    said = _NUMBERED.sub("", plain(text), count=1)
    whole = _cron_in(text) or cadence(said)
    if whole is not None:
        return Reading(whole, text)
    if (cron := _cron_in(bracket)) is not None:
        return Reading(cron, before)
    found = _BRACKET.search(said)
    if found is None:
        return None
    rest, inner = _bare(said[: found.start()]), _bare(found[1])
    if (both := cadence(f"{rest} {inner}")) is not None:
        return Reading(both, text)
    schedule = Tick() if rest in phrases.TICKS and _ABOUT_BASE.fullmatch(inner) else cadence(inner)
    if schedule is None or not (isinstance(schedule, Tick) or _agrees(rest, schedule)):
        return None
    return Reading(schedule, before)


def time_like(text: str) -> bool:
    """Whether `text`, which was not understood, speaks of recurring times all the same: worth showing."""
    said = plain(text)
    return bool(_CLOCK.search(said)) or _speaks_of_time(said)


def parse_every(text: str) -> Schedule:
    """The value of a tag's `every`: `30m`, `4 hours`, `weekdays 09:00`, five fields of cron, or any phrase of the
    table. `ValueError`, with what is wrong, for anything else."""
    said = plain(text)
    schedule: Schedule | None
    try:
        schedule = Every(parse_duration(said))
    except ValueError:
        schedule = cron_of(text) or cadence(said) or cadence(f"every {said}")
    if schedule is None:
        raise ValueError("is no schedule: write `30m`, `weekdays 09:00` or five fields of cron")
    if isinstance(schedule, Every) and not SHORTEST_SECONDS <= schedule.seconds <= LONGEST_SECONDS:
        raise ValueError("is not between a minute and a year")
    return schedule


def cadence(said: str) -> Schedule | None:
    """The schedule that `said`, in the form of `plain`, is a phrase for; None if it is not exactly that."""
    if said in phrases.TICKS:
        return Tick()
    if (known := phrases.PERIODS.get(said)) is not None:
        return known
    if (every := _interval(said)) is not None:
        return every
    rest, minutes = _take_times(said)
    if minutes is None:
        return None
    if not rest:
        return Days(minutes=minutes) if minutes else None
    named = phrases.PERIODS.get(rest)
    if isinstance(named, Days) and named.span == "day":
        return Days(named.weekdays, minutes)
    weekdays = () if said in phrases.OTHER_MEANINGS else _weekdays(rest)
    return Days(weekdays, minutes) if weekdays else None


def _cron_in(text: str) -> Schedule | None:
    """`text` as cron, but not five stars: those are an ornament, or a good hotel."""
    return cron_of(text.strip(" `")) if any(character.isdigit() for character in text) else None


def _interval(said: str) -> Schedule | None:
    """`every 4 hours`, `每 2 小时`, `2時間ごと`."""
    before = next((word for word in phrases.EVERY if said.startswith(word)), "")
    middle = said[len(before) :]
    if before.isascii() and before and not middle.startswith(" "):
        return None
    after = next((word for word in phrases.AFTER if middle.endswith(word)), "")
    middle = middle[: len(middle) - len(after)].strip()
    if not before and after not in phrases.AFTER_ALONE:
        return None
    found = _COUNTED.fullmatch(middle)
    if found is None or (seconds := phrases.UNITS.get(found[2] or found[4] or found[6])) is None:
        return None
    if not found[1] and len(middle) == 1 and middle.isascii():  # `every m` is no way to write a minute
        return None
    count = int(found[1] or phrases.COUNTS.get(found[3] or found[5], 0 if found[3] else 1))
    if not SHORTEST_SECONDS <= count * seconds <= LONGEST_SECONDS:
        return None
    if count == 1 and seconds >= DAY:
        return Days(span="week" if seconds == WEEK else "day")
    return Every(count * seconds)


def _take_times(said: str) -> tuple[str, tuple[int, ...] | None]:
    """`said` without the times of day at its start or end, and those, in minutes, rising. None where times stand
    in several places or are joined by something that is not in the table."""
    found = list(_CLOCK.finditer(said))
    if not found:
        return said, ()
    for one, other in pairwise(found):
        between = said[one.end() : other.start()].strip()
        if between not in phrases.BETWEEN:
            return said, None
    head, tail = said[: found[0].start()], said[found[-1].end() :]
    if (head and head[-1].isalnum() and head[-1].isascii()) or (tail and tail[0].isalnum() and tail[0].isascii()):
        return said, None
    head = head.strip(" ,")
    for word in phrases.BEFORE_TIMES:
        if head == word or head.endswith((f" {word}", word) if not word.isascii() else f" {word}"):
            head = head[: len(head) - len(word)].strip(" ,")
            break
    tail = tail.strip(" ,")
    if head and tail:
        return said, None
    minutes = tuple(sorted({_minute(match) for match in found}))
    return head or tail, minutes


def _minute(match: re.Match[str]) -> int:
    if match["half"]:
        return (int(match["h12"]) % 12 + (12 if match["half"] == "p" else 0)) * 60 + int(match["m12"] or 0)
    return int(match["h"] or match["hour"]) * 60 + int(match["m"] or match["minute"] or 0)


def _weekdays(said: str) -> tuple[int, ...]:
    """The weekdays that `said` lists; none if it says anything else."""
    for word in sorted(phrases.BEFORE_DAYS, key=len, reverse=True):
        if said.startswith(f"{word} " if word.isascii() else word) and (found := _listed(said[len(word) :])):
            return found
    return _listed(said)


def _listed(said: str) -> tuple[int, ...]:
    text = said
    for word in phrases.BETWEEN:
        text = text.replace(f" {word} " if word.isalpha() and word.isascii() else word, "|")
    names = [name.strip() for name in text.strip(" ()[],").split("|")]
    days = {phrases.DAYS.get(name, -1) for name in names if name}
    return () if -1 in days else tuple(sorted(days))


def _agrees(rest: str, schedule: Schedule) -> bool:
    """Whether nothing in `rest` says something about time that `schedule` does not."""
    if isinstance(schedule, Tick):
        kind = ""
    elif isinstance(schedule, Every):
        kind = "hour" if schedule.seconds == 3600 else ""
    elif isinstance(schedule, Days):
        kind = schedule.span
        if schedule.weekdays == WORKDAYS:
            kind = "weekdays"
        elif schedule.span == "day" and len(schedule.weekdays) == 1:
            kind = "week"
    else:
        kind = ""
    return not _speaks_of_time(rest, phrases.AGREEING.get(kind, frozenset())) and not _CLOCK.search(rest)


def _speaks_of_time(said: str, but: frozenset[str] = frozenset()) -> bool:
    words = set(_WORD.findall(said)) - but
    return bool(
        words & phrases.WORDS or _RANGE.search(said) or any(sign in said for sign in {*phrases.SIGNS} - but)
    )


def _last_bracket(text: str) -> tuple[str, str]:
    """What stands before the bracket that `text` ends with, and in it."""
    place = max(text.rfind(opening) for opening in "([（［【")
    return (text[:place].strip(), text[place + 1 :].rstrip(" *_`:")[:-1]) if place >= 0 else (text, "")
