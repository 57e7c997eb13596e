"""Rows in Redis or Valkey, one server or a cluster, by the library `redis`.

Whether a row is newer is decided by a script on the server, which compares and writes in one step.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeVar

from antsmem.backup.store import yes_or_no
from antsmem.core.errors import AntsmemError, BackendError, ConfigError, DriverMissingError, RefusedError
from antsmem.core.retry import retried, timeout_seconds
from antsmem.drivers.servers import (
    TLS_OPTIONS,
    Servers,
    Tls,
    check_secrecy,
    read_tls,
    read_url,
    split_url,
    whole_number,
)
from antsmem.drivers.versioned import DIGITS, packed, unpacked
from antsmem.memory.inspection import Inspection
from antsmem.memory.roles import Row

T = TypeVar("T")

_OPTIONS: Final = (*TLS_OPTIONS, "cluster", "password", "prefix", "replicas", "timeout_seconds", "username")
# A row that is there already is written again, so that WAIT waits for it too when a lost answer made us repeat.
_SET_IF_NEWER: Final = f"""
local held = redis.call('GETRANGE', KEYS[1], 0, {DIGITS - 1})
local new = string.sub(ARGV[1], 1, {DIGITS})
if #held == {DIGITS} and held > new then return 0 end
if held == new then redis.call('SETRANGE', KEYS[1], 0, held) return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
_HINT: Final = "see `antsmem backend test`"
_LATER: Final = {
    "NOREPLICAS",
    "READONLY",
    "LOADING",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MASTERDOWN",
    "MOVED",
    "ASK",
    "BUSY",
}
_HINTS: Final = {
    "OOM": "set `maxmemory-policy` to one that evicts, such as `allkeys-lru`",
    "NOPERM": "see the user's rules in the server's ACL file",
    "NOAUTH": "see the options `username` and `password`",
    "WRONGPASS": "see the options `username` and `password`",
}


