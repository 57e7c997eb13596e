"""The identity log, `did.jsonl`: the public, signed history of who may speak for the agent.

A did:webvh 1.0 log (https://identity.foundation/didwebvh/v1.0/), read more strictly than that method asks:
Ed25519 only, JSON without floats and doubled keys, no witnesses, and whoever moves must name where from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError, RollbackError
from antsmem.core.record import field, record, replace
from antsmem.identity.document import Document, op_keys_of
from antsmem.identity.entry import MAX_ENTRY_BYTES, Entry, check_proofs, entry_hash, scid_of
from antsmem.identity.multikey import key_hash, multikey, parse_multikey

METHOD = "did:webvh:1.0"
MAX_LOG_BYTES = 16 << 20
MAX_ENTRIES = 4096

_HASH = r"[1-9A-HJ-NP-Za-km-z]{46}"
_VERSION_ID = re.compile(rf"([1-9][0-9]{{0,5}})-{_HASH}")
_DID = re.compile(
    rf"did:webvh:({_HASH})"
    r":(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?(?:%3A[0-9]{1,5})?"
    r"(?::[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*"
)
_MEMBERS = {"versionId", "versionTime", "parameters", "state", "proof"}
_PARAMETERS = {
    "method", "scid", "updateKeys", "nextKeyHashes", "portable", "deactivated", "watchers", "witness", "ttl",
}  # fmt: skip


@record
class OperationalKey:
    """An op key as the log names it: `since` the version that added it, `until` the first version without it."""

    host: str
    since: int
    until: int | None = None

    @property
    def revoked(self) -> bool:
        """Whether it left the document; a key that once did stays revoked, even if listed again."""
        return self.until is not None


@record
class IdentityLog:
    """A verified identity log, as of its newest entry."""

    text: bytes = field(repr=False)
    """The whole `did.jsonl`."""
    scid: str
    did: str
    version_ids: tuple[str, ...]
    """`<number>-<hash>` of every entry, oldest first."""
    created: str
    """`versionTime` of the first entry."""
    updated: str
    """`versionTime` of the newest entry."""
    document: Document = field(repr=False)
    update_keys: tuple[str, ...]
    """Multikeys that signed the newest entry (before the first rotation without pre-rotation: that may sign)."""
    next_key_hashes: tuple[str, ...]
    """Hashes of the keys that alone may sign the next entry; empty: `update_keys` may."""
    portable: bool
    deactivated: bool
    operational_keys: Mapping[bytes, OperationalKey]
    """Public key → who had it and when, revoked ones too: old signatures stay verifiable."""

    @property
    def version(self) -> int:
        """The number of the newest entry, from 1."""
        return len(self.version_ids)

    @property
    def head(self) -> str:
        """The version id of the newest entry: what a pin remembers."""
        return self.version_ids[-1]

    @property
    def hosts(self) -> set[str]:
        """The names of all hosts that it ever named."""
        return {key.host for key in self.operational_keys.values()}

    def op_key(self, public: bytes) -> OperationalKey:
        """Whose op key `public` is or was; `IntegrityError` if the log never named it."""
        known = self.operational_keys.get(public)
        if known is None:
            raise IntegrityError(f"key `{multikey(public)}` never spoke for identity `{self.scid}`")
        return known

    def refuse_rollback(self, seen: str) -> None:
        """Return if this log contains the version id `seen` (`IdentityLog.head` of an earlier look), else raise
        `RollbackError`: the log is shorter than one seen before, or another one of the same length."""
        match = _VERSION_ID.fullmatch(seen)
        if not match:
            raise IntegrityError(f"`{seen[:80]}` is not a version id")
        number = int(match[1])
        if number > self.version:
            raise RollbackError(
                f"identity log ends with version {self.version}, but {number} was seen before: rolled back",
                hint="fetch the newest `did.jsonl`, from another repository if need be",
            )
        if self.version_ids[number - 1] != seen:
            raise RollbackError(
                f"identity log has another version {number} than was seen before: two histories of one identity",
                hint="stop: find out who holds a control key, then keep the true `did.jsonl`",
            )


def parse_log(data: bytes) -> IdentityLog:
    """The verified log in `data`, the bytes of a `did.jsonl` (at most 16 MiB, 4096 entries).

    Every hash, proof and rule of every entry is checked; the first that fails raises `IntegrityError` with the
    number of its entry. Time is checked to move forward only: nothing hangs on this host's clock.
    """
    if len(data) > MAX_LOG_BYTES:
        raise IntegrityError(f"identity log of {len(data)} bytes: more than {MAX_LOG_BYTES} are never read")
    lines = data.removesuffix(b"\n").split(b"\n", MAX_ENTRIES)
    if len(lines) > MAX_ENTRIES:
        raise IntegrityError(f"identity log has more than {MAX_ENTRIES} entries")
    log: IdentityLog | None = None
    for number, line in enumerate(lines, 1):
        try:
            log = next_version(log, canonical.loads(line, MAX_ENTRY_BYTES))
        except IntegrityError as error:
            raise IntegrityError(f"identity log entry {number}: {error}") from None
    assert log is not None
    return replace(log, text=data)


def next_version(log: IdentityLog | None, entry: Any) -> IdentityLog:
    """`log` (None: nothing yet) with `entry` after it, verified, else `IntegrityError`. `text` is left empty."""
    if not isinstance(entry, dict) or set(entry) != _MEMBERS:
        raise IntegrityError(f"does not have exactly the members {', '.join(sorted(_MEMBERS))}")
    if log is not None and log.deactivated:
        raise IntegrityError("follows an entry that deactivated the identity")
    parameters = _parameters(log, entry["parameters"])
    document = entry["state"]
    scid = parameters["scid"] if log is None else log.scid
    _check_chain(log, entry, scid)
    _check_document_id(log, document, scid)
    _check_authority(log, entry, parameters)

    def carried(name: str, before: Any) -> Any:
        return parameters.get(name, before)

    return IdentityLog(
        text=b"",
        scid=scid,
        did=document["id"],
        version_ids=(*(log.version_ids if log else ()), entry["versionId"]),
        created=log.created if log else entry["versionTime"],
        updated=entry["versionTime"],
        document=document,
        update_keys=tuple(carried("updateKeys", log.update_keys if log else ())),
        next_key_hashes=tuple(carried("nextKeyHashes", log.next_key_hashes if log else ())),
        portable=carried("portable", log.portable if log else False),
        deactivated=carried("deactivated", False),
        operational_keys=_operational_keys(log, document),
    )


def _parameters(log: IdentityLog | None, given: Any) -> dict[str, Any]:
    """The parameters of an entry, of the right types; names and rules as in did:webvh 1.0."""
    if not isinstance(given, dict):
        raise IntegrityError("`parameters` is not an object")
    unknown = set(given) - _PARAMETERS
    if unknown:
        raise IntegrityError(f"unknown parameter `{min(unknown)[:40]!r}`")
    if log is None and not (given.get("method") and given.get("updateKeys") and _is_text(given.get("scid"))):
        raise IntegrityError("the first entry lacks `method`, `scid` or `updateKeys`")
    if log is not None and "scid" in given:
        raise IntegrityError("`scid` stands in a later entry")
    if given.get("method", METHOD) != METHOD:
        raise IntegrityError(f"`method` is not `{METHOD}`")
    for name in ("updateKeys", "nextKeyHashes", "watchers"):
        items = given.get(name, [])
        if not isinstance(items, list) or not all(_is_text(item) for item in items):
            raise IntegrityError(f"`{name}` is not a list of texts")
    for name in ("portable", "deactivated"):
        if not isinstance(given.get(name, False), bool):
            raise IntegrityError(f"`{name}` is not true or false")
    ttl = given.get("ttl", 1)
    if isinstance(ttl, bool) or not isinstance(ttl, int) or ttl <= 0:
        raise IntegrityError("`ttl` is not a number of seconds above zero")
    if given.get("witness", {}) != {}:
        raise IntegrityError("needs witnesses, which antsmem does not check")
    if log is not None and given.get("portable") and not log.portable:
        raise IntegrityError("`portable` is switched on after the first entry")
    for key in given.get("updateKeys", []):
        parse_multikey(key)
    if not all(re.fullmatch(_HASH, item) for item in given.get("nextKeyHashes", [])):
        raise IntegrityError("`nextKeyHashes` holds something else than hashes")
    return given


def _check_chain(log: IdentityLog | None, entry: Entry, scid: str) -> None:
    """SCID, number and hash of the entry, and that its time is after the one before."""
    version_id, number = entry["versionId"], log.version + 1 if log else 1
    match = _VERSION_ID.fullmatch(version_id) if _is_text(version_id) else None
    if not match or int(match[1]) != number:
        raise IntegrityError(f"`versionId` is not `{number}-<hash>`")
    if log is None and scid_of(entry, scid) != scid:
        raise IntegrityError("does not have the SCID it claims: this is not the identity's first entry")
    if version_id != f"{number}-{entry_hash(entry, log.head if log else scid)}":
        raise IntegrityError("does not have the hash it claims: changed, or not the successor of the one before")
    if not _is_time(entry["versionTime"]):
        raise IntegrityError("`versionTime` is not a UTC time like `2026-11-20T12:00:00Z`")
    # Times of this form are in the order of their texts, once `Z` no longer stands where a fraction may.
    if log is not None and entry["versionTime"].rstrip("Z") <= log.updated.rstrip("Z"):
        raise IntegrityError("`versionTime` is not after that of the entry before")


def _check_document_id(log: IdentityLog | None, document: Any, scid: str) -> None:
    did = document.get("id") if isinstance(document, dict) else None
    match = _DID.fullmatch(did) if isinstance(did, str) else None
    if not match or match[1] != scid:
        raise IntegrityError("the document's `id` is not `did:webvh:<this SCID>:<domain>`")
    if log is None or did == log.did:
        return
    if not log.portable:
        raise IntegrityError("the identity moved, but is not portable")
    known_as = document.get("alsoKnownAs")
    if not isinstance(known_as, list) or log.did not in known_as:
        raise IntegrityError("the identity moved, but `alsoKnownAs` does not name where from")


def _check_authority(log: IdentityLog | None, entry: Entry, parameters: Mapping[str, Any]) -> None:
    """That the entry is signed by a key that was allowed to, as committed to by the entry before."""
    if log is not None and log.next_key_hashes:
        if not parameters.get("updateKeys") or "nextKeyHashes" not in parameters:
            raise IntegrityError("pre-rotated, but does not give both `updateKeys` and `nextKeyHashes`")
        for key in parameters["updateKeys"]:
            if key_hash(parse_multikey(key)) not in log.next_key_hashes:
                raise IntegrityError(f"update key `{key}` was not committed to by the entry before")
    pre_rotated = log is None or log.next_key_hashes
    check_proofs(entry, parameters["updateKeys"] if pre_rotated or log is None else log.update_keys)


def _operational_keys(log: IdentityLog | None, document: Document) -> dict[bytes, OperationalKey]:
    known = dict(log.operational_keys) if log else {}
    version = log.version + 1 if log else 1
    current = {public: host for host, public in op_keys_of(document).items()}
    for public, key in known.items():
        if key.until is None and public not in current:
            known[public] = replace(key, until=version)
    for public, host in current.items():
        known.setdefault(public, OperationalKey(host, version))
    return known


def _is_time(value: Any) -> bool:
    """Whether `value` is an instant in the one form that all implementations write again as they read it."""
    from datetime import datetime

    try:
        written = datetime.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        return False
    return bool(value == f"{written.removesuffix('+00:00')}Z")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
