"""The boto3 client behind the `s3` driver: its settings, one way to call it, and its errors turned into ours."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from antsmem.backup.store import yes_or_no
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    IntegrityError,
    NotFoundError,
    RefusedError,
)
from antsmem.core.retry import retried, timeout_seconds

T = TypeVar("T")

_TRANSIENT: Final = {408, 409, 425, 429, 500, 502, 503, 504}
_HINTS: Final = {
    "NoSuchBucket": "make the bucket first; `antsmem repository init NAME` makes what belongs in it",
    "PermanentRedirect": "set the option `region`",
    "AuthorizationHeaderMalformed": "set the option `region`",
    "NoCredentials": "set the options `access_key_id` and `secret_access_key`, or `profile`",
    "PartialCredentials": "set the options `access_key_id` and `secret_access_key`, or `profile`",
    "SSL": "set the option `ca_file` if the server has a certificate of your own authority",
}


class S3Client:
    """`api` is boto3's client for S3, `refused` what it raises when S3 answers with an error; what is called
    through `run` raises our errors instead."""

    def __init__(self, url: str, settings: Mapping[str, str]) -> None:
        try:
            import boto3
            from botocore import exceptions
            from botocore.parsers import ResponseParserError
        except ImportError:
            raise DriverMissingError.library("boto3", "s3") from None
        if ("access_key_id" in settings) != ("secret_access_key" in settings):
            raise ConfigError("options `access_key_id` and `secret_access_key` go together")
        endpoint = settings.get("endpoint")
        if endpoint is not None and not re.fullmatch(r"https?://[^/@?#]+/?", endpoint):
            raise ConfigError("option `endpoint` must look like `https://host:port`")
        self._url = url
        self._bound = timeout_seconds(settings)
        self._sdk = exceptions
        self._lost: Any = (
            exceptions.HTTPClientError,
            exceptions.ConnectionError,
            exceptions.IncompleteReadError,
            ResponseParserError,
            OSError,
        )
        self.refused: Any = exceptions.ClientError
        ca_file = settings.get("ca_file")
        try:
            session = boto3.session.Session(
                aws_access_key_id=settings.get("access_key_id"),
                aws_secret_access_key=settings.get("secret_access_key"),
                aws_session_token=settings.get("session_token"),
                profile_name=settings.get("profile"),
                region_name=settings.get("region", "us-east-1" if endpoint else None),
            )
            self.api: Any = session.client(
                "s3",
                endpoint_url=endpoint,
                verify=None if ca_file is None else os.path.expanduser(ca_file),
                config=_config(settings, self._bound / 2),
            )
        except (exceptions.BotoCoreError, ValueError) as error:
            raise ConfigError(f"boto3 cannot work with these options: {_word(error)}") from error

    def run(self, action: Callable[[], T], verb: str, name: str) -> T:
        """What `action` returns, tried again while the store does not answer."""
        sdk = self._sdk

        def once() -> T:
            try:
                return action()
            except sdk.ClientError as error:
                raise self._answer(error, verb, name) from error
            except (sdk.FlexibleChecksumError, sdk.ChecksumError) as error:
                raise IntegrityError(f"`{name}` in `{self._url}` is not what its checksum says") from error
            except self._lost as error:
                word = _word(error)
                raise BackendError(f"`{self._url}` does not answer: {word}", hint=_HINTS.get(word)) from error
            except sdk.BotoCoreError as error:
                word = _word(error)
                raise RefusedError(
                    f"could not {verb} `{name}` in `{self._url}`: {word}", hint=_HINTS.get(word)
                ) from error

        return retried(once, self._bound)

    def _answer(self, error: Any, verb: str, name: str) -> AntsmemError:
        number, word = status(error), code(error)
        if number in _TRANSIENT or number < 300:  # an error in the body of a 200 is one that may pass
            return BackendError(f"`{self._url}` cannot answer now: {word} ({number})")
        if number == 404 and word != "NoSuchBucket":
            return NotFoundError(f"`{self._url}` holds no `{name}`")
        return RefusedError(f"`{self._url}` refused to {verb} `{name}`: {word} ({number})", hint=_HINTS.get(word))


def status(error: Any) -> int:
    """The HTTP status of a `ClientError`, 0 if it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: Any) -> str:
    """The S3 error code of a `ClientError`, which is one word; of anything else nothing is repeated."""
    word = str(error.response.get("Error", {}).get("Code", ""))
    return word if re.fullmatch(r"[A-Za-z0-9.]{1,64}", word) else "error"


def _config(settings: Mapping[str, str], silence_seconds: float) -> Any:
    from botocore.config import Config

    path_style = yes_or_no(settings, "path_style", default="endpoint" in settings)
    return Config(
        connect_timeout=silence_seconds,
        read_timeout=silence_seconds,
        retries={"total_max_attempts": 1},  # core/retry.py does that
        max_pool_connections=16,
        request_checksum_calculation="when_required",  # we give a SHA-256 with each write
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if path_style else "auto"},
    )


def _word(error: Exception) -> str:
    """The kind of an SDK error: its message may hold more than is fit to be shown."""
    return type(error).__name__.removesuffix("Error")
