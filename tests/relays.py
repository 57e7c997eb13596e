"""Relays as real processes, and agents that use them, for tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engines

from antsmem.core.age import X25519Identity
from antsmem.core.clock import now_ns
from antsmem.drivers.relay import Credentials, RelayClient
from antsmem.drivers.relay_http import Answer, Bounds, exchange
from antsmem.identity.document import Document, with_op_keys
from antsmem.identity.extend import commit, create_log, extend_log
from antsmem.identity.handle import parse_handle, with_handles, with_relays
from antsmem.identity.http_signature import Request, sign_request
from antsmem.identity.log import IdentityLog
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.seen import Seen
from antsmem.identity.signing import SigningKey

SECOND_NS = 1_000_000_000


class RelayServer(engines.Server):
    """`antsmem relay serve`, its data in `folder`."""

    name = "relay"

    @property
    def folder(self) -> Path:
        return self.dir / "data"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        where = ["--listen", f"127.0.0.1:{self.port}", "--data", str(self.folder)]
        return [sys.executable, "-m", "antsmem", "relay", "serve", *where, *self.words]


@dataclass
class Agent:
    """An identity with the keys of its hosts, and the kit that may change it."""

    log: IdentityLog
    keys: dict[str, SigningKey]
    kit: RecoveryKit

    @property
    def scid(self) -> str:
        return self.log.scid

    @property
    def key(self) -> SigningKey:
        """Of the first host."""
        return next(iter(self.keys.values()))

    def client(self, url: str, memory: Path, host: str = "", seconds: float = 20.0) -> RelayClient:
        """The client of the relay at `url`; what it sees goes to `memory`."""
        key = self.keys[host] if host else self.key
        return RelayClient(url, Seen(memory), now_ns, Credentials(self.scid, key), seconds)

    def extend(self, document: Document) -> IdentityLog:
        """The log with one more entry, which it has from now on."""
        generation = self.kit.generation(self.log)
        commitment = commit(self.kit.control_hash(generation + 1))
        self.log = extend_log(self.log, self.kit.control_key(generation), commitment, document, now_ns())
        return self.log

    def place(self, relays: Collection[str], handles: Collection[str] = ()) -> IdentityLog:
        """Be found at `relays`, as `handles`."""
        document = with_relays(self.log.document, relays)
        return self.extend(with_handles(document, [parse_handle(text) for text in handles]))

    def host(self, *hosts: str) -> IdentityLog:
        """Have exactly `hosts`; those that are new get a key."""
        self.keys = {host: self.keys.get(host) or SigningKey.generate() for host in hosts}
        publics = {host: key.public for host, key in self.keys.items()}
        return self.extend(with_op_keys(self.log.document, publics))


def new_agent(*hosts: str) -> Agent:
    """An agent that lives on `hosts` (default: one, `laptop`)."""
    kit = RecoveryKit(X25519Identity.generate())
    keys = {host: SigningKey.generate() for host in hosts or ("laptop",)}
    publics = {host: key.public for host, key in keys.items()}
    log = create_log(commit(kit.control_hash(0)), publics, now_ns() - 3600 * SECOND_NS)
    return Agent(log, keys, kit)


def request(
    url: str, method: str, path: str, body: bytes = b"", kind: str = "", fields: Mapping[str, str] | None = None
) -> tuple[Request, dict[str, str]]:
    """A request as it is to be signed, and its fields so far."""
    given = {**({"Content-Type": kind} if kind else {}), **(fields or {})}
    made = Request(method, url + path, body, kind, given.get("If-Match", ""), given.get("If-None-Match", ""))
    return made, given


def signed(
    made: Request, key: SigningKey, created: int | None = None, nonce: bytes | None = None
) -> dict[str, str]:
    """The fields that sign it, now."""
    moment = now_ns() // SECOND_NS if created is None else created
    return sign_request(made, key, moment, nonce or os.urandom(16))


def put(made: Request, fields: Mapping[str, str]) -> Answer:
    """What the relay answers."""
    return exchange(made.method, made.target, Bounds(4 << 20, 30.0), made.body, fields)


def code(answer: Answer) -> tuple[int, str]:
    """(status, error) of an answer."""
    try:
        found: Any = json.loads(answer.body)
    except ValueError:
        return answer.status, ""
    return answer.status, str(found.get("error", ""))
