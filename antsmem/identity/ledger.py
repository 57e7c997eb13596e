"""The revocation ledger: which version of which secret may be used, as a signed chain that only grows.

Every change of a secret, and every waiver, is a row. A row is signed by an op key that the identity log names and
holds the SHA-256 of the row before it, so that none can be changed, dropped, moved or slipped in; whoever keeps
the newest hash elsewhere (identity/anchor.py) also sees rows missing at the end. Format: docs/spec/ledger-v1.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.clock import utc_text
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import field, record, replace
from antsmem.identity.entry import MAX_ENTRY_BYTES
from antsmem.identity.envelope import open_envelope, seal_envelope
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.secret import CLASSES, SECRET_NAME
from antsmem.identity.signing import SigningKey, verify

SCHEMA: Final = "antsmem.ledger/1"
FIRST: Final = "0" * 64
MAX_ROWS: Final = 16384
FINGERPRINT_KEY_BYTES: Final = 32

WAIVER_OPS: Final = ("waive", "unwaive")
_MAKING: Final = ("set", "prepare", "rotate")
_ENDING: Final = {"revoke": "revoked", "destroy": "destroyed"}
_OPS: Final = (*_MAKING, *_ENDING, "verify", "recover")

_COMMON: Final = frozenset({"seq", "prev", "time", "op", "reason", "by", "sig"})
_OF_SECRET: Final = _COMMON | {"name", "version", "class"}
_OF_WAIVER: Final = _COMMON | {"rule", "fingerprint", "expires"}
_PATHS: Final = frozenset({"path", "path_hex"})

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_MAX_REASON: Final = 500
_MAX_TEXT: Final = 8192
_FULL_BYTES: Final = 12 << 20


@record
class Row:
    """One row, as it stands in the ledger: `body` is the JSON object with its signature, `hash` its SHA-256 (hex,
    over the canonical JSON)."""

    body: Mapping[str, Any]
    hash: str
    size_bytes: int

    @property
    def seq(self) -> int:
        """Its number, from 1."""
        return int(self.body["seq"])

    @property
    def op(self) -> str:
        """What was done."""
        return str(self.body["op"])

    @property
    def time(self) -> str:
        """When, UTC; never before the row before."""
        return str(self.body["time"])

    def __hash__(self) -> int:
        return hash(self.hash)


@record
class Standing:
    """What the ledger says of one version of a secret: its state (as in identity/secret.py) and class, and when
    that was made so."""

    state: str
    kind: str
    changed: str


@record
class Ledger:
    """A verified ledger of the identity `scid`. `fingerprint_key` travels in it because waivers name secrets by
    keyed fingerprints."""

    scid: str
    fingerprint_key: bytes = field(repr=False)
    rows: tuple[Row, ...] = ()

    @property
    def seq(self) -> int:
        """The number of its newest row; 0: it has none."""
        return len(self.rows)

    @property
    def hash(self) -> str:
        """The hash of its newest row; 64 zeros: it has none."""
        return self.rows[-1].hash if self.rows else FIRST

    @property
    def last_row(self) -> tuple[str, ...]:
        """Its newest row as canonical JSON, as a keystore keeps it; nothing if it has none."""
        return (canonical.dumps(self.rows[-1].body).decode(),) if self.rows else ()

    def holds(self, seq: int, digest: str) -> bool:
        """Whether a ledger whose row `seq` has the hash `digest` is this one as it was then."""
        return seq <= self.seq and digest == (self.rows[seq - 1].hash if seq else FIRST)

    def standings(self) -> dict[tuple[str, int], Standing]:
        """(name, version) → its standing, in the order in which they were made. What was revoked, destroyed or
        superseded stays so."""
        return standings(self.rows)


def standings(rows: Iterable[Row]) -> dict[tuple[str, int], Standing]:
    """What `rows`, from the first on, come to. `IntegrityError` if one brings a version back."""
    found: dict[tuple[str, int], Standing] = {}
    living: dict[str, set[int]] = {}
    versions: dict[str, list[int]] = {}

    def end(name: str, numbers: Iterable[int], state: str, time: str) -> None:
        for number in tuple(numbers):
            if found[name, number].state != "destroyed":
                found[name, number] = Standing(state, found[name, number].kind, time)
                living[name].discard(number)

    for row in rows:
        body, op = row.body, row.op
        if op in WAIVER_OPS or op == "recover":
            continue
        name, version = str(body["name"]), int(body["version"])
        known, alive = versions.setdefault(name, []), living.setdefault(name, set())
        if op in _MAKING:
            before = found.get((name, version))
            if known and version <= known[-1] and (op != "rotate" or before is None or before.state != "pending"):
                raise IntegrityError(f"row {row.seq} uses version {version} of secret `{name}` again")
            if op != "prepare":
                end(name, alive, "superseded", row.time)
            state = "pending" if op == "prepare" else "active"
            found[name, version] = Standing(state, str(body["class"]), row.time)
            alive.add(version)
            known += [version] if before is None else []
            continue
        meant = [number for number in known if version in (0, number)]
        if not meant:
            raise IntegrityError(f"row {row.seq} is about a version of secret `{name}` that was never made")
        if op in _ENDING:
            end(name, meant, _ENDING[op], row.time)
    return found


def secret_row(op: str, name: str, version: int, kind: str, reason: str = "") -> dict[str, Any]:
    """What is to be said of a secret, for `extended`. Version 0, where it is revoked or destroyed: every one."""
    return {"op": op, "name": name, "version": version, "class": kind, "reason": reason}


def extended(ledger: Ledger, contents: Sequence[Mapping[str, Any]], key: SigningKey, now_ns: int) -> Ledger:
    """`ledger` with one row for each of `contents` (a row without seq, prev, time, by and sig) after it, signed by
    `key`. `UsageError` if a row would not be valid, or the ledger is full.

    If the clock is before the newest row, the new ones have that row's time.
    """
    rows = list(ledger.rows)
    time = max(utc_text(now_ns), rows[-1].time if rows else "")
    for content in contents:
        body = {
            **content,
            "seq": len(rows) + 1,
            "prev": rows[-1].hash if rows else FIRST,
            "time": time,
            "by": multikey(key.public),
        }
        body["sig"] = key.sign(canonical.dumps(body)).hex()
        try:
            rows.append(_row(body, rows[-1] if rows else None))
        except IntegrityError as error:
            raise UsageError(f"this row would break the ledger: {error}") from None
    if len(rows) > MAX_ROWS or sum(row.size_bytes for row in rows) > _FULL_BYTES:
        raise UsageError(f"the ledger is full: it holds {MAX_ROWS} rows in {_FULL_BYTES >> 20} MiB at most")
    try:
        standings(rows)
    except IntegrityError as error:
        raise UsageError(f"this row would break the ledger: {error}") from None
    return replace(ledger, rows=tuple(rows))


def read_rows(
    values: Sequence[object], log: IdentityLog, before: Sequence[Row] = (), *, signed: bool = True
) -> tuple[Row, ...]:
    """`before` and, after them, the rows in the JSON objects `values`, verified, else `IntegrityError` with the
    number of the first that is wrong.

    `signed` False leaves out the signatures and whose they are: for rows that this host itself has sealed.
    """
    rows = list(before)
    if len(rows) + len(values) > MAX_ROWS:
        raise IntegrityError(f"ledger has more than {MAX_ROWS} rows")
    for number, value in enumerate(values, len(rows) + 1):
        try:
            row = _row(value, rows[-1] if rows else None)
            if signed:
                _check_signature(row)
        except IntegrityError as error:
            raise IntegrityError(f"ledger row {number}: {error}") from None
        rows.append(row)
    if signed:
        _check_signers(rows, log)
        standings(rows)
    return tuple(rows)


def seal_ledger(ledger: Ledger, key: SigningKey, recipients: Sequence[str]) -> bytes:
    """The sealed file of `ledger`, signed by `key` and sealed to `recipients` (host and recovery)."""
    body = {
        "schema": SCHEMA,
        "scid": ledger.scid,
        "fingerprint_key": to_base64(ledger.fingerprint_key),
        "rows": [row.body for row in ledger.rows],
    }
    return seal_envelope(body, key, recipients)


def open_ledger(
    data: Buffer, identities: Sequence[X25519Identity], log: IdentityLog, own: Collection[bytes] = ()
) -> Ledger:
    """The ledger in the sealed file `data`, verified against the identity log `log`.

    `own`: public keys of this host. What one of them has sealed was verified before, row by row, and is not again.
    Raises `CannotUnlockError` (no identity opens it), `IntegrityError` (changed, forged, another identity's) and
    `UsageError` (a newer format).
    """
    opened = open_envelope(data, SCHEMA, identities)
    fields = Fields(opened.body, "the ledger")
    fields.text("schema")
    scid = fields.text("scid")
    fingerprint_key = fields.data("fingerprint_key", FINGERPRINT_KEY_BYTES)
    values = fields.items("rows")
    fields.end()
    if scid != log.scid:
        raise IntegrityError(f"ledger is of identity `{scid[:60]}`, not of `{log.scid}`")
    log.op_key(opened.signer)
    return Ledger(scid, fingerprint_key, read_rows(values, log, signed=opened.signer not in own))


def _row(value: object, before: Row | None) -> Row:
    """The row in a JSON object, in its place and of the right form; its signature is not looked at."""
    if not isinstance(value, dict):
        raise IntegrityError("is not an object")
    op, names = value.get("op"), value.keys()
    if op in WAIVER_OPS:
        if names - _PATHS != _OF_WAIVER or len(names & _PATHS) != 1:
            raise IntegrityError("does not have exactly the members of a waiver")
        _check_waiver(value)
    elif op in _OPS:
        if names != _OF_SECRET:
            raise IntegrityError("does not have exactly the members of a change")
        _check_secret(value)
    else:
        raise IntegrityError("says something that is not known")
    seq = value["seq"]
    if isinstance(seq, bool) or seq != (before.seq + 1 if before else 1):
        raise IntegrityError("does not have the number of its place")
    if value["prev"] != (before.hash if before else FIRST):
        raise IntegrityError("does not follow the row before: changed, dropped, moved or slipped in")
    if not _is(_TIME, value["time"]) or (before and value["time"] < before.time):
        raise IntegrityError("its time is none, or before that of the row before")
    reason = value["reason"]
    if not isinstance(reason, str) or len(reason) > _MAX_REASON or not reason.isprintable():
        raise IntegrityError(f"its reason is not one line of at most {_MAX_REASON} letters")
    if not _is(_HEX, value["sig"]) or len(value["sig"]) != 128 or not isinstance(value["by"], str):
        raise IntegrityError("is not signed")
    line = canonical.dumps(value)
    return Row(value, hashlib.sha256(line).hexdigest(), len(line))


def _check_secret(value: Mapping[str, Any]) -> None:
    version, ending = value["version"], value["op"] in _ENDING
    if not _is(SECRET_NAME, value["name"]) or value["class"] not in CLASSES:
        raise IntegrityError("names no secret, or no class of one")
    if isinstance(version, bool) or not isinstance(version, int) or version < (0 if ending else 1):
        raise IntegrityError("its version is not a number from 1")


def _check_waiver(value: Mapping[str, Any]) -> None:
    if not _is(_TIME, value["expires"]) or not _is(_HEX, value["fingerprint"]):
        raise IntegrityError("its end or its fingerprint is malformed")
    rule, path = value["rule"], value.get("path", value.get("path_hex"))
    if not isinstance(rule, str) or not rule or not isinstance(path, str) or not path:
        raise IntegrityError("names no rule or no path")
    if max(len(rule), len(path), len(value["fingerprint"])) > _MAX_TEXT:
        raise IntegrityError("its rule, path or fingerprint is too long")
    if "path_hex" in value and not _is(_HEX, path):
        raise IntegrityError("its path is not hex")


def _check_signature(row: Row) -> None:
    body = {name: value for name, value in row.body.items() if name != "sig"}
    verify(parse_multikey(body["by"]), canonical.dumps(body), bytes.fromhex(row.body["sig"]))


def _check_signers(rows: Sequence[Row], log: IdentityLog) -> None:
    """Each row by a key of the identity, which nobody had revoked by then, as far as the log can tell: no row of a
    key that was added with or after the revocation stands before it, and if none stands behind it either, to
    vouch for it, its time is not after the revocation."""
    floor, signers = 0, []
    for row in rows:
        known = log.op_key(parse_multikey(row.body["by"]))
        if known.until is not None and known.until <= floor:
            raise IntegrityError(f"ledger row {row.seq} is signed by a key that had been revoked")
        floor = max(floor, known.since)
        signers.append(known)
    times: list[str] = []
    for row, known in zip(rows, signers, strict=True):
        if known.until is None or known.until <= floor:
            continue
        times = times or _version_times(log)
        if row.time[:19] > times[known.until - 1][:19]:
            raise IntegrityError(f"ledger row {row.seq} is dated after its key was revoked")


def _version_times(log: IdentityLog) -> list[str]:
    return [str(canonical.loads(line, MAX_ENTRY_BYTES)["versionTime"]) for line in log.text.splitlines()]


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
