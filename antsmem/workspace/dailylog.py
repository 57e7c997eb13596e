"""Append to the agent's daily log, so that no entry is ever lost to another writer or to a crash.

An entry is one item of a list. It starts at a line that ends in its anchor; all that is indented belongs to it:

    - 14:03:22 laptop <!-- e:01JD3QZ4X8M6V0C2N9T5B7K1RA -->
      Any Markdown.

Because a Markdown container closes all that is open in it, no text can reach out of its entry. The anchor is the
entry's identity for merging, so a text can hold none: what looks like one is disarmed.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from antsmem.core.disk import disk_error, fsync_dir, locked, write_all
from antsmem.core.errors import LockedError, UsageError
from antsmem.core.record import record
from antsmem.workspace.humantime import human_time
from antsmem.workspace.layout import Layout
from antsmem.workspace.ulid import new_ulid

ANCHOR: Final = re.compile(rb"^- .*<!-- e:([0-9A-HJKMNP-TV-Z]{26}) -->$", re.MULTILINE)
"""Finds the first lines of entries, with their identifiers, in the bytes of a daily log."""

MAX_LENGTH: Final = 1_000_000
"""The longest text of one entry, in characters."""

T = TypeVar("T")

_WAIT_SECONDS: Final = 20.0
_HEADINGS: Final = re.compile(rb"^##? (.*?)[ \t\r]*$", re.MULTILINE)
_DEVICE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_MARKER: Final = re.compile(r"<!--(?=\s*[A-Za-z]+\s*:)")
# Control characters become their Unicode pictures, what only ends lines for some readers ends them for all.
_CONTROLS: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys((0x85, 0x2028, 0x2029), "\n"),
}


@record
class LogResult:
    """Where the entry is: durable when this is returned. `healed`: the log ended within a line before it."""

    path: Path
    day: str
    entry_id: str
    size_bytes: int
    created: bool
    healed: bool


def append_entry(layout: Layout, text: str, now_ns: int, time_zone: str, device: str) -> LogResult:
    """Append `text` (any Markdown) to the log of the agent's day, under the name of `device`.

    Makes the log with a heading if there is none. Waits up to 20 s for other writers, then `LockedError`. Raises
    `UsageError` for an empty or too long text or a bad device name, `ConfigError` for an unknown time zone and
    `DiskError` when the disk is full: the log is then as it was.
    """
    if not _DEVICE.fullmatch(device):
        raise UsageError("a device name has letters, digits, `.`, `_` and `-`, at most 64: nothing logged")
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the text is longer than {MAX_LENGTH} characters: nothing logged")
    body = _disarmed(text)
    if not body:
        raise UsageError("no text: nothing logged", hint='give it: `antsmem log "what happened"`')
    moment = human_time(now_ns, time_zone)
    entry_id = new_ulid(now_ns)
    path = layout.daily_log(moment.day)
    heading = f"# {moment.day}\n\n".encode()
    entry = f"- {moment.clock} {device} <!-- e:{entry_id} -->\n{body}\n".encode()
    written = _written(path, lambda fd: _append(fd, path, heading, entry, entry.partition(b"\n")[0]))
    return LogResult(path, moment.day, entry_id, len(entry), *written)


def append_line(layout: Layout, day: str, section: str, line: str, mark: str) -> bool:
    """Put the item `- line <!-- mark -->` under the heading `## section` at the end of the log of `day`, unless an
    item with this mark stands in the log; whether it was written.

    The heading is written where the last one in the log is another. `line` is one line of plain text, made safe
    here; `mark` has no blanks and no `--`. Waits and raises as `append_entry`.
    """
    path = layout.daily_log(day)
    anchor = f" <!-- {mark} -->".encode()
    text = f"- {' '.join(_disarmed(line).split())}".encode() + anchor + b"\n"

    def put(fd: int) -> bool | None:
        try:
            log = os.pread(fd, os.fstat(fd).st_size, 0)
        except OSError as error:
            raise disk_error("read", path, error) from error
        if anchor in log:
            return False
        last = _HEADINGS.findall(log)[-1:]
        heading = b"" if last == [section.encode()] else f"## {section}\n\n".encode()
        apart = b"\n" if heading and log and not log.endswith(b"\n\n") else b""
        return None if _append(fd, path, f"# {day}\n\n".encode(), apart + heading + text, anchor) is None else True

    return _written(path, put)


def _written(path: Path, put: Callable[[int], T | None]) -> T:
    """What `put` gives for the open log, locked against all who append here; None means that it was replaced."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            with locked(path, f"`{path}` is being written by another process: nothing logged") as fd:
                written = put(fd)
        except LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.004)
            continue
        if written is not None:
            return written


def _append(fd: int, path: Path, heading: bytes, entry: bytes, anchor: bytes) -> tuple[bool, bool] | None:
    """Write the entry, in which `anchor` stands, at the end of the locked file: was it made, was it healed. None:
    another file is there."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"`{path}` is not a regular file: nothing logged")
    if not _is_at(status, path):
        return None  # replaced between opening and locking, by an editor's save
    size = status.st_size
    try:
        healed = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        data = b"".join((heading if size == 0 else b"", b"\n" if healed else b"", entry))
        # Appending is left to the kernel, for those who append here without asking for the lock.
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        try:
            write_all(fd, data)
        except BaseException:
            _take_back(fd, size, data)
            raise
        os.fsync(fd)
        if size == 0:
            fsync_dir(path.parent)
    except OSError as error:
        raise disk_error("append to", path, error) from error
    if not _is_at(status, path) and not _holds(path, anchor):
        return None  # replaced while we wrote, by somebody who had not seen the entry
    return size == 0, healed


def _is_at(status: os.stat_result, path: Path) -> bool:
    """Whether the file of `status` is still the one at `path`."""
    with suppress(OSError):
        return os.path.samestat(status, os.lstat(path))
    return False


def _holds(path: Path, anchor: bytes) -> bool:
    """Whether `anchor` stands in the file at `path`."""
    with suppress(OSError):
        return anchor in path.read_bytes()
    return False


def _take_back(fd: int, size: int, data: bytes) -> None:
    """After a failed write: cut the part of `data` that arrived, unless somebody else wrote after it."""
    with suppress(OSError):
        grown = os.fstat(fd).st_size - size
        if 0 < grown <= len(data) and os.pread(fd, grown, size) == data[:grown]:
            os.ftruncate(fd, size)


def _disarmed(text: str) -> str:
    """`text` as it stands in a log: indented, without control characters and anchors."""
    text = text.encode("utf-8", "replace").decode()
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)
    lines = [line.rstrip() for line in _MARKER.sub("&lt;!--", text).split("\n")]
    while lines and not lines[0]:
        del lines[0]
    return "\n".join(f"  {line}" if line else "" for line in lines).rstrip("\n")
