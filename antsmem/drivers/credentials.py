"""Provider `credentials`: the files that systemd lays into `$CREDENTIALS_DIRECTORY` of a service.

https://systemd.io/CREDENTIALS: decrypted by the service manager (with a key of the host, a TPM, or both) into
memory that only the service can read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Self

from antsmem.core.disk import disk_error, read_file
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.identity.provider import Abilities, Host, Value, cannot, only
from antsmem.identity.reference import MAX_VALUE_BYTES

_OTHERS = 0o027


class CredentialsProvider:
    """Reads one file a secret, byte for byte."""

    can = Abilities(list=True)

    def __init__(self, name: str, directory: Path | None) -> None:
        self._name = name
        self._directory = directory

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """It has no options: systemd says where."""
        only(options, (), (), name)
        directory = host.environment.get("CREDENTIALS_DIRECTORY")
        return cls(name, Path(directory) if directory else None)

    def get(self, name: str, version: str = "") -> Value:
        """The file `name`: a regular one, root's or ours, that no other user can read."""
        if version:
            raise cannot(self._name, "read by version")
        if "/" in name:
            raise NotFoundError(f"a credential's name has no `/`: `{name}`")
        path = self._place() / name
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            raise NotFoundError(
                f"no credential is named `{name}`", hint=f"LoadCredentialEncrypted={name} in the service's unit"
            ) from None
        except OSError as error:
            raise disk_error("read", path, error) from None
        if not stat.S_ISREG(state.st_mode) or state.st_uid not in {0, os.geteuid()} or state.st_mode & _OTHERS:
            raise UsageError(f"credential `{path}` is not a private file of ours: refused")
        return Value(read_file(path, MAX_VALUE_BYTES))

    def put(self, name: str, value: bytes, expected: str | None = None) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "written")

    def names(self) -> list[str]:
        """The files that are there."""
        place = self._place()
        try:
            return sorted(entry.name for entry in os.scandir(place) if entry.is_file(follow_symlinks=False))
        except OSError as error:
            raise disk_error("list", place, error) from None

    def versions(self, name: str) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "listed by version")

    def _place(self) -> Path:
        if self._directory is None:
            raise NotFoundError(
                "there is no `$CREDENTIALS_DIRECTORY`: this is no systemd service with credentials",
                hint="LoadCredentialEncrypted=NAME in the service's unit",
            )
        return self._directory
