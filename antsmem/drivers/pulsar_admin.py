"""Pulsar's HTTP interface, as far as the `pulsar` driver needs it: to make its topic and see its policies."""

from __future__ import annotations

import http.client
import re
from typing import Final

from antsmem.core import canonical
from antsmem.core.errors import (
    BackendError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    RefusedError,
)
from antsmem.drivers.servers import Servers, Tls, check_secrecy

_ANSWER_BYTES: Final = 1 << 20
_TRANSIENT: Final = {408, 429, 500, 502, 503, 504}
_match_url = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?").fullmatch


class PulsarAdmin:
    """One server's interface at `url` (`https://host:8443`); `token` proves who asks, where it is not empty."""

    def __init__(self, url: str, tls: Tls | None, token: str, bound: float) -> None:
        found = _match_url(url)
        if found is None:
            raise ConfigError("option `admin_url` must look like `https://host:8443`")
        host, self._secure = found[2].strip("[]"), found[1] == "https"
        if token and not self._secure:
            check_secrecy(Servers(url, ((host, 0),), ""), None, "token")
        self._url, self._tls, self._bound = url, tls, bound
        self._host, self._port = host, int(found[3] or (443 if self._secure else 80))
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )

    def ask(self, method: str, path: str, body: object = None) -> object:
        """The answer to one request below `/admin/v2/`; None if it is empty, or if what was to be made is there
        already."""
        connection = self._connection()
        sent = None if body is None else canonical.dumps(body)
        try:
            connection.request(method, f"/admin/v2/{path}", sent, self._headers)
            answer = connection.getresponse()
            data = answer.read(_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            word = type(error).__name__.removesuffix("Error")
            raise BackendError(f"`{self._url}` does not answer: {word}", hint="antsmem backend test") from error
        finally:
            connection.close()
        if answer.status == 404:
            raise NotFoundError(f"`{self._url}` knows no `{path}`", hint="antsmem backend init")
        if answer.status in _TRANSIENT:
            raise BackendError(f"`{self._url}` cannot answer now ({answer.status})")
        if answer.status >= 300 and answer.status != 409:
            raise RefusedError(f"`{self._url}` refused `{method} {path}` ({answer.status})")
        if not data or answer.status == 409:
            return None
        try:
            return canonical.loads(data, _ANSWER_BYTES)
        except IntegrityError:
            raise RefusedError(
                f"`{self._url}` does not speak as Pulsar does", hint="see option `admin_url`"
            ) from None

    def _connection(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._bound)
        context = (self._tls or Tls()).context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._bound, context=context)
