"""Provider `keyring`: the desktop's keyring (Secret Service, KWallet, Keychain), by the library `keyring`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Self

from antsmem.core.errors import DriverMissingError, NotFoundError, RefusedError, UsageError
from antsmem.identity.provider import Abilities, Host, Value, cannot, only

SERVICE: Final = "antsmem"


class KeyringProvider:
    """One entry a secret: the service is the same for all, the account is the secret's name."""

    can = Abilities(write=True)

    def __init__(self, name: str, service: str) -> None:
        self._name = name
        self._service = service

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """Option `service`: under which the entries stand, `antsmem` if not given."""
        only(options, ("service",), (), name)
        return cls(name, options.get("service", SERVICE))

    def get(self, name: str, version: str = "") -> Value:
        """The entry's password, which is text."""
        if version:
            raise cannot(self._name, "read by version")
        text = self._call(lambda library: library.get_password(self._service, name), "give")
        if text is None:
            raise NotFoundError(f"the keyring has no entry `{name}` of `{self._service}`")
        return Value(str(text).encode())

    def put(self, name: str, value: bytes, expected: str | None = None) -> str:
        """As the entry's password; it must be UTF-8. A keyring keeps no versions and cannot compare."""
        if expected is not None:
            raise cannot(self._name, "compared before they are written")
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise UsageError("a keyring holds text only, and this value is no UTF-8") from None
        self._call(lambda library: library.set_password(self._service, name, text), "take")
        return ""

    def names(self) -> NoReturn:
        """Not possible: the library has no way to list."""
        raise cannot(self._name, "listed")

    def versions(self, name: str) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "listed by version")

    def _call(self, action: Callable[[Any], Any], verb: str) -> Any:
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            raise DriverMissingError.library("keyring", "keyring") from None
        try:
            return action(keyring)
        except KeyringError as error:
            kind = type(error).__name__
            raise RefusedError(f"the keyring did not {verb} it ({kind})", hint="is it unlocked?") from None
