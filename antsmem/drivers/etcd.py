"""Who owns what, kept by etcd: a key that lives as long as a lease, by etcd's HTTP/JSON gateway.

The key `PREFIX/NAME` holds the owner and hangs on a lease of etcd's; it is made only where there is none. Its
create revision is the fence: etcd counts revisions for the whole cluster, so each new owner has a higher one.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Self
from urllib.parse import unquote

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, ConfigError, RefusedError
from antsmem.drivers.members import Members
from antsmem.drivers.servers import TLS_OPTIONS, check_secrecy, read_tls, read_url, split_url
from antsmem.memory.roles import Lease

_OPTIONS: Final = (*TLS_OPTIONS, "password", "timeout_seconds", "username")
_UNAUTHENTICATED: Final = 16  # of the codes of gRPC, which the gateway passes on
_PASSING: Final = {4, 8, 9, 10, 13, 14}  # deadline, exhausted, precondition, aborted, internal, unavailable


class EtcdDirectory:
    """A prefix in an etcd cluster as a directory."""

    def __init__(self, members: Members, prefix: str, login: Mapping[str, str]) -> None:
        self.url = members.url
        self._members = members
        self._prefix = prefix
        self._login = login
        self._token: str | None = None

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The directory at `etcd://host[:port][,host…]/prefix`, by TLS unless `tls=no`. Does not connect yet."""
        url, options = split_url("etcd", url, options, _OPTIONS)
        servers, tls = read_url("etcd", url, 2379), read_tls(options)
        if ("username" in options) != ("password" in options):
            raise ConfigError("options `username` and `password` go together")
        if "password" in options:
            check_secrecy(servers, tls, "password")
        prefix = unquote(servers.path).strip("/") or "antsmem"
        login = {"name": options["username"], "password": options["password"]} if "password" in options else {}
        return cls(Members("etcd", servers, prefix, tls, options), prefix, login)

    def acquire(self, name: str, owner: str, lease_seconds: float) -> Lease | None:
        """The lease on `name`, see `Directory.acquire`. etcd counts whole seconds, so it is rounded up."""
        return self._members.run(lambda: self._acquire(name, owner, lease_seconds))

    def renew(self, lease: Lease) -> Lease | None:
        """The lease, for as long again; None: it is lost."""
        return self._members.run(lambda: self._renew(lease))

    def release(self, lease: Lease) -> None:
        """Give it back, if it is still this one."""
        key = self._key(lease.name)
        ours = {"key": key, "target": "CREATE", "create_revision": str(lease.fence)}
        gone = {"request_delete_range": {"key": key}}
        self._members.run(lambda: self._ask("kv/txn", {"compare": [ours], "success": [gone]}))

    def owner(self, name: str) -> Lease | None:
        """Who owns `name` now; None: nobody."""

        def ask() -> Lease | None:
            found = self._find(name)
            if found is None:
                return None
            asked_ns = now_ns()
            left = _number(self._ask("lease/timetolive", {"ID": found["lease"]}), "TTL")
            return None if left <= 0 else _lease(name, found, asked_ns, left)

        return self._members.run(ask)

    def close(self) -> None:
        """End the connections; leases run on."""
        self._members.close()

    def _acquire(self, name: str, owner: str, lease_seconds: float) -> Lease | None:
        held = self._find(name)
        if held is None:
            asked_ns = now_ns()
            granted = self._ask("lease/grant", {"TTL": str(max(1, math.ceil(lease_seconds)))})
            key = self._key(name)
            nobody = {"key": key, "target": "CREATE", "create_revision": "0"}
            put = {"request_put": {"key": key, "value": _text(owner), "lease": granted["ID"]}}
            see = {"request_range": {"key": key}}
            answer = self._ask("kv/txn", {"compare": [nobody], "success": [put], "failure": [see]})
            if answer.get("succeeded"):
                fence = _number(answer.get("header", {}), "revision")
                return Lease(name, owner, fence, asked_ns + _number(granted, "TTL") * 1_000_000_000)
            with suppress(BackendError):  # it ends by itself too
                self._ask("lease/revoke", {"ID": granted["ID"]})
            kvs = answer["responses"][0]["response_range"].get("kvs", ())
            held = kvs[0] if kvs else None
        if held is None or b64decode(held["value"]).decode() != owner:
            return None
        return self._prolong(name, held)

    def _renew(self, lease: Lease) -> Lease | None:
        held = self._find(lease.name)
        if held is None or _number(held, "create_revision") != lease.fence:
            return None
        return self._prolong(lease.name, held)

    def _prolong(self, name: str, held: Mapping[str, Any]) -> Lease | None:
        asked_ns = now_ns()
        left = _number(self._ask("lease/keepalive", {"ID": held["lease"]}).get("result", {}), "TTL")
        return None if left <= 0 else _lease(name, held, asked_ns, left)

    def _find(self, name: str) -> Mapping[str, Any] | None:
        """The key of `name` with what hangs on it, as a majority of the cluster knows it."""
        kvs = self._ask("kv/range", {"key": self._key(name)}).get("kvs", ())
        return kvs[0] if kvs else None

    def _key(self, name: str) -> str:
        return _text(f"{self._prefix}/{name}")

    def _ask(self, method: str, body: Mapping[str, Any]) -> Any:
        """The answer to one request, from the first member of the cluster that gives one."""
        return self._members.ask(lambda place: self._ask_at(place, method, body))

    def _ask_at(self, place: str, method: str, body: Mapping[str, Any], again: bool = True) -> Any:
        if self._login and self._token is None and method != "auth/authenticate":
            told = self._ask_at(place, "auth/authenticate", self._login, again=False)
            self._token = str(told.get("token", ""))
        headers = {"Authorization": self._token} if self._token else {}
        status, said = self._members.send("POST", f"{place}/v3/{method}", json=body, headers=headers)
        told = self._members.read(said)
        if not isinstance(told, dict):
            raise self._members.stranger()
        if status == 200:
            return told
        number = told.get("code")
        if number == _UNAUTHENTICATED and self._token is not None and again:
            self._token = None  # tokens end, and are forgotten by a member that starts again
            return self._ask_at(place, method, body, again=False)
        if number in _PASSING or status >= 500:
            raise BackendError(f"`{self.url}` cannot answer now: {status}")
        if number == 5:  # a lease that has ended: gRPC's NOT_FOUND
            return {}
        raise RefusedError(
            f"`{self.url}` refused to {method.replace('/', ' ')}: {status}",
            hint="set the options `username` and `password`, or `cert_file` and `key_file`",
        )


def _lease(name: str, held: Mapping[str, Any], asked_ns: int, left_seconds: int) -> Lease:
    owner = b64decode(held["value"]).decode()
    return Lease(name, owner, _number(held, "create_revision"), asked_ns + left_seconds * 1_000_000_000)


def _number(told: Mapping[str, Any], name: str) -> int:
    """A 64-bit number, which JSON made by protobuf writes as text and leaves out if it is 0."""
    return int(told.get(name, 0))


def _text(text: str) -> str:
    return b64encode(text.encode()).decode()
