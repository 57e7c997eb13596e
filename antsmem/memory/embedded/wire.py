"""How the embedded backends write a log record: one line of canonical JSON with the headers, then the data."""

from __future__ import annotations

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError
from antsmem.memory.roles import LogRecord

_HEADER_LIMIT = 1 << 16


def record_to_bytes(record: LogRecord) -> bytes:
    """`record` without its stream."""
    return canonical.dumps({"id": record.id, "headers": dict(record.headers)}) + b"\n" + record.data


def record_from_bytes(stream: str, written: bytes) -> LogRecord:
    """What `record_to_bytes` wrote; `IntegrityError` for anything else."""
    line, newline, data = written.partition(b"\n")
    value = canonical.loads(line, _HEADER_LIMIT)
    if not newline or not isinstance(value, dict) or set(value) != {"id", "headers"}:
        raise IntegrityError("a stored record is not what was written")
    headers = value["headers"]
    texts = isinstance(headers, dict) and all(isinstance(text, str) for text in headers.values())
    if not texts or not isinstance(value["id"], str):
        raise IntegrityError("a stored record is not what was written")
    return LogRecord(stream, value["id"], headers, data)
