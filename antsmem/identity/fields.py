"""Reads the members of a JSON object one by one: missing, of another type or left over is `IntegrityError`."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from antsmem.core.errors import IntegrityError


def to_base64(data: bytes) -> str:
    """How bytes stand in our JSON: RFC 4648 base64 with padding."""
    return base64.b64encode(data).decode()


class Fields:
    """The members of one JSON object. `what` names it in errors; values are never shown."""

    def __init__(self, value: object, what: str) -> None:
        self._what = what
        if not isinstance(value, dict):
            raise IntegrityError(f"{what} is not an object")
        self._left: dict[str, Any] = dict(value)

    def text(self, name: str) -> str:
        """A text."""
        value = self._take(name)
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of `choices`."""
        value = self.text(name)
        if value not in choices:
            raise self._wrong(name)
        return value

    def number(self, name: str) -> int:
        """An integer from 0."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(name)
        return value

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def data(self, name: str, size: int | None = None) -> bytes:
        """Bytes in base64, `size` of them if given."""
        text = self.text(name)
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._wrong(name) from None
        if to_base64(value) != text:  # a byte has one spelling
            raise self._wrong(name)
        if size is not None and len(value) != size:
            raise self._wrong(name)
        return value

    def object(self, name: str) -> dict[str, Any]:
        """An object."""
        value = self._take(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return value

    def has(self, name: str) -> bool:
        """Whether the member is there (still)."""
        return name in self._left

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        value = self._take(name)
        if not isinstance(value, list):
            raise self._wrong(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name)
        return tuple(values)

    def end(self) -> None:
        """Nothing may be left over."""
        if self._left:
            raise IntegrityError(f"{self._what} has a member `{min(self._left)[:40]!r}` that is not known")

    def _take(self, name: str) -> Any:
        if name not in self._left:
            raise IntegrityError(f"{self._what} has no member `{name}`")
        return self._left.pop(name)

    def _wrong(self, name: str) -> IntegrityError:
        return IntegrityError(f"member `{name}` of {self._what} is not what it should be")
