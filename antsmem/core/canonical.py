"""One byte string for one JSON value: what is signed or hashed is written with `dumps` and read with `loads`.

The form is RFC 8785 (JCS) without floats: no white space, keys sorted by their UTF-16 code units, strings as
they are (never normalised), integers within ±(2^53 - 1). A value without floats has the same bytes here as in
any other JCS implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Final, NoReturn

from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, UsageError

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1
_TEXT: Final = frozenset({str})


def dumps(value: object) -> bytes:
    """The canonical bytes of `value`: None, bool, int, str, list, tuple and dict with str keys, nested.

    Anything else (a float, an integer beyond 2^53 - 1, a lone surrogate, 64 levels) raises `UsageError`.
    """
    plain = _check(value, 0)
    try:
        return _encoder(plain)(value if plain else _ordered(value)).encode()
    except UnicodeEncodeError:
        raise UsageError("canonical JSON cannot hold a lone surrogate") from None


def members(value: Mapping[str, object]) -> dict[str, bytes]:
    """The canonical bytes of each member of an object: `join` makes the object of them, or one with another member
    in it, and nothing is written twice."""
    return {key: dumps(key) + b":" + dumps(item) for key, item in value.items()}


def join(members: Mapping[str, bytes]) -> bytes:
    """The canonical bytes of the object with these `members`."""
    return b"{" + b",".join([members[key] for key in sorted(members, key=_code_units)]) + b"}"


def loads(data: Buffer, limit: int, *, fractions: bool = False) -> Any:
    """The value of the JSON text `data`, at most `limit` bytes of UTF-8; need not be in canonical form.

    Whatever `dumps` could not write again, and a key that stands twice in an object, raises `IntegrityError`. With
    `fractions` a number that is not an integer is no error: it is given as its text.
    """
    import json

    if len(data) > limit:
        raise IntegrityError(f"JSON of {len(data)} bytes: more than {limit} are never read")
    try:
        text = str(data, "utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=str if fractions else _float,
            parse_constant=_float,
        )
    except UnicodeDecodeError:
        raise IntegrityError("JSON is not UTF-8") from None
    except RecursionError:
        raise IntegrityError(f"JSON is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise IntegrityError(f"JSON is broken at character {error.pos}") from None
    try:
        if "\\u" in text:  # the only way to a lone surrogate
            dumps(value)
        else:
            _check(value, 0)
    except UsageError as error:
        raise IntegrityError(str(error)) from None
    return value


@cache
def _encoder(sorts: bool) -> Callable[[object], str]:
    """What writes a value as JSON; `sorts`: with every object's keys by their code points."""
    import json  # a wake that has nothing to do needs none

    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=sorts).encode


def _check(value: object, depth: int) -> bool:
    """Whether all keys are ASCII, so that code points are their order too; `UsageError` for what has no bytes."""
    if value is None or isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise UsageError("canonical JSON holds integers up to 2^53 - 1 only")
        return True
    if depth == MAX_DEPTH:
        raise UsageError(f"canonical JSON is nested deeper than {MAX_DEPTH} levels")
    plain = True
    inside: Collection[object]
    if isinstance(value, list | tuple):
        inside = value
    elif isinstance(value, dict):
        if not (_TEXT.issuperset(map(type, value)) or all(isinstance(key, str) for key in value)):
            raise UsageError("canonical JSON has text for keys only")
        plain, inside = "".join(value).isascii(), value.values()
    else:
        raise UsageError(f"canonical JSON cannot hold a `{type(value).__name__}`")
    if not _TEXT.issuperset(map(type, inside)):
        for item in inside:
            plain &= _check(item, depth + 1)
    return plain


def _ordered(value: object) -> object:
    """`value`, which was checked, with every object's keys by their UTF-16 code units."""
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=_code_units)}
    return value


def _code_units(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IntegrityError("JSON has a key that stands twice in an object")
    return found


def _integer(text: str) -> int:
    # Python refuses to read thousands of digits with a ValueError of its own: never let it try.
    if len(text) > len(str(-MAX_INTEGER)):
        raise IntegrityError("JSON has an integer beyond 2^53 - 1")
    return int(text)


def _float(text: str) -> NoReturn:
    raise IntegrityError("JSON has a number that is not an integer")
