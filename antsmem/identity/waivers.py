"""Waivers: a person's recorded permission, until a date, that one secret may stand in one file of a backup.

They are rows of the ledger (`waive`, `unwaive`), so none can be changed, dropped or slipped in, and they come back
with it in a recovery. The last row about a path, rule and fingerprint counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from antsmem.core.clock import utc_text
from antsmem.core.errors import UsageError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.identity.custody import Access, Custody
    from antsmem.identity.ledger import Row
    from antsmem.identity.scanner import Finding

MAX_DAYS: Final = 366
_DAY_NS: Final = 86_400_000_000_000
_MAX_REASON: Final = 500

_Key = tuple[bytes, str, bytes]


@record
class Waiver:
    """One permission. `path` is relative to the workspace; it ends `expires_ns`, nanoseconds since 1970 UTC, kept
    to the millisecond."""

    path: bytes
    rule: str
    fingerprint: bytes
    reason: str
    expires_ns: int


@record
class Waivers:
    """The permissions that stand at a moment."""

    _standing: Mapping[_Key, str]

    def allows(self, path: bytes, finding: Finding) -> bool:
        """Whether `finding` may stand in the file at `path`, relative to the workspace."""
        return (path, finding.rule, finding.fingerprint) in self._standing

    def standing(self) -> list[tuple[bytes, str, bytes, str]]:
        """Path, rule, fingerprint and end of each."""
        return [(*key, ends) for key, ends in sorted(self._standing.items())]


NONE: Final = Waivers({})


def waivers_of(rows: Iterable[Row], now_ns: int) -> Waivers:
    """The permissions in `rows` of a verified ledger that have not ended by `now_ns`, nor by the time at which
    they were given (the clock may have been set back)."""
    now = utc_text(now_ns)
    standing: dict[_Key, str] = {}
    for row in rows:
        if row.op not in {"waive", "unwaive"}:
            continue
        body = row.body
        path = body["path"].encode() if "path" in body else bytes.fromhex(body["path_hex"])
        key = (path, str(body["rule"]), bytes.fromhex(body["fingerprint"]))
        standing.pop(key, None)
        if row.op == "waive" and max(now, row.time) < body["expires"]:
            standing[key] = str(body["expires"])
    return Waivers(standing)


def remembered_waivers(rows: Iterable[tuple[bytes, str, bytes, str]], now_ns: int) -> Waivers:
    """What `Waivers.standing` gave, as far as it has not ended by `now_ns`."""
    now = utc_text(now_ns)
    return Waivers({(path, rule, found): ends for path, rule, found, ends in rows if now < ends})


def add_waivers(access: Access, waivers: Sequence[Waiver], now_ns: int) -> Custody:
    """Record that all of `waivers` are given. Raises `UsageError` if one lasts more than 366 days or gives no
    reason in one line, and what `change_custody` raises."""
    return _recorded(access, "waive", waivers, now_ns)


def end_waivers(access: Access, waivers: Sequence[Waiver], now_ns: int) -> Custody:
    """Record that all of `waivers` are taken back now; raises as `add_waivers`."""
    return _recorded(access, "unwaive", waivers, now_ns)


def _recorded(access: Access, op: str, waivers: Sequence[Waiver], now_ns: int) -> Custody:
    from antsmem.identity.custody import Change, change_custody

    for waiver in waivers:
        _require_meaning(waiver, now_ns)
    rows = [_row(op, waiver) for waiver in waivers]
    return change_custody(access, lambda found: Change(found.keystore.secrets, rows), now_ns)


def _require_meaning(waiver: Waiver, now_ns: int) -> None:
    if waiver.expires_ns > now_ns + MAX_DAYS * _DAY_NS:
        raise UsageError(f"a waiver lasts {MAX_DAYS} days at most")
    if not waiver.reason.strip() or len(waiver.reason) > _MAX_REASON or not waiver.reason.isprintable():
        raise UsageError(f"a waiver needs a reason: one line of at most {_MAX_REASON} letters")
    if not waiver.path or not waiver.rule or not waiver.fingerprint or waiver.expires_ns < now_ns:
        raise UsageError("a waiver names a path, a rule, a fingerprint and an end to come")


def _row(op: str, waiver: Waiver) -> dict[str, Any]:
    row: dict[str, Any] = {
        "op": op,
        "rule": waiver.rule,
        "fingerprint": waiver.fingerprint.hex(),
        "expires": utc_text(waiver.expires_ns),
        "reason": waiver.reason,
    }
    try:
        row["path"] = waiver.path.decode()
    except UnicodeDecodeError:
        row["path_hex"] = waiver.path.hex()
    return row
