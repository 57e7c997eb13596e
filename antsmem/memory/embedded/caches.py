"""The cache without a server: the newest rows of this process, the least recently used ones dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Final, Self

from antsmem.core.errors import ConfigError
from antsmem.memory.roles import Row

MAX_BYTES: Final = 64 << 20


class MemoryCache:
    """Rows in memory, at most `max_bytes` of values."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self._max_bytes = max_bytes
        self._size = 0
        self._lock = Lock()

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """An empty cache for `memory:`. Option `max_bytes`."""
        text = options.get("max_bytes", str(MAX_BYTES))
        if url not in {"memory:", "memory://"} or set(options) - {"max_bytes"} or not text.isdecimal():
            raise ConfigError(f"`{url}` with these options is no cache in memory", hint="memory: max_bytes=NUMBER")
        return cls(int(text))

    def get(self, key: str) -> Row | None:
        """The row, or None."""
        with self._lock:
            if (row := self._rows.get(key)) is not None:
                self._rows.move_to_end(key)
            return row

    def set_if_newer(self, key: str, row: Row) -> bool:
        """Put `row` if it is newer, see `Cache.set_if_newer`."""
        with self._lock:
            before = self._rows.get(key)
            if before is not None and before.version >= row.version:
                return False
            self._size += len(row.value) - (len(before.value) if before else 0)
            self._rows[key] = row
            self._rows.move_to_end(key)
            while self._size > self._max_bytes:
                self._size -= len(self._rows.popitem(last=False)[1].value)
            return True

    def delete(self, key: str) -> None:
        """Forget the row."""
        with self._lock:
            if (row := self._rows.pop(key, None)) is not None:
                self._size -= len(row.value)

    def close(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self._size = 0
