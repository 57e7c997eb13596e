"""Provider `aws`: AWS Secrets Manager, by the library `boto3`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
)
from antsmem.core.retry import timeout_seconds
from antsmem.identity.provider import Abilities, Host, Value, cannot, only

_OPTIONS: Final = (
    *("region", "endpoint", "profile", "access_key_id", "secret_access_key", "session_token"),
    *("prefix", "timeout_seconds"),
)
_HINT: Final = "see `antsmem config show --origin` for the provider's options"
_LATER: Final = {"InternalServiceError", "ThrottlingException", "ServiceUnavailable", "RequestLimitExceeded"}


class AwsProvider:
    """Asks for each secret; nothing is kept here."""

    can = Abilities(write=True, list=True, versions=True)

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self._name = name
        self._options = options
        self._prefix = options.get("prefix", "")
        self._api: Any = None

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """Options: `region`, `prefix` before every name, `endpoint` of another server, `timeout_seconds`; keys as
        `access_key_id`, `secret_access_key`, `session_token` or `profile`, else what AWS tools find."""
        only(options, _OPTIONS, (), name)
        if ("access_key_id" in options) != ("secret_access_key" in options):
            raise ConfigError(f"`access_key_id` and `secret_access_key` of provider `{name}` go together")
        timeout_seconds(options)
        return cls(name, options)

    def get(self, name: str, version: str = "") -> Value:
        """The current version, or the one with this id. Text is given as UTF-8."""
        which = {"VersionId": version} if version else {}

        def read(api: Any) -> Value:
            found = api.get_secret_value(SecretId=self._prefix + name, **which)
            text = found.get("SecretString")
            return Value(bytes(found["SecretBinary"]) if text is None else text.encode(), str(found["VersionId"]))

        value: Value = self._call(read, "give", name)
        return value

    def put(self, name: str, value: bytes, expected: str | None = None) -> str:
        """As the current version; the secret is made where there is none. The service cannot compare."""
        if expected is not None:
            raise cannot(self._name, "compared before they are written")
        try:
            held: dict[str, Any] = {"SecretString": value.decode()}
        except UnicodeDecodeError:
            held = {"SecretBinary": value}
        place = self._prefix + name
        try:
            made = self._call(lambda api: api.put_secret_value(SecretId=place, **held)["VersionId"], "take", name)
        except NotFoundError:
            made = self._call(lambda api: api.create_secret(Name=place, **held)["VersionId"], "take", name)
        return str(made)

    def names(self) -> list[str]:
        """All names with the prefix, without it."""

        def pages(api: Any) -> list[str]:
            filters = [{"Key": "name", "Values": [self._prefix]}] if self._prefix else []
            listed = api.get_paginator("list_secrets").paginate(Filters=filters)
            return [str(each["Name"]) for page in listed for each in page["SecretList"]]

        names: list[str] = self._call(pages, "list", self._prefix)
        return sorted(each.removeprefix(self._prefix) for each in names if each.startswith(self._prefix))

    def versions(self, name: str) -> list[str]:
        """Those that have a stage: the current one, the one before."""

        def listed(api: Any) -> list[str]:
            found = api.list_secret_version_ids(SecretId=self._prefix + name)["Versions"]
            current_last = sorted(found, key=lambda it: ("AWSCURRENT" in it["VersionStages"], it["CreatedDate"]))
            return [str(each["VersionId"]) for each in current_last]

        versions: list[str] = self._call(listed, "list", name)
        return versions

    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        options, seconds = self._options, timeout_seconds(self._options)
        session = boto3.session.Session(
            aws_access_key_id=options.get("access_key_id"),
            aws_secret_access_key=options.get("secret_access_key"),
            aws_session_token=options.get("session_token"),
            profile_name=options.get("profile"),
            region_name=options.get("region"),
        )
        return session.client(
            "secretsmanager",
            endpoint_url=options.get("endpoint"),
            config=Config(connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 2}),
        )

    def _call(self, action: Callable[[Any], Any], verb: str, name: str) -> Any:
        try:
            from botocore import exceptions as sdk
        except ImportError:
            raise DriverMissingError.library("boto3", "aws") from None
        try:
            self._api = self._api or self._client()
            return action(self._api)
        except sdk.ClientError as error:
            raise self._answer(error, verb, name) from None
        except (sdk.HTTPClientError, sdk.ConnectionError, OSError) as error:
            kind = type(error).__name__
            raise BackendError(f"provider `{self._name}` does not answer: {kind}", hint=_HINT) from None
        except (AttributeError, LookupError, RecursionError, TypeError, UnicodeError):  # of what is not there
            raise RefusedError(
                f"provider `{self._name}` does not answer like Secrets Manager", hint=_HINT
            ) from None
        except (sdk.BotoCoreError, ValueError) as error:
            kind = type(error).__name__
            raise ConfigError(
                f"provider `{self._name}` cannot be used as configured: {kind}", hint=_HINT
            ) from None

    def _answer(self, error: Any, verb: str, name: str) -> AntsmemError:
        """Our error for one of the service's, of which nothing but a one-word code is repeated."""
        word = str(error.response.get("Error", {}).get("Code", ""))
        word = word if re.fullmatch(r"[A-Za-z0-9.]{1,64}", word) else "error"
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if word == "ResourceNotFoundException":
            return NotFoundError(f"provider `{self._name}` holds no `{name}`")
        if word in _LATER or status >= 500:
            return BackendError(f"provider `{self._name}` cannot answer now: {word}", hint=_HINT)
        return RefusedError(f"provider `{self._name}` did not {verb} `{name}`: {word}", hint=_HINT)
