"""Identity logs made for tests, with keys that are known."""

from __future__ import annotations

import json

from made_agents import FRIDAY_NS

from antsmem.core import canonical
from antsmem.identity.document import with_op_keys
from antsmem.identity.entry import Entry, entry_hash, with_proof
from antsmem.identity.extend import Commitment, commit, create_log, extend_log
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import key_hash
from antsmem.identity.signing import SigningKey

RECOVERY = SigningKey.generate()
LAPTOP, DESKTOP = SigningKey.generate(), SigningKey.generate()
SECOND_NS = 1_000_000_000


def first() -> tuple[IdentityLog, Commitment]:
    commitment = commit(key_hash(RECOVERY.public))
    return create_log(commitment, {"laptop": LAPTOP.public}, FRIDAY_NS), commitment


def second(log: IdentityLog, control: SigningKey) -> tuple[IdentityLog, Commitment]:
    commitment = commit(key_hash(RECOVERY.public))
    document = with_op_keys(log.document, {"laptop": LAPTOP.public, "desktop": DESKTOP.public})
    return extend_log(log, control, commitment, document, FRIDAY_NS + 60 * SECOND_NS), commitment


def two() -> IdentityLog:
    log, commitment = first()
    return second(log, commitment.next_key)[0]


def entries_of(log: IdentityLog) -> list[Entry]:
    return [json.loads(line) for line in log.text.splitlines()]


def text_of(entries: list[Entry]) -> bytes:
    return b"".join(canonical.dumps(entry) + b"\n" for entry in entries)


def remade(entry: Entry, before: IdentityLog, key: SigningKey) -> Entry:
    """`entry` with the hash and the proof that its content asks for: only its content may be wrong."""
    entry["versionId"] = f"{before.version + 1}-{entry_hash(entry, before.head)}"
    return with_proof(entry, key)
