"""Ledgers and what holds them, made for tests: an agent with secrets, its anchors, and somebody else's keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from made_agents import FRIDAY_NS, files_in, new_agent

from antsmem.core.age import X25519Identity
from antsmem.core.errors import BackendError
from antsmem.identity.anchor import refuse_older
from antsmem.identity.create import CreatedIdentity
from antsmem.identity.custody import Access, Custody, open_custody, publication_of
from antsmem.identity.ledger import Ledger, extended, secret_row
from antsmem.identity.log import IdentityLog
from antsmem.identity.secret_set import NewSecret, set_secrets
from antsmem.identity.signing import SigningKey

SECOND_NS = 1_000_000_000
FINGERPRINT_KEY = bytes(range(32))


@dataclass
class Shelf:
    """An anchor in memory. `down`: it does not answer."""

    name: str
    data: bytes | None = None
    down: bool = False

    def fetch(self) -> bytes | None:
        if self.down:
            raise BackendError(f"`{self.name}` does not answer")
        return self.data

    def publish(self, data: bytes) -> None:
        if refuse_older(self.name, self.fetch(), data):
            self.data = data


@dataclass
class Held:
    """An agent with its ledger, all below `place`."""

    place: Path
    made: CreatedIdentity = field(init=False)
    access: Access = field(init=False)
    now_ns: int = FRIDAY_NS

    def __post_init__(self) -> None:
        files, self.made = new_agent(self.place)
        self.access = Access(files, self.place / "state/ledger-pin.json", self.made.host_key, self.made.log)

    @property
    def log(self) -> IdentityLog:
        return self.access.log

    @property
    def kit(self) -> X25519Identity:
        return self.made.kit.identity

    def tick(self) -> int:
        """A second later."""
        self.now_ns += SECOND_NS
        return self.now_ns

    def set(self, name: str, value: bytes = b"a value", kind: str = "static") -> Custody:
        return set_secrets(self.access, [NewSecret(name, value, kind)], self.tick()).custody

    def open(self) -> Custody:
        return open_custody(self.access)

    def states(self) -> dict[tuple[str, int], str]:
        return {(each.name, each.version): each.state for each in self.open().keystore.secrets}

    def publication(self) -> bytes:
        data = publication_of(self.open())
        assert data is not None
        return data


def ledger_of(log: IdentityLog, key: SigningKey, *words: str, now_ns: int = FRIDAY_NS) -> Ledger:
    """A ledger with a row for each of `words`: `set a 1`, `revoke a 0`."""
    ledger = Ledger(log.scid, FINGERPRINT_KEY)
    return more(ledger, key, *words, now_ns=now_ns)


def more(ledger: Ledger, key: SigningKey, *words: str, now_ns: int = FRIDAY_NS) -> Ledger:
    """`ledger` with more rows."""
    for text in words:
        op, name, version = text.split()
        now_ns += SECOND_NS
        ledger = extended(ledger, [secret_row(op, name, int(version), "static", "a test")], key, now_ns)
    return ledger


__all__ = ["FRIDAY_NS", "Held", "Shelf", "files_in", "ledger_of", "more"]
