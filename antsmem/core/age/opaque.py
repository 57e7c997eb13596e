"""Values that hold a key: compared like values, and shown by nothing but their own accessor."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Opaque:
    """Immutable, equal and hashed by type and content. `repr`, `str`, pickling and copying reveal nothing:
    pickling is refused and a copy is the same object, so `dataclasses.asdict` does not take it apart either."""

    __slots__ = ("_content",)
    _content: bytes

    def __init__(self, content: bytes) -> None:
        object.__setattr__(self, "_content", content)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"`{type(self).__name__}` does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"`{type(self).__name__}` does not change")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._content, other._content)

    def __hash__(self) -> int:
        return hash((type(self), self._content))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __copy__(self) -> Opaque:
        return self

    def __deepcopy__(self, memo: object) -> Opaque:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"`{type(self).__name__}` holds a key: it is not pickled")
