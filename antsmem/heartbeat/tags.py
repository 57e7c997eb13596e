"""Tags: `{every="weekdays 09:00" catchup=latest grace=4h}` behind a heading or an item, and what they say.

`@heartbeat every=30m` is read as the same. A tag opens with `{`, a word and `=`, or with a word that may stand
alone; other braces are text. A tag that cannot be read is an error of its task: nothing in it holds.
"""

from __future__ import annotations

import re
from typing import Final

from antsmem.core.errors import UsageError
from antsmem.core.record import record, replace
from antsmem.heartbeat.cadence import parse_every
from antsmem.heartbeat.schedule import DAY, LONGEST_SECONDS, Once, Schedule, parse_duration

KEYS: Final = ("id", "every", "at", "catchup", "grace", "timeout", "effect", "verify", "budget", "tz")
FLAGS: Final = ("once", "urgent")
CATCHUPS: Final = ("latest", "all", "none")
EFFECTS: Final = ("hold", "pure", "idempotent", "verify", "retry")
PROSE_ID: Final = "heartbeat"
"""The id of the task that is all prose; no other may have it."""

ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
_BUDGET: Final = re.compile(r"\d{1,9}(?:\.\d{1,6})?(?:usd|tokens)")
_OPEN: Final = re.compile(r"\{\s{0,8}([A-Za-z][A-Za-z_-]{0,19})\s{0,8}(?:(=)|(?=[\s,}]))")
_DIRECTIVE: Final = re.compile(r"(?:^|\s)@heartbeat\s{1,8}(?=[a-z]{2,10}=)")
_WORD: Final = re.compile(
    r"""[\s,]*([A-Za-z][A-Za-z_-]{0,19})(?:\s{0,8}=\s{0,8}("[^"]*"|'[^']*'|[^\s,"'{}=]+))?"""
)
_LONGEST_TAG: Final = 1000


@record
class Options:
    """What tags say; None is what nobody said, for which there are defaults.

    `effect` is what happens when it is not known whether the task was done; `budget` a number with `usd` or
    `tokens`; `verify` a command as text, which only the operator can allow; `tz` an IANA name.
    """

    id: str | None = None
    schedule: Schedule | None = None
    catchup: str = "latest"
    grace_seconds: int | None = None
    timeout_seconds: int | None = None
    effect: str = "hold"
    verify: str | None = None
    budget: str | None = None
    tz: str | None = None
    urgent: bool = False


@record
class Tag:
    """A tag that was found: what it says, or why it cannot be read."""

    options: Options
    error: str = ""


def split_tag(text: str) -> tuple[str, Tag | None]:
    """`text` without the tag that it ends with, and that tag; None where there is none."""
    directive = _DIRECTIVE.search(text)
    if directive is not None:
        return text[: directive.start()].rstrip(), parse_tag(text[directive.end() :].strip())
    stripped = text.rstrip()
    opened = _OPEN.finditer(stripped, max(len(stripped) - _LONGEST_TAG, 0))
    found = [each for each in opened if each[2] or each[1].lower() in FLAGS]
    if not stripped.endswith("}"):
        if found and found[-1][1].lower() in KEYS and "}" not in stripped[found[-1].start() :]:
            return stripped[: found[-1].start()].rstrip(), Tag(Options(), "the tag never ends: `}` is missing")
        return text, None
    tags: list[tuple[str, Tag | None]] = [
        (stripped[: each.start()].rstrip(), parse_tag(stripped[each.start() + 1 : -1])) for each in found
    ]
    good = [(rest, tag) for rest, tag in tags if tag is not None and not tag.error]
    return (good or tags[-1:] or [(text, None)])[0]


def parse_tag(said: str) -> Tag:
    """The tag whose braces hold `said`."""
    try:
        return Tag(_options(_words(said)))
    except ValueError as error:
        return Tag(Options(), str(error))


