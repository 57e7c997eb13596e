"""What this host has seen proven about an agent, and when: reliability is counted from this, not from settings.

A file of JSON lines in the agent's local state. It is private to the host and safe to lose: what nobody saw here
has to be proven again. Each line names the agent, by the name of that directory: copied to another one, it proves
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.disk import locked_within, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError
from antsmem.core.record import record

KINDS: Final = ("restore-proven", "recovery-drill", "migration-test", "backend-verified", "autonomy-resumed")
"""A snapshot was restored or rehearsed from a repository; the ways back were drilled; the migration test passed;
a backend held what was written; a heartbeat finished interrupted work on a new host."""

_FILE: Final = "evidence.jsonl"
_KEPT: Final = 32
_LIMIT: Final = 4 << 20
_LINE_LIMIT: Final = 16 << 10
_WAIT_SECONDS: Final = 5.0


@record
class Evidence:
    """Something of `kind` was proven at `time_ns`, nanoseconds since 1970 UTC. `details` says how, for people and
    `--json`: text, whole numbers, lists and objects of them; never a secret."""

    kind: str
    time_ns: int
    details: Mapping[str, Any]


def record_evidence(directory: Path, kind: str, now_ns: int, details: Mapping[str, Any]) -> None:
    """Add a record to those in `directory` (the agent's local state), durably; of a kind the newest 32 are kept.

    Raises `UsageError` for an unknown kind or details that are no plain JSON or longer than 16 KiB, `DiskError`
    where it cannot be written, `LockedError` if others write for five seconds.
    """
    if kind not in KINDS:
        raise UsageError(f"`{kind}` is no kind of evidence: there are {', '.join(KINDS)}")
    new = Evidence(kind, now_ns, details)
    if len(_line(directory, new)) > _LINE_LIMIT:
        raise UsageError(f"the details of `{kind}` are longer than {_LINE_LIMIT} bytes: not recorded")
    with locked_within(_WAIT_SECONDS, directory / "evidence.lock", "another antsmem records evidence"):
        found = [*read_evidence(directory), new]
        same = [each for each in found if each.kind == kind]
        gone = {id(each) for each in same[:-_KEPT]}
        lines = [_line(directory, each) for each in found if id(each) not in gone]
        write_file(directory / _FILE, lines)


def read_evidence(directory: Path) -> tuple[Evidence, ...]:
    """All records in `directory`, in the order in which they were made; none where there is no file. A line that
    is damaged, or of another agent, proves nothing and is passed over."""
    try:
        data = read_file(directory / _FILE, _LIMIT)
    except NotFoundError:
        return ()
    found = []
    for line in data.splitlines():
        try:
            value = canonical.loads(line, _LINE_LIMIT)
            kind, moment, details, agent = (value[name] for name in ("kind", "time_ms", "details", "agent"))
        except (IntegrityError, KeyError, TypeError):
            continue
        if kind in KINDS and type(moment) is int and isinstance(details, dict) and agent == directory.name:
            found.append(Evidence(kind, moment * 1_000_000, details))
    return tuple(found)


def _line(directory: Path, one: Evidence) -> bytes:
    # Milliseconds: nanoseconds since 1970 are more than a canonical integer holds.
    said = {"kind": one.kind, "time_ms": one.time_ns // 1_000_000, "details": one.details}
    return canonical.dumps({**said, "agent": directory.name}) + b"\n"
