"""Provider `env`: environment variables, only those that the operator listed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NoReturn, Self

from antsmem.core.errors import NotFoundError
from antsmem.identity.provider import Abilities, Host, Value, cannot, only


class EnvProvider:
    """Reads variables of this process's environment."""

    can = Abilities(list=True)

    def __init__(self, name: str, allowed: frozenset[str], environment: Mapping[str, str]) -> None:
        self._name = name
        self._allowed = allowed
        self._environment = environment

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """Option `names`: the variables that may be read, with spaces between."""
        only(options, ("names",), ("names",), name)
        return cls(name, frozenset(options["names"].split()), host.environment)

    def get(self, name: str, version: str = "") -> Value:
        """The variable `name`; an empty one counts as missing."""
        if version:
            raise cannot(self._name, "read by version")
        if name not in self._allowed:
            raise NotFoundError(
                f"provider `{self._name}` does not list `{name}`",
                hint=f"add it to `providers.{self._name}.names` in ~/.config/antsmem/config.yaml",
            )
        if not self._environment.get(name):
            raise NotFoundError(f"environment variable `{name}` is not set")
        return Value(os.fsencode(self._environment[name]))

    def put(self, name: str, value: bytes, expected: str | None = None) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "written")

    def names(self) -> list[str]:
        """The listed variables that are set."""
        return sorted(name for name in self._allowed if self._environment.get(name))

    def versions(self, name: str) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "listed by version")