def _words(said: str) -> dict[str, str]:
    """Key → value; a word that stands alone has the value ''."""
    if len(said) > _LONGEST_TAG:
        raise ValueError(f"the tag is longer than {_LONGEST_TAG} characters")
    words: dict[str, str] = {}
    place = 0
    while said[place:].strip(" \t,"):
        found = _WORD.match(said, place)
        if found is None:
            raise ValueError(f"cannot read the tag from `{_shown(said[place:].strip())}` on")
        key, value = found[1].lower(), found[2]
        if (value is None) != (key in FLAGS):
            _unknown(key)
            raise ValueError(f"`{key}` has no value" if value is None else f"`{key}` takes no value")
        if key in words:
            raise ValueError(f"`{key}` stands there twice")
        words[key] = (value or "").strip("\"'").strip()
        place = found.end()
        if place < len(said) and said[place] not in " \t,":
            raise ValueError(f"cannot read the tag from `{_shown(said[place:])}` on")
    return words


def _unknown(key: str) -> None:
    if key not in KEYS and key not in FLAGS:
        from difflib import get_close_matches

        near = get_close_matches(key, (*KEYS, *FLAGS), 1, 0.6)
        meant = f"did you mean `{near[0]}`?" if near else f"there are {', '.join((*KEYS, *FLAGS))}"
        raise ValueError(f"unknown key `{key}`: {meant}")


def _options(words: dict[str, str]) -> Options:
    options = Options(schedule=_schedule(words), urgent="urgent" in words)
    for key, value in words.items():
        _unknown(key)
        match key:
            case "id":
                if not ID.fullmatch(value) or value == PROSE_ID:
                    raise ValueError("`id` is a-z, 0-9, `.`, `_`, `-`, at most 64, and not `heartbeat`")
                options = replace(options, id=value)
            case "catchup":
                options = replace(options, catchup=_one_of(key, value, CATCHUPS))
            case "effect":
                options = replace(options, effect=_one_of(key, value, EFFECTS))
            case "grace":
                options = replace(options, grace_seconds=_duration(key, value, LONGEST_SECONDS))
            case "timeout":
                options = replace(options, timeout_seconds=_duration(key, value, DAY))
            case "budget":
                if not _BUDGET.fullmatch(value.lower()):
                    raise ValueError("`budget` is such as `0.50usd` or `20000tokens`")
                options = replace(options, budget=value.lower())
            case "verify":
                if not value or not value.isprintable():
                    raise ValueError("`verify` is not a command on one line")
                options = replace(options, verify=value)
            case "tz":
                options = replace(options, tz=zone_name(value))
    if "effect" not in words and options.verify:
        return replace(options, effect="verify")
    if (options.effect == "verify") != (options.verify is not None):
        raise ValueError("`effect=verify` and a `verify` command belong together")
    return options


def _schedule(words: dict[str, str]) -> Schedule | None:
    if "at" in words or "once" in words:
        if "every" in words:
            raise ValueError("`every` and `once` exclude each other")
        at = words.get("at")
        if at is not None:
            from antsmem.heartbeat.slots import wall_seconds

            try:
                wall_seconds(at)
            except UsageError:
                raise ValueError(
                    "`at` is such as `2026-12-01 09:00`, on the clock of the task's time zone"
                ) from None
        return Once(at)
    if "every" not in words:
        return None
    try:
        return parse_every(words["every"])
    except ValueError as error:
        raise ValueError(f"`every` {error}") from None


def zone_name(value: str) -> str:
    """`value` if it has the form of a time zone's name, else `ValueError`. Whether this host knows it is seen when
    it is needed."""
    if not _ZONE.fullmatch(value):
        raise ValueError("`tz` is an IANA name such as `Europe/Lisbon`")
    return value


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"`{key}` is one of {', '.join(allowed)}")
    return value


def _duration(key: str, value: str, longest: int) -> int:
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= longest:
        raise ValueError(f"`{key}` is a time such as `90s`, `15m`, `4h` or `1d`, at most {longest // DAY}d")
    return seconds


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:40])
