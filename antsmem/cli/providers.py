"""Which provider a reference means, and its value: which is masked in all output from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from antsmem.cli.context import named
from antsmem.cli.get import newest_secrets
from antsmem.core.config import ProviderConfig, resolve
from antsmem.core.errors import ConfigError, NotFoundError, UsageError
from antsmem.identity.provider import Host, Provider
from antsmem.identity.reference import (
    DEFAULT_PROVIDER,
    MAX_VALUE_BYTES,
    Reference,
    member,
    parse_reference,
)

if TYPE_CHECKING:
    from antsmem.cli.context import Context

OWN_PROVIDERS: Final = ("age", "aws", "credentials", "env", "exec", "keyring", "vault")


class Secrets:
    """The providers of one run, each opened when a reference first names it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._opened: dict[str, Provider] = {}

    def provider(self, name: str) -> Provider:
        """The provider that the operator calls `name`; `age` is always there."""
        if name not in self._opened:
            config = self._config(name)
            options = {key: self._option(name, key, text) for key, text in config.options.items()}
            host = Host(self._context.environment, lambda: newest_secrets(self._context))
            self._opened[name] = provider_class(config.kind).open(name, options, host)
        return self._opened[name]

    def value(self, reference: Reference | str) -> bytes:
        """What `reference` means. `NotFoundError` if there is no such secret, and what the provider raises."""
        if isinstance(reference, str):
            reference = parse_reference(reference)
        value = self.provider(reference.provider).get(reference.name).data
        if len(value) > MAX_VALUE_BYTES:
            raise UsageError(f"secret `{reference.name}` is longer than {MAX_VALUE_BYTES} bytes: not used")
        self._context.output.hide(lambda: [(reference.name, value)])
        if not reference.key:
            return value
        part = member(value, reference.key, reference.name)
        self._context.output.hide(lambda: [(f"{reference.name}#{reference.key}", part)])
        return part

    def _config(self, name: str) -> ProviderConfig:
        for config in self._context.operator.providers:
            if config.name == name:
                return config
        if name == DEFAULT_PROVIDER:
            return ProviderConfig(name, name)
        raise NotFoundError(
            f"no provider is named `{name}`", hint=f"add it to `providers` in {self._context.operator_file}"
        )

    def _option(self, name: str, key: str, text: str) -> str:
        if text.startswith("secret://"):
            raise ConfigError(f"option `{key}` of provider `{name}` cannot be a secret of a provider")
        value = resolve(text, self._context.environment)
        if value != text:
            self._context.output.hide(lambda: [(f"{name}.{key}", value.encode(errors="surrogateescape"))])
        return value


def provider_class(kind: str) -> type[Provider]:
    """The driver of a kind."""
    absent = f"no provider is of kind `{kind}`"
    found: type[Provider] = named("antsmem.secrets", kind, OWN_PROVIDERS, "Provider", absent)
    return found


def plain_environment(environment: Mapping[str, str], more: tuple[str, ...] = ()) -> dict[str, str]:
    """What a program that gets secrets needs of `environment`, and the variables named in `more`."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.startswith("LC_") or name in more
    }


_PASSED: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TMPDIR", "TZ"),
        *("LANG", "LANGUAGE", "TERM", "COLORTERM", "NO_COLOR", "XDG_RUNTIME_DIR"),
    }
)
