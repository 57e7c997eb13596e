"""What antsmem asks of anything that keeps secrets: one protocol, with flags for what not everybody can do.

A driver turns every failure into one of our errors and never lets the other side's text into it: nobody knows what
that repeats. Missing: `NotFoundError`; not allowed: `RefusedError`; no answer: `BackendError`; changed by somebody
else: `ConflictError`; its library is missing: `DriverMissingError`; options that cannot be meant: `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol, Self

from antsmem.core.errors import ConfigError, UsageError
from antsmem.core.record import field, record
from antsmem.identity.secret import Secret


@record
class Abilities:
    """What a provider can do besides reading."""

    write: bool = False
    list: bool = False
    versions: bool = False
    """It keeps older versions, and `get` takes their names."""
    compare_and_set: bool = False
    """`put` with `expected` is decided by the provider itself: of two writers one wins."""


@record
class Value:
    """A secret's value; `repr` does not show it. `version` is empty where the provider has none."""

    data: bytes = field(repr=False)
    version: str = ""


@record
class Host:
    """What a provider may need of the program around it, given instead of looked up."""

    environment: Mapping[str, str]
    secrets: Callable[[], Iterable[Secret]]
    """All versions of the keystore's secrets; opens it."""
    save: Callable[[str, bytes, str | None], str] | None = None
    """Put a secret into the keystore, as `Provider.put` does; None where it cannot be written."""


class Provider(Protocol):
    """Something that keeps secrets."""

    can: Abilities

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """The provider that the operator calls `name`. Nothing is asked yet; an unknown option is refused."""
        ...

    def get(self, name: str, version: str = "") -> Value:
        """The secret `name`: the version that counts now, or the one named, where it can `versions`."""
        ...

    def put(self, name: str, value: bytes, expected: str | None = None) -> str:
        """Store `value` as the newest version and give its name. With `expected` only if that is the newest now
        (empty: if there is none), else `ConflictError`."""
        ...

    def names(self) -> list[str]:
        """The names of all secrets, sorted."""
        ...

    def versions(self, name: str) -> list[str]:
        """The versions of one secret that can be read, oldest first."""
        ...


def only(options: Mapping[str, str], known: Collection[str], required: Collection[str], name: str) -> None:
    """`ConfigError` unless all `options` of the provider `name` are `known` and those `required` are there."""
    for option in options:
        if option not in known:
            there = f"there are {', '.join(f'`{each}`' for each in sorted(known))}" if known else "it takes none"
            raise ConfigError(f"provider `{name}` has no option `{option}`: {there}", hint=_HINT)
    for option in required:
        if option not in options:
            raise ConfigError(f"provider `{name}` needs the option `{option}`", hint=_HINT)


def cannot(name: str, what: str) -> UsageError:
    """The error for what a provider is not able to do: `written`, `listed`, …"""
    return UsageError(f"the secrets of provider `{name}` cannot be {what}", hint="see docs/how-to/providers")


_HINT = "edit `providers` in ~/.config/antsmem/config.yaml"
