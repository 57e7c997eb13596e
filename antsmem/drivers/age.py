"""Provider `age`: the agent's own keystore, the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from antsmem.core.errors import NotFoundError
from antsmem.identity.provider import Abilities, Host, Value, cannot, only
from antsmem.identity.secret import usable

_READABLE = ("active", "superseded")


class AgeProvider:
    """Reads what the keystore holds; writing is done by whom `host.save` names."""

    def __init__(self, name: str, host: Host) -> None:
        self._name = name
        self._host = host
        self.can = Abilities(write=host.save is not None, list=True, versions=True, compare_and_set=True)

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """It has no options."""
        only(options, (), (), name)
        return cls(name, host)

    def get(self, name: str, version: str = "") -> Value:
        """The active version, or the one named if it is active or superseded."""
        if not version:
            found = usable(self._host.secrets(), name)
            return Value(found.value, str(found.version))
        for secret in self._host.secrets():
            if secret.name == name and str(secret.version) == version and secret.state in _READABLE:
                return Value(secret.value, version)
        raise NotFoundError(f"secret `{name}` has no version `{version}` to be read", hint="antsmem secret list")

    def put(self, name: str, value: bytes, expected: str | None = None) -> str:
        """As a new active version."""
        if self._host.save is None:
            raise cannot(self._name, "written here")
        return self._host.save(name, value, expected)

    def names(self) -> list[str]:
        """Of all secrets that have an active version."""
        return sorted({secret.name for secret in self._host.secrets() if secret.state == "active"})

    def versions(self, name: str) -> list[str]:
        """Active and superseded ones."""
        held = [each for each in self._host.secrets() if each.name == name and each.state in _READABLE]
        return [str(number) for number in sorted(each.version for each in held)]
