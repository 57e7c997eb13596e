"""Blobs without a server: one file each, named by the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from antsmem.core.disk import disk_error, make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError
from antsmem.memory.embedded.place import folder_of

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """A folder with `blobs/<first two letters>/<digest>`."""

    def __init__(self, root: Path) -> None:
        self._root = root / "blobs"

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The blobs in the folder that `url` names; it need not exist. No options."""
        return cls(folder_of(url, options))

    def put(self, sha256: str, data: bytes) -> None:
        """Keep `data`, see `Blob.put`."""
        path = self._path(sha256)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"a blob does not have the digest `{sha256[:12]}…` it is put under")
        if not path.exists():
            make_private_dir(path.parent)
            write_file(path, [data])

    def get(self, sha256: str) -> bytes:
        """The bytes, see `Blob.get`."""
        try:
            data = read_file(self._path(sha256))
        except NotFoundError:
            raise NotFoundError(f"blob `{sha256[:12]}…` is not there") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(
                f"blob `{sha256[:12]}…` is damaged",
                hint=f"move `{self._path(sha256)}` aside, then: antsmem backend rebuild blob",
            )
        return data

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        return self._path(sha256).is_file()

    def delete(self, sha256: str) -> None:
        """Forget it."""
        path = self._path(sha256)
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            raise disk_error("delete", path, error) from error

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise UsageError("a blob is named by 64 hex digits")
        return self._root / sha256[:2] / sha256