class RedisCache:
    """One server, or a cluster. Connects when it is first used, and again after every failure."""

    def __init__(self, servers: Servers, tls: Tls | None, options: Mapping[str, str]) -> None:
        import redis

        self._sdk = redis
        self._servers, self._tls, self._url = servers, tls, servers.url
        self._login = {name: options[name] for name in ("username", "password") if name in options}
        self._prefix = options.get("prefix", "antsmem:")
        self._replicas = whole_number(options, "replicas", 0, 0, 99)
        self._cluster = yes_or_no(options, "cluster", default=False)
        self._bound = timeout_seconds({"timeout_seconds": "2", **options})
        self._client: Any = None

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The cache at `redis://host[:6379][/DATABASE]`, or `redis://host,host…` with `cluster=yes`. Options:
        `tls` and its files; `username`, `password`; `prefix` before every key (`antsmem:`); `replicas` that must
        have a row before it counts as put (0); `timeout_seconds` (2)."""
        url, options = split_url("redis", url, options, _OPTIONS)
        tls = read_tls(options)
        servers = read_url("redis", url, 6379)
        if servers.path and not (servers.path.isascii() and servers.path.isdigit() and len(servers.path) < 6):
            raise ConfigError(f"`{url}` has no number for a database")
        cluster = yes_or_no(options, "cluster", default=False)
        if len(servers.hosts) > 1 and not cluster:
            raise ConfigError("several hosts are a cluster", hint="set the option `cluster=yes`")
        if cluster and servers.path:
            raise ConfigError("a cluster has no numbered databases")
        if "username" in options and "password" not in options:
            raise ConfigError("option `username` needs `password`")
        if "password" in options:
            check_secrecy(servers, tls, "password")
        try:
            import redis  # noqa: F401
        except ImportError:
            raise DriverMissingError.library("redis", "redis") from None
        return cls(servers, tls, options)

    def get(self, key: str) -> Row | None:
        """The row under `key`; None if there is none. From the primary: a replica may lag behind."""
        return unpacked(self._run(lambda client: client.get(self._prefix + key)))

    def set_if_newer(self, key: str, row: Row) -> bool:
        """See `Cache.set_if_newer`. `BackendError` if fewer replicas than asked for have the row in time."""
        name, value = self._prefix + key, packed(row)

        def put(client: Any) -> bool:
            pipe = self._node(client, name).pipeline(transaction=False)  # the same connection for both
            pipe.eval(_SET_IF_NEWER, 1, name, value)
            if self._replicas:
                pipe.execute_command("WAIT", self._replicas, int(self._bound * 500))
            done, *reached = pipe.execute()
            if reached and reached[0] < self._replicas:
                raise BackendError(f"{reached[0]} of {self._replicas} replicas of `{self._url}` have the row")
            return bool(done)

        return self._run(put)

    def delete(self, key: str) -> None:
        """Forget the row under `key`."""
        self._run(lambda client: client.delete(self._prefix + key))

    def inspect(self) -> Inspection:
        """What the first server tells of itself."""
        told = self._run(lambda client: self._node(client, self._prefix).info())
        facts = {
            name: str(told.get(name, ""))
            for name in ("redis_version", "role", "connected_slaves", "maxmemory", "maxmemory_policy")
        }
        warnings = []
        if self._replicas > int(told.get("connected_slaves", 0)):
            warnings.append(f"{facts['connected_slaves']} replicas are connected, {self._replicas} are asked for")
        if facts["maxmemory_policy"] == "noeviction" and facts["maxmemory"] != "0":
            warnings.append("`maxmemory-policy` is `noeviction`: a full cache refuses new rows")
        return Inspection(facts, tuple(warnings))

    def close(self) -> None:
        """End the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _run(self, action: Callable[[Any], T]) -> T:
        """What `action` returns, tried again while the server does not answer or another one takes over."""
        sdk = self._sdk.exceptions

        def once() -> T:
            try:
                if self._client is None:
                    self._client = self._connected()
                return action(self._client)
            except (sdk.RedisError, OSError) as error:
                self.close()  # whatever was learnt of the cluster is old now
                raise self._trouble(error) from error

        return retried(once, self._bound)

    def _connected(self) -> Any:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        settings: dict[str, Any] = {
            "socket_timeout": self._bound,
            "socket_connect_timeout": self._bound / 2,
            "retry": Retry(NoBackoff(), 0),  # core/retry.py does that
            **self._login,
        }
        if self._tls is not None:
            settings |= {
                "ssl": True,
                "ssl_check_hostname": True,
                "ssl_min_version": ssl.TLSVersion.TLSv1_2,
                "ssl_ca_certs": self._tls.ca_file or None,
                "ssl_certfile": self._tls.cert_file or None,
                "ssl_keyfile": self._tls.key_file or None,
                "ssl_password": self._tls.key_password or None,
            }
        if not self._cluster:
            host, port = self._servers.hosts[0]
            return self._sdk.Redis(host, port, db=int(self._servers.path or 0), **settings)
        from redis.cluster import ClusterNode, RedisCluster

        node: Any = ClusterNode
        nodes = [node(host, port) for host, port in self._servers.hosts]
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **settings)

    def _node(self, client: Any, key: str) -> Any:
        """The server that has `key`."""
        return client.get_redis_connection(client.get_node_from_key(key)) if self._cluster else client

    def _trouble(self, error: Exception) -> AntsmemError:
        """Our error; of the server's own text only its first word, which is a code."""
        sdk = self._sdk.exceptions
        if isinstance(error, sdk.AuthenticationError | sdk.AuthorizationError):
            return RefusedError(f"`{self._url}` refused the login", hint=_HINTS["NOAUTH"])
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            return RefusedError(
                f"the certificate of `{self._url}` is not valid here",
                hint="set the option `ca_file` if it is of your own authority",
            )
        word = type(error).__name__.removesuffix("Error")
        if isinstance(error, sdk.ResponseError):
            first = str(error).partition(" ")[0]
            word = first if first.isascii() and first.isalpha() and first.isupper() else _CODES.get(word, word)
            if word not in _LATER:
                return RefusedError(f"`{self._url}` refused: {word}", hint=_HINTS.get(word, _HINT))
        return BackendError(f"`{self._url}` does not answer: {word}", hint=_HINT)


# The library takes the code off the text of some errors, and makes it the kind.
_CODES: Final = {
    "NoPermission": "NOPERM",
    "OutOfMemory": "OOM",
    "ReadOnly": "READONLY",
    "Moved": "MOVED",
    "Ask": "ASK",
    "TryAgain": "TRYAGAIN",
    "ClusterDown": "CLUSTERDOWN",
    "MasterDown": "MASTERDOWN",
}
