"""The recovery kit: one secret on paper that opens everything and may say which host speaks for the agent.

The secret is an age X25519 identity, so the stock `age` program reads a kit as it is. The control keys that may
change the identity log are derived from it: generation n is the Ed25519 key with the seed HKDF-SHA256(ikm = the
secret line, no salt, info = `antsmem/recovery-control/1/<n>`). An entry signed by one commits to the next, so
none is known to anybody before it is used.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import Self

from antsmem.core.age import X25519Identity, parse_identity_file
from antsmem.core.errors import UsageError
from antsmem.core.record import field, record
from antsmem.identity.document import op_keys_of, with_op_keys
from antsmem.identity.extend import Commitment, commit, extend_log
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import key_hash
from antsmem.identity.signing import SigningKey

_INFO = "antsmem/recovery-control/1/"
_MAX_KIT_LETTERS = 16384
_MAX_AGENT_LETTERS = 100

_TEXT = """\
# antsmem recovery kit
# agent: {agent}
# identity: {scid}
# made: {made}
#
# The agent's last key. Whoever has it reads every backup and decides which machine speaks for the agent.
# Keep it offline, apart from the backups: if it is lost together with the host, nothing opens them again.
#
# To bring the agent back on an empty machine:
#   1. install antsmem, copy this file there (mode 0600), and have a repository with the agent's backups
#   2. antsmem recover DIR --kit THIS-FILE --repository URL
#   3. or without antsmem, with the programs age, zstd and tar, from the repository's directory:
#      age -d -i THIS-FILE keys/hot-YYYYMMDD.age > epoch.key; age -d -i epoch.key packs/NAME.age
#   4. the file README in the repository says how the pieces make up the agent's files again
#   5. afterwards destroy the copy on that machine; this file stays valid
{secret}
"""


@record
class RecoveryKit:
    """The kit of one agent. `agent`, `scid` and `made` only label it and are empty if only the secret is known."""

    identity: X25519Identity = field(repr=False)
    agent: str = ""
    scid: str = ""
    made: str = ""
    """UTC, as text."""

    def text(self) -> str:
        """The kit as a file: comments and the one secret line. Accepted by `age -i` and by `parse`."""
        return _TEXT.format(agent=self.agent, scid=self.scid, made=self.made, secret=self.identity.secret())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The kit in `text`: comment lines and exactly one age X25519 secret, else `UsageError`."""
        if len(text) > _MAX_KIT_LETTERS:
            raise UsageError("it is too large")
        identities = parse_identity_file(text)
        if len(identities) != 1 or not isinstance(identities[0], X25519Identity):
            raise UsageError("it must hold exactly one age X25519 secret key")
        comments = (line[1:].strip() for line in text.splitlines() if line.startswith("#"))
        labels = dict(comment.split(": ", 1) for comment in comments if ": " in comment)
        identity = identities[0]
        return cls(identity, labels.get("agent", ""), labels.get("identity", ""), labels.get("made", ""))

    def control_key(self, generation: int) -> SigningKey:
        """The recovery control key of `generation`, from 0."""
        extracted = hmac.digest(bytes(32), self.identity.secret().encode(), hashlib.sha256)
        info = f"{_INFO}{generation}".encode()
        return SigningKey(hmac.digest(extracted, info + b"\x01", hashlib.sha256))

    def control_hash(self, generation: int) -> str:
        """What an identity log publishes of `control_key(generation)` before it is used."""
        return key_hash(self.control_key(generation).public)

    def generation(self, log: IdentityLog) -> int:
        """The generation that may sign the entry after `log`. `UsageError`: this kit is not of this identity."""
        for generation in range(log.version):
            if self.control_hash(generation) in log.next_key_hashes:
                return generation
        raise UsageError(
            f"this recovery kit may not change identity `{log.scid}`",
            hint="use the recovery kit that was made for this identity, with its newest `did.jsonl`",
        )


@record
class RecoveredHost:
    """An identity log with a new host in it, and what its newest entry has committed to."""

    log: IdentityLog
    commitment: Commitment


def recover_host(
    log: IdentityLog,
    kit: RecoveryKit,
    host: str,
    op_public: bytes,
    now_ns: int,
    *,
    retire: Collection[str] = (),
) -> RecoveredHost:
    """Append an entry, authorised by `kit`, that makes `op_public` the op key of `host`.

    A key that `host` had before, and those of the hosts named in `retire`, are revoked by it. `UsageError` if the
    kit is not of this identity or a host to retire is not in the document.
    """
    generation = kit.generation(log)
    require_hosts(log, retire)
    op_keys = op_keys_of(log.document)
    kept = {name: public for name, public in op_keys.items() if name not in retire}
    commitment = commit(kit.control_hash(generation + 1))
    document = with_op_keys(log.document, {**kept, host: op_public})
    longer = extend_log(log, kit.control_key(generation), commitment, document, now_ns)
    return RecoveredHost(longer, commitment)


def require_hosts(log: IdentityLog, hosts: Collection[str]) -> None:
    """`UsageError` unless each of `hosts` has an op key in the document of `log`."""
    if unknown := set(hosts) - set(op_keys_of(log.document)):
        raise UsageError(f"host `{min(unknown)}` has no op key in identity `{log.scid}`")


def check_agent_name(agent: str) -> None:
    """`UsageError` unless `agent` is 1 to 100 printable letters: it stands in comments and on terminals."""
    if not (0 < len(agent) <= _MAX_AGENT_LETTERS and agent.isprintable() and agent == agent.strip()):
        raise UsageError(f"agent name {agent[:_MAX_AGENT_LETTERS]!r} is not 1 to 100 printable letters")
