"""References to secrets, `secret://[provider/]name[#key]`: what the agent's files hold instead of values."""

from __future__ import annotations

import re
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError
from antsmem.core.record import record

DEFAULT_PROVIDER: Final = "age"
MAX_VALUE_BYTES: Final = 1 << 16
"""Of a secret, from wherever it comes."""

_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]*"
_FORM: Final = re.compile(
    rf"secret://(?:(?P<provider>[a-z][a-z0-9_-]{{0,63}})/)?(?P<name>{_NAME}(?:/{_NAME})*)(?:#(?P<key>{_NAME}))?"
)
_LONGEST: Final = 512


@record
class Reference:
    """The secret `name` of a provider; of a value that is a JSON object its member `key`, empty for the whole."""

    provider: str
    name: str
    key: str = ""

    def __str__(self) -> str:
        return f"secret://{self.provider}/{self.name}" + (f"#{self.key}" if self.key else "")


def parse_reference(text: str) -> Reference:
    """The reference in `text`, else `UsageError`.

    What stands before the first `/` is always the provider. Names hold letters, digits and `_.+=@-`; between
    slashes none is empty or begins with anything but a letter, a digit or `_`, so there is no way up.
    """
    found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or (found["provider"] is None and "/" in found["name"]):
        harmless = text.isprintable() and text.startswith("secret://") and len(text) <= _LONGEST
        shown = f"`{text}`" if harmless else "what is given"
        raise UsageError(f"{shown} is no reference", hint="write secret://NAME or secret://PROVIDER/NAME#KEY")
    return Reference(found["provider"] or DEFAULT_PROVIDER, found["name"], found["key"] or "")


def member(value: bytes, key: str, name: str) -> bytes:
    """The member `key` of the JSON object `value`, which is that of the secret `name`: text as UTF-8, everything
    else as JSON. `UsageError` if it is no such object, `NotFoundError` if it has no such member."""
    try:
        found = canonical.loads(value, MAX_VALUE_BYTES)
    except IntegrityError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"secret `{name}` is no JSON object, so it has no `{key}`", hint=f"leave out `#{key}`")
    if key not in found:
        raise NotFoundError(f"secret `{name}` has no member `{key}`")
    return as_bytes(found[key])


def as_bytes(value: Any) -> bytes:
    """A value from JSON as bytes: text as it is, everything else as JSON."""
    return value.encode() if isinstance(value, str) else canonical.dumps(value)
