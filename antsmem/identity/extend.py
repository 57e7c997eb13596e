"""Writing the identity log: its first entry, and one more at its end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from antsmem.core import canonical
from antsmem.core.clock import utc_text
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import record, replace
from antsmem.identity.document import Document, Service, new_document
from antsmem.identity.entry import (
    MAX_ENTRY_BYTES,
    SCID_PLACEHOLDER,
    Entry,
    entry_hash,
    scid_of,
    with_proof,
    with_scid,
)
from antsmem.identity.log import METHOD, IdentityLog, next_version
from antsmem.identity.multikey import key_hash, multikey
from antsmem.identity.signing import SigningKey

PLACEHOLDER_DOMAIN = "antsmem.invalid"
"""did:webvh wants a domain; an agent that lives nowhere yet has this one, reserved never to exist (RFC 6761)."""


@record
class Commitment:
    """Who may sign the next entry: what an entry publishes under `nextKeyHashes`, and the new key behind it."""

    next_key: SigningKey
    """Belongs into escrow and nowhere else."""
    recovery_hash: str
    hashes: tuple[str, ...]
    """Of the next key, of the recovery control key and of no key at all, sorted: none can be told from another."""


def commit(recovery_hash: str) -> Commitment:
    """A new next key, committed to beside the recovery control key whose `key_hash` is `recovery_hash`."""
    next_key = SigningKey.generate()
    decoy = key_hash(os.urandom(32))
    return Commitment(next_key, recovery_hash, tuple(sorted((key_hash(next_key.public), recovery_hash, decoy))))


def create_log(
    commitment: Commitment, op_keys: Mapping[str, bytes], now_ns: int, services: Sequence[Service] = ()
) -> IdentityLog:
    """A log of one entry: the first document with `op_keys` (host → public key), portable, pre-rotated.

    The entry is signed by a key that is forgotten at once: the next one must keep `commitment`.
    """
    genesis = SigningKey.generate()
    did = f"did:webvh:{SCID_PLACEHOLDER}:{PLACEHOLDER_DOMAIN}"
    draft: Entry = {
        "versionId": SCID_PLACEHOLDER,
        "versionTime": _time(now_ns),
        "parameters": {
            "method": METHOD,
            "scid": SCID_PLACEHOLDER,
            "updateKeys": [multikey(genesis.public)],
            "nextKeyHashes": list(commitment.hashes),
            "portable": True,
        },
        "state": new_document(did, op_keys, services),
    }
    scid = scid_of(draft, SCID_PLACEHOLDER)
    entry = with_scid(draft, scid)
    entry["versionId"] = f"1-{entry_hash(entry, scid)}"
    return _appended(None, with_proof(entry, genesis))


def extend_log(
    log: IdentityLog, control: SigningKey, commitment: Commitment, document: Document, now_ns: int
) -> IdentityLog:
    """`log` with one more entry, which brings in `document` and is signed by `control`, a key that the newest
    entry has committed to (else `UsageError`). The entry after it must keep `commitment`.

    If the clock is not after the newest entry, the new one is dated one second after it.
    """
    if log.deactivated or key_hash(control.public) not in log.next_key_hashes:
        raise UsageError(
            f"key `{multikey(control.public)}` may not change identity `{log.scid}` now",
            hint="use the recovery kit that was made for this identity",
        )
    entry: Entry = {
        "versionTime": _later(log.updated, now_ns),
        "parameters": {
            "updateKeys": [multikey(control.public)],
            "nextKeyHashes": list(commitment.hashes),
        },
        "state": document,
    }
    entry["versionId"] = f"{log.version + 1}-{entry_hash(entry, log.head)}"
    return _appended(log, with_proof(entry, control))


def _appended(log: IdentityLog | None, entry: Entry) -> IdentityLog:
    before = log.text if log else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    try:
        longer = next_version(log, canonical.loads(canonical.dumps(entry), MAX_ENTRY_BYTES))
    except IntegrityError as error:
        raise UsageError(f"this entry would break the identity log: {error}") from None
    return replace(longer, text=before + canonical.dumps(entry) + b"\n")


def _time(instant_ns: int) -> str:
    # Whole seconds: other implementations write what they read of a fraction in another way and then refuse it.
    return utc_text(instant_ns)[:19] + "Z"


def _later(before: str, now_ns: int) -> str:
    from datetime import UTC, datetime

    earliest = int(datetime.fromisoformat(before).astimezone(UTC).timestamp()) + 1
    return _time(max(now_ns, earliest * 1_000_000_000))
