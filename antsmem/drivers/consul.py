"""Who owns what, kept by Consul: a key that lives as long as the session that locks it, by Consul's HTTP API.

The key `PREFIX/NAME` holds the owner; it is made and locked in one transaction, only where there is none, and
Consul deletes it with its session. Its create index is the fence: Consul counts them for the whole datacenter, so
each new owner has a higher one. Sessions hang on a node of their own in the catalog, and on no check: only time
ends them, not the end of the agent that was asked.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Self
from urllib.parse import unquote

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, RefusedError
from antsmem.drivers.members import Members
from antsmem.drivers.servers import TLS_OPTIONS, check_secrecy, read_tls, read_url, split_url, whole_number
from antsmem.memory.roles import Lease

_OPTIONS: Final = (*TLS_OPTIONS, "dc", "ns", "session_ttl_min", "timeout_seconds", "token")
_NODE: Final = "antsmem-leases"
_LONGEST_SECONDS: Final = 86400
_TOO_SHORT: Final = b"Invalid Session TTL"
_match_seconds = re.compile("([0-9]{1,5})s").fullmatch
_match_session = re.compile("[0-9a-f-]{36}").fullmatch


class ConsulDirectory:
    """A prefix in a Consul datacenter as a directory."""

    def __init__(self, members: Members, prefix: str, options: Mapping[str, str]) -> None:
        self.url = members.url
        self._members = members
        self._prefix = prefix
        self._shortest = whole_number(options, "session_ttl_min", 10, 1, _LONGEST_SECONDS)
        self._where = {name: options[name] for name in ("dc", "ns") if name in options}
        self._headers = {"X-Consul-Token": options["token"]} if "token" in options else {}

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The directory at `consul://host[:port][,host…]/prefix`, by TLS (port 8501) unless `tls=no` (8500). Does
        not connect yet."""
        url, options = split_url("consul", url, options, _OPTIONS)
        tls = read_tls(options)
        servers = read_url("consul", url, 8500 if tls is None else 8501)
        if "token" in options:
            check_secrecy(servers, tls, "token")
        prefix = unquote(servers.path).strip("/") or "antsmem"
        return cls(Members("consul", servers, prefix, tls, options), prefix, options)

    def acquire(self, name: str, owner: str, lease_seconds: float) -> Lease | None:
        """The lease on `name`, see `Directory.acquire`. A session runs for whole seconds, from the option
        `session_ttl_min` to a day: what is asked for is rounded up, or cut, and what was given is told."""
        return self._members.run(lambda: self._acquire(name, owner, lease_seconds))

    def renew(self, lease: Lease) -> Lease | None:
        """The lease, for as long again; None: it is lost."""

        def again() -> Lease | None:
            held = self._find(lease.name)
            return self._prolong(lease.name, held) if held and held["CreateIndex"] == lease.fence else None

        return self._members.run(again)

    def release(self, lease: Lease) -> None:
        """Give it back, if it is still this one."""

        def end() -> None:
            held = self._find(lease.name)
            if held and held["CreateIndex"] == lease.fence:
                self._ask(f"session/destroy/{held['Session']}")

        self._members.run(end)

    def owner(self, name: str) -> Lease | None:
        """Who owns `name` now; None: nobody. Consul does not tell how long a session still runs, so the expiry is
        the moment of the question: nothing is promised beyond it."""

        def ask() -> Lease | None:
            asked_ns = now_ns()
            held = self._find(name)
            return Lease(name, _owner(held), held["CreateIndex"], asked_ns) if held else None

        return self._members.run(ask)

    def close(self) -> None:
        """End the connections; sessions run on."""
        self._members.close()

    def _acquire(self, name: str, owner: str, lease_seconds: float) -> Lease | None:
        held = self._find(name)
        if held is None:
            seconds = min(max(self._shortest, math.ceil(lease_seconds)), _LONGEST_SECONDS)
            asked_ns = now_ns()
            session = self._session(seconds)
            value = b64encode(owner.encode()).decode()
            nobody = {"Verb": "check-not-exists", "Key": self._key(name)}
            lock = {"Verb": "lock", "Key": self._key(name), "Value": value, "Session": session}
            self._ask("txn", [{"KV": nobody}, {"KV": lock}])
            held = self._find(name)  # not the answer: of a transaction sent twice, the second one always fails
            if held is not None and held["Session"] == session:
                return Lease(name, owner, held["CreateIndex"], asked_ns + seconds * 1_000_000_000)
            with suppress(BackendError):  # it ends by itself too
                self._ask(f"session/destroy/{session}")
        return None if held is None or _owner(held) != owner else self._prolong(name, held)

    def _prolong(self, name: str, held: Mapping[str, Any]) -> Lease | None:
        asked_ns = now_ns()
        found = self._ask(f"session/renew/{held['Session']}")
        if not found:
            return None
        match = _match_seconds(str(found[0].get("TTL")))
        if match is None:  # no session of ours
            return None
        return Lease(name, _owner(held), held["CreateIndex"], asked_ns + int(match[1]) * 1_000_000_000)

    def _session(self, seconds: int) -> str:
        """A new session, which Consul ends `seconds` after it was last renewed, or later: up to twice that."""
        node = {"Node": _NODE, "Address": "127.0.0.1", "SkipNodeUpdate": True}
        self._ask("catalog/register", node)  # each time: without its node there is no session
        asked = {"Node": _NODE, "Name": "antsmem", "TTL": f"{seconds}s", "Behavior": "delete", "LockDelay": "0s"}
        told = self._ask("session/create", {**asked, "Checks": [], "NodeChecks": []})
        if not isinstance(told, dict) or not _match_session(str(told.get("ID"))):
            raise self._members.stranger()
        return str(told["ID"])

    def _find(self, name: str) -> Mapping[str, Any] | None:
        """The key of `name` if a session holds it, as a majority of the servers knows it."""
        get = {"Verb": "get-or-empty", "Key": self._key(name)}
        told = self._ask("txn", [{"KV": get}], consistent="")
        if not isinstance(told, dict) or "Results" not in told:
            raise self._members.stranger()
        if not told["Results"]:  # what may not be read is left out
            raise self._refusal("txn")
        held = told["Results"][0].get("KV")
        if not isinstance(held, dict):
            raise self._members.stranger()
        return held if held.get("Session") else None

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _ask(self, path: str, body: object = None, **query: str) -> Any:
        """The answer to one request, from the first member that gives one; None where there is no such thing, or
        a transaction's conditions do not hold."""
        what = {"json": body, "headers": self._headers, "params": {**self._where, **query}}
        status, said = self._members.ask(lambda place: self._ask_at(f"{place}/v1/{path}", what))
        if status == 200:
            return self._members.read(said)
        if status >= 500:
            hint = "set the option `session_ttl_min` as in the configuration of the servers"
            raise RefusedError(f"`{self.url}` gives no lease that short", hint=hint)
        if status == 404 or (status == 409 and b"Permission denied" not in said):
            return None
        raise self._refusal(path.partition("/")[0], status)

    def _ask_at(self, address: str, what: Mapping[str, Any]) -> tuple[int, bytes]:
        status, said = self._members.send("PUT", address, **what)
        if (status >= 500 and _TOO_SHORT not in said) or status == 429:
            raise BackendError(f"`{self.url}` cannot answer now: {status}")
        return status, said

    def _refusal(self, what: str, status: int = 403) -> RefusedError:
        return RefusedError(f"`{self.url}` refused `{what}`: {status}", hint="set the option `token`")


def _owner(held: Mapping[str, Any]) -> str:
    return b64decode(held["Value"] or "").decode(errors="replace")
