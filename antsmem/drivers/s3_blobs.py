"""Blobs in a bucket: objects named by the SHA-256 of what they hold, which S3 checks too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Self

from antsmem.core.errors import IntegrityError, UsageError
from antsmem.drivers.s3 import S3Store

_match_digest = re.compile(r"[0-9a-f]{64}").fullmatch


class S3Blobs:
    """A bucket, or a prefix in one, as a blob store, by the driver that keeps repositories there."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The blobs at `s3://bucket/prefix?endpoint=…&region=…`; the options are those of a repository in S3."""
        return cls(S3Store.open(url, options))

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._store.url

    def put(self, sha256: str, data: bytes) -> None:
        """Keep `data`, see `Blob.put`. What is there already is the same, and is written again."""
        name = _name(sha256)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"bytes for the blob `{sha256[:12]}` have another digest: not written")
        self._store.put(name, [data])

    def get(self, sha256: str) -> bytes:
        """The bytes, see `Blob.get`."""
        data = self._store.get(_name(sha256))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"blob `{sha256[:12]}` in `{self.url}` is not what was put there")
        return data

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        return self._store.stat(_name(sha256)) is not None

    def delete(self, sha256: str) -> None:
        """Forget it; `RefusedError` where the option `append_only` is set."""
        self._store.delete(_name(sha256))

    def close(self) -> None:
        """End the connections."""
        self._store.close()


def _name(sha256: str) -> str:
    """`ab/ab34…`: stores that have folders do not get one of a million names."""
    if not _match_digest(sha256):
        raise UsageError(f"`{sha256[:80]}` is no SHA-256 in hex")
    return f"{sha256[:2]}/{sha256}"
