"""Provider `vault`: a key/value engine, version 2, of HashiCorp Vault or OpenBao, by the library `hvac`.

A secret of ours is `{"value": TEXT}` there. One with other members is read as the JSON object that it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

from antsmem.core import canonical
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    ConflictError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from antsmem.core.retry import timeout_seconds
from antsmem.identity.provider import Abilities, Host, Value, only

_OPTIONS: Final = ("url", "token", "mount", "prefix", "namespace", "ca_file", "timeout_seconds")
_URL: Final = re.compile(r"https?://[^/@?#\s]+/?")
_HINT: Final = "see `antsmem config show --origin` for the provider's options"
_MEMBER: Final = "value"
_DEEPEST: Final = 16
_MOST_BYTES: Final = 16 << 20


class VaultProvider:
    """Asks the server for each secret; nothing is kept here."""

    can = Abilities(write=True, list=True, versions=True, compare_and_set=True)

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self._name = name
        self._options = options
        self._mount = options.get("mount", "secret")
        self._prefix = options.get("prefix", "").strip("/")

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """Options: `url` and `token`; `mount` of the engine (`secret`), `prefix` before every name, `namespace`,
        `ca_file`, `timeout_seconds`."""
        only(options, _OPTIONS, ("url", "token"), name)
        if not _URL.fullmatch(options["url"]):
            raise ConfigError(f"`url` of provider `{name}` must look like `https://host:port`")
        timeout_seconds(options)
        return cls(name, options)

    def get(self, name: str, version: str = "") -> Value:
        """The newest version, or the one numbered."""
        wanted = _number(version) if version else None
        found = self._call(
            lambda engine: engine.read_secret_version(
                self._path(name), version=wanted, mount_point=self._mount, raise_on_deleted_version=True
            ),
            "give",
            name,
        )
        try:
            data, number = found["data"]["data"], found["data"]["metadata"]["version"]
        except (KeyError, TypeError):
            raise self._strange() from None
        if not isinstance(data, dict):
            raise NotFoundError(f"provider `{self._name}` holds no `{name}`")
        plain = data.get(_MEMBER) if data.keys() == {_MEMBER} else None
        try:
            return Value(plain.encode() if isinstance(plain, str) else canonical.dumps(data), str(number))
        except UnicodeEncodeError:  # half a character
            raise self._strange() from None

    def put(self, name: str, value: bytes, expected: str | None = None) -> str:
        """As a new version; `expected` is the number of the one that must be newest now."""
        try:
            held = {_MEMBER: value.decode()}
        except UnicodeDecodeError:
            raise UsageError("the key/value engine holds text only, and this value is no UTF-8") from None
        cas = None if expected is None else _number(expected) if expected else 0
        made = self._call(
            lambda engine: engine.create_or_update_secret(
                self._path(name), held, cas=cas, mount_point=self._mount
            ),
            "take",
            name,
        )
        try:
            return str(made["data"]["version"])
        except (KeyError, TypeError):
            raise self._strange() from None

    def names(self) -> list[str]:
        """All names below the prefix, folders opened."""
        found: list[str] = []
        todo = [""]
        while todo:
            folder = todo.pop()
            keys = self._keys(folder)
            found += [folder + key for key in keys if not key.endswith("/")]
            todo += [folder + key for key in keys if key.endswith("/") and folder.count("/") < _DEEPEST]
        return sorted(found)

    def _keys(self, folder: str) -> list[str]:
        try:
            listed = self._call(
                lambda engine: engine.list_secrets(self._path(folder), mount_point=self._mount), "list", folder
            )
            return [str(key) for key in listed["data"]["keys"]]
        except NotFoundError:
            return []
        except (KeyError, TypeError):
            raise self._strange() from None

    def versions(self, name: str) -> list[str]:
        """Those that are neither deleted nor destroyed."""
        found = self._call(
            lambda engine: engine.read_secret_metadata(self._path(name), mount_point=self._mount), "list", name
        )
        try:
            held = found["data"]["versions"].items()
            numbers = [int(n) for n, each in held if not each["destroyed"] and not each["deletion_time"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._strange() from None
        return [str(number) for number in sorted(numbers)]

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _call(self, action: Callable[[Any], Any], verb: str, name: str) -> Any:
        try:
            import hvac
            from requests import exceptions as lost
        except ImportError:
            raise DriverMissingError.library("hvac", "vault") from None
        ca_file = self._options.get("ca_file")
        client = hvac.Client(
            url=self._options["url"].rstrip("/"),
            token=self._options["token"],
            namespace=self._options.get("namespace"),
            verify=os.path.expanduser(ca_file) if ca_file else True,
            timeout=timeout_seconds(self._options),
            allow_redirects=False,  # the token would follow
        )
        client.adapter.session.hooks["response"].append(self._bounded)
        try:
            found = action(client.secrets.kv.v2)
        except hvac.exceptions.VaultError as error:
            raise self._answer(error, verb, name) from None
        except (lost.RequestException, OSError) as error:
            kind = type(error).__name__
            raise BackendError(f"provider `{self._name}` does not answer: {kind}", hint=_HINT) from None
        except RecursionError:
            raise self._strange() from None
        finally:
            client.adapter.close()
        if not isinstance(found, dict):
            raise self._strange()
        return found

    def _bounded(self, response: Any, **_: object) -> None:
        """Let no more of an answer be read than one can hold."""
        stream = response.raw.stream

        def counted(*given: object, **named: object) -> Iterator[bytes]:
            size = 0
            for part in stream(*given, **named):
                size += len(part)
                if size > _MOST_BYTES:
                    raise RefusedError(
                        f"provider `{self._name}` sent more than {_MOST_BYTES >> 20} MiB: not read", hint=_HINT
                    )
                yield part

        response.raw.stream = counted

    def _answer(self, error: Any, verb: str, name: str) -> AntsmemError:
        """Our error for one of the server's, of which nothing but its kind is repeated."""
        kind = type(error).__name__
        if kind == "InvalidPath":
            return NotFoundError(f"provider `{self._name}` holds no `{name}`")
        if kind == "InvalidRequest" and "check-and-set" in str(error):
            return ConflictError(f"secret `{name}` of provider `{self._name}` was changed by somebody else")
        if kind in {"InternalServerError", "BadGateway", "VaultDown", "VaultNotInitialized", "RateLimitExceeded"}:
            return BackendError(f"provider `{self._name}` cannot answer now: {kind}", hint=_HINT)
        return RefusedError(f"provider `{self._name}` did not {verb} `{name}`: {kind}", hint=_HINT)

    def _strange(self) -> RefusedError:
        return RefusedError(f"provider `{self._name}` does not answer like a key/value engine 2", hint=_HINT)


def _number(version: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,9}", version):
        raise UsageError(f"`{version[:20]}` is no version: a whole number")
    return int(version)
