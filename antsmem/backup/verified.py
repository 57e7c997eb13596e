"""A store that reads back what it wrote: a lying or lossy one is found while the original is still there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self

from antsmem.backup.store import Capabilities, Store, Stored
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, UsageError


class VerifiedStore:
    """Wraps `inner`. `how` is `hash`: compare the size, and the SHA-256 where the store computed one, that it
    reports; or `read`: fetch every byte again. A difference is an `IntegrityError`: the write did not happen."""

    def __init__(self, inner: Store, how: str) -> None:
        self.inner = inner
        self.how = how
        self.url = inner.url
        self.local = inner.local

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`."""
        return self.inner.capabilities

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """Not by URL: it wraps a store that was opened by its own driver."""
        raise UsageError(f"`{url}` names no store")

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        """See `Store.put`."""
        self.inner.put(name, parts, new=new, durable=durable)
        self._require(name, sum(map(len, parts)), lambda: _sha256(parts))

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        """See `Store.upload`."""
        sha256, size = hashlib.sha256(), 0

        def passing() -> Iterator[Buffer]:
            nonlocal size
            for chunk in chunks:
                sha256.update(chunk)
                size += len(chunk)
                yield chunk

        self.inner.upload(name, passing())
        self._require(name, size, sha256.hexdigest)

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        """See `Store.swap`."""
        self.inner.swap(name, data, expected)
        self._require(name, len(data), lambda: _sha256([data]))

    def _require(self, name: str, size: int, written: Callable[[], str]) -> None:
        """Compare what the store has now with the size and, where it can be known, the SHA-256 that were
        written."""
        found = self.inner.stat(name)
        told = found.sha256 if found else None
        if found is not None and self.how == "read":
            told = _sha256(self.inner.download(name))
        if found is None or found.size_bytes != size or (told is not None and told != written()):
            raise IntegrityError(
                f"`{self.url}` did not keep `{name}` as it was written", hint="see `antsmem repository test`"
            )

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Store.get`."""
        return self.inner.get(name, start, length)

    def download(self, name: str) -> Iterator[bytes]:
        """See `Store.download`."""
        return self.inner.download(name)

    def stat(self, name: str) -> Stored | None:
        """See `Store.stat`."""
        return self.inner.stat(name)

    def list(self, folder: str) -> list[Stored]:
        """See `Store.list`."""
        return self.inner.list(folder)

    def names(self, folder: str) -> Sequence[str]:
        """See `Store.names`."""
        return self.inner.names(folder)

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        self.inner.delete(name)

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See `Store.read`."""
        return self.inner.read(name)

    def sweep(self, older_than_ns: int) -> int:
        """See `Store.sweep`."""
        return self.inner.sweep(older_than_ns)

    def close(self) -> None:
        """See `Store.close`."""
        self.inner.close()


def _sha256(parts: Iterable[Buffer]) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()
