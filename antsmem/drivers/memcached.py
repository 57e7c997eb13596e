"""Rows in Memcached, on one server or several, by the library `pymemcache`.

A key lives on one server, chosen by its hash alone. When that one is gone its rows are missed; they never move to
another one, from where they would come back old.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeVar

from antsmem.core.errors import BackendError, ConfigError, ConflictError, DriverMissingError, RefusedError
from antsmem.core.retry import retried, timeout_seconds
from antsmem.drivers.servers import TLS_OPTIONS, Servers, Tls, read_tls, read_url, split_url
from antsmem.drivers.versioned import packed, unpacked
from antsmem.memory.inspection import Inspection
from antsmem.memory.roles import Row

T = TypeVar("T")

_OPTIONS: Final = (*TLS_OPTIONS, "prefix", "timeout_seconds")
_HINT: Final = "see `antsmem backend test`"
_RACES: Final = 100
_match_prefix = re.compile("[!-~]{0,100}").fullmatch


class MemcachedCache:
    """Some servers. Each connection is made when it is first used, and again after every failure."""

    def __init__(self, servers: Servers, tls: Tls | None, options: Mapping[str, str]) -> None:
        from pymemcache import Client

        bound = timeout_seconds({"timeout_seconds": "2", **options})
        self._url, self._bound = servers.url, bound
        self._prefix = options.get("prefix", "antsmem:")
        context = None if tls is None else tls.context()
        self._clients = {
            host: Client(
                host,
                connect_timeout=bound / 2,
                timeout=bound,
                no_delay=True,
                default_noreply=False,
                tls_context=context,
            )
            for host in servers.hosts
        }

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The servers at `memcached://host[:11211][,host…]`. Options: `tls` and its files, `prefix` before every
        key (`antsmem:`), `timeout_seconds` (2)."""
        url, options = split_url("memcached", url, options, _OPTIONS)
        tls = read_tls(options)
        servers = read_url("memcached", url, 11211)
        if servers.path:
            raise ConfigError(f"`{url}` says more than its servers", hint="see the option `prefix`")
        if not _match_prefix(options.get("prefix", "")):
            raise ConfigError("option `prefix` has up to 100 ASCII characters and no space")
        try:
            import pymemcache  # noqa: F401
        except ImportError:
            raise DriverMissingError.library("pymemcache", "memcached") from None
        return cls(servers, tls, options)

    def get(self, key: str) -> Row | None:
        """The row under `key`; None if there is none."""
        name = self._name(key)
        return unpacked(self._run(self._client(name), lambda client: client.get(name)))

    def set_if_newer(self, key: str, row: Row) -> bool:
        """See `Cache.set_if_newer`: `gets` and `cas`, again while others write. `ConflictError` after a hundred
        lost races."""
        name, value = self._name(key), packed(row)

        def put(client: Any) -> bool | None:
            held, token = client.gets(name)
            if token is None:
                return True if client.add(name, value) else None
            there = unpacked(held)
            if there is not None and there.version >= row.version:
                return False
            return True if client.cas(name, value, token) else None

        client = self._client(name)
        for _ in range(_RACES):
            if (done := self._run(client, put)) is not None:
                return done
        raise ConflictError(f"others write this row in `{self._url}` all the time")

    def delete(self, key: str) -> None:
        """Forget the row under `key`."""
        name = self._name(key)
        self._run(self._client(name), lambda client: client.delete(name))

    def inspect(self) -> Inspection:
        """What each server tells of itself."""
        facts = {}
        for (host, port), client in self._clients.items():
            told = self._run(client, lambda client: client.stats())
            for name in ("version", "limit_maxbytes", "evictions"):
                value = told.get(name.encode(), b"")
                facts[f"{host}:{port} {name}"] = value.decode() if isinstance(value, bytes) else str(value)
        return Inspection(facts)

    def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            client.close()

    def _name(self, key: str) -> str:
        """A key may be long and hold anything; Memcached's are short and plain."""
        return self._prefix + hashlib.sha256(key.encode()).hexdigest()

    def _client(self, name: str) -> Any:
        """The server of a key: the highest hash of server and key together (rendezvous hashing, D. Thaler and C.
        Ravishankar, 1998), so another list of servers moves few keys."""
        if len(self._clients) == 1:
            return next(iter(self._clients.values()))
        chosen = max(
            self._clients, key=lambda host: hashlib.blake2b(f"{host[0]}:{host[1]} {name}".encode()).digest()
        )
        return self._clients[chosen]

    def _run(self, client: Any, action: Callable[[Any], T]) -> T:
        """What `action` returns, tried again while the server does not answer."""
        import ssl

        from pymemcache import exceptions as sdk

        def once() -> T:
            try:
                return action(client)
            except ssl.SSLCertVerificationError as error:
                client.close()
                raise RefusedError(
                    f"the certificate of `{self._url}` is not valid here",
                    hint="set the option `ca_file` if it is of your own authority",
                ) from error
            except (OSError, sdk.MemcacheUnexpectedCloseError) as error:
                client.close()
                word = type(error).__name__.removesuffix("Error")
                raise BackendError(f"`{self._url}` does not answer: {word}", hint=_HINT) from error
            except sdk.MemcacheError as error:
                client.close()
                word = type(error).__name__.removesuffix("Error")
                raise RefusedError(
                    f"`{self._url}` refused: {word}", hint="a row may be larger than the server takes (`-I`)"
                ) from error

        return retried(once, self._bound)
