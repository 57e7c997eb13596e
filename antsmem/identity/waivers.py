"""Waivers: a person's recorded permission, until a date, that one secret may stand in one file of a backup.

A file of canonical JSON lines. Each row is signed and names the SHA-256 of the row before it, so that none can be
changed, dropped or slipped in between; whoever keeps `Waivers.head` elsewhere also sees rows missing at the end.

| field | is |
|---|---|
| `schema` | `antsmem.waiver/1` |
| `prev` | SHA-256 (hex) of the line before without its newline; 64 zeros in the first |
| `path` or `path_hex` | the file, from the workspace's root: text, or hex where it is not UTF-8 |
| `rule`, `fingerprint` | of the finding (hex) |
| `reason`, `time`, `expires` | why, when it was given, when it ends (RFC 3339, UTC, milliseconds) |
| `by`, `sig` | the signer (multikey); Ed25519 over the canonical JSON of the other fields (hex) |

The last row about a path, rule and fingerprint counts; one that ends when it was given takes the permission back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from antsmem.core import canonical
from antsmem.core.clock import utc_text
from antsmem.core.disk import AnyPath, locked, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError
from antsmem.core.record import record, replace
from antsmem.identity.scanner import Finding

SCHEMA: Final = "antsmem.waiver/1"
MAX_DAYS: Final = 366
_DAY_NS: Final = 86_400_000_000_000
_FIRST: Final = "0" * 64
_MAX_BYTES: Final = 8 << 20
_MAX_REASON: Final = 500
_HINT: Final = "put back a good copy of this file, or remove it: every permission must then be given again"
_FIELDS: Final = frozenset(
    {"schema", "prev", "rule", "fingerprint", "reason", "time", "expires", "by", "sig"}
)  # fmt: skip

_Key = tuple[bytes, str, bytes]


class Signer(Protocol):
    """An Ed25519 key, see `identity.signing`."""

    @property
    def public(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        ...


@record
class Waiver:
    """One row. `path` is relative to the workspace; times are nanoseconds since 1970 UTC, kept to the millisecond;
    `by` is the public key that signed it, empty before."""

    path: bytes
    rule: str
    fingerprint: bytes
    reason: str
    time_ns: int
    expires_ns: int
    by: bytes = b""


@record
class Waivers:
    """The permissions that stand. `rows` are all that were ever given, in order; `head` is the SHA-256 (hex) of
    the last line, 64 zeros if there is none."""

    rows: tuple[Waiver, ...]
    head: str
    _standing: Mapping[_Key, Waiver]

    def allows(self, path: bytes, finding: Finding) -> bool:
        """Whether `finding` may stand in the file at `path`, relative to the workspace."""
        return (path, finding.rule, finding.fingerprint) in self._standing


def load_waivers(file: AnyPath, trusted: Collection[bytes], now_ns: int) -> Waivers:
    """The waivers in `file` (none if it does not exist) that have not ended by `now_ns`.

    `trusted`: public keys whose rows count; also former ones, as each row is verified. Raises `IntegrityError` if
    a row is changed, unsigned, signed by another key or not in its place. A last line cut short is passed over.
    """
    return _standing(_read(file, trusted), now_ns)


def add_waiver(file: AnyPath, waiver: Waiver, key: Signer, trusted: Collection[bytes]) -> Waivers:
    """Append `waiver` to `file`, signed by `key`, and give what stands then at the waiver's own time.

    Raises `UsageError` if it lasts more than 366 days or gives no reason in one line, `IntegrityError` if the file
    cannot be trusted as it is or `key` is not among `trusted`, `LockedError` while another process writes it.
    """
    _require_meaning(waiver)
    if key.public not in trusted:
        raise IntegrityError("a waiver would be signed by a key that is not trusted here")
    with locked(f"{file}.lock", f"`{file}` is being written"):
        lines, rows, head = _read(file, trusted)
        line = _line(waiver, key, head)
        write_file(file, [*(each + b"\n" for each in lines), line + b"\n"])
    row = replace(waiver, by=key.public)
    return _standing(([*lines, line], [*rows, row], _digest(line)), waiver.time_ns)


def _standing(read: tuple[list[bytes], list[Waiver], str], now_ns: int) -> Waivers:
    _, rows, head = read
    last = {(row.path, row.rule, row.fingerprint): row for row in rows}
    standing = {key: row for key, row in last.items() if max(now_ns, row.time_ns) < row.expires_ns}
    return Waivers(tuple(rows), head, standing)


def _require_meaning(waiver: Waiver) -> None:
    if waiver.expires_ns > waiver.time_ns + MAX_DAYS * _DAY_NS:
        raise UsageError(f"a waiver lasts {MAX_DAYS} days at most")
    if not waiver.reason.strip() or len(waiver.reason) > _MAX_REASON or not waiver.reason.isprintable():
        raise UsageError(f"a waiver needs a reason: one line of at most {_MAX_REASON} letters")
    if not waiver.path or not waiver.rule or not waiver.fingerprint:
        raise UsageError("a waiver names a path, a rule and a fingerprint")


def _line(waiver: Waiver, key: Signer, prev: str) -> bytes:
    from antsmem.identity.multikey import multikey

    body: dict[str, Any] = {
        "schema": SCHEMA,
        "prev": prev,
        "rule": waiver.rule,
        "fingerprint": waiver.fingerprint.hex(),
        "reason": waiver.reason,
        "time": utc_text(waiver.time_ns),
        "expires": utc_text(waiver.expires_ns),
        "by": multikey(key.public),
    }
    try:
        body["path"] = waiver.path.decode()
    except UnicodeDecodeError:
        body["path_hex"] = waiver.path.hex()
    return canonical.dumps({**body, "sig": key.sign(canonical.dumps(body)).hex()})


def _read(file: AnyPath, trusted: Collection[bytes]) -> tuple[list[bytes], list[Waiver], str]:
    """The good lines of `file`, their rows and the digest of the last."""
    try:
        *lines, rest = read_file(file, _MAX_BYTES).split(b"\n")
    except NotFoundError:
        return [], [], _FIRST
    rows = []
    head = _FIRST
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_row(line, head, trusted))
        except IntegrityError as error:
            raise IntegrityError(f"`{file}` line {number}: {error}", hint=_HINT) from None
        head = _digest(line)
    if rest:  # a write cut short, unless only the newline is missing: a revocation must not be lost for that
        try:
            rows.append(_row(rest, head, trusted))
        except IntegrityError:
            return lines, rows, head
        lines, head = [*lines, rest], _digest(rest)
    return lines, rows, head


def _row(line: bytes, prev: str, trusted: Collection[bytes]) -> Waiver:
    """The row of one `line`, verified, else `IntegrityError`."""
    from antsmem.identity.multikey import parse_multikey
    from antsmem.identity.signing import verify

    row = canonical.loads(line, _MAX_BYTES)
    if not isinstance(row, dict) or canonical.dumps(row) != line:
        raise IntegrityError("not a canonical JSON object")
    if row.keys() - {"path", "path_hex"} != _FIELDS or ("path" in row) is ("path_hex" in row):
        raise IntegrityError("its fields are not those of a waiver")
    if row["schema"] != SCHEMA or row["prev"] != prev:
        raise IntegrityError("it does not follow the row before: changed, dropped or slipped in")
    public = parse_multikey(row["by"])
    if public not in trusted:
        raise IntegrityError("signed by a key that is not trusted here")
    unsigned = {name: value for name, value in row.items() if name != "sig"}
    verify(public, canonical.dumps(unsigned), _unhex(row["sig"]))
    path = _text(row["path"]).encode() if "path" in row else _unhex(row["path_hex"])
    return Waiver(
        path,
        _text(row["rule"]),
        _unhex(row["fingerprint"]),
        _text(row["reason"]),
        _instant_ns(_text(row["time"])),
        _instant_ns(_text(row["expires"])),
        public,
    )


def _instant_ns(text: str) -> int:
    from datetime import UTC, datetime, timedelta

    try:
        since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
        instant_ns = since // timedelta(milliseconds=1) * 1_000_000
    except (ValueError, TypeError, OverflowError):
        instant_ns = -1
    if instant_ns < 0 or utc_text(instant_ns) != text:
        raise IntegrityError("not an instant (RFC 3339, UTC, milliseconds)")
    return instant_ns


def _unhex(value: object) -> bytes:
    try:
        return bytes.fromhex(_text(value))
    except ValueError:
        raise IntegrityError("a field is not hex") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise IntegrityError("a field is not text")
    return value


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
