"""The last wake of this host, in a small file outside of the workspace: seen from outside, it tells silence from
rest; seen by the next wake, it tells that nothing can be due.

Lines of a name and a value; nothing waits for the disk, and a file that cannot be read is as none.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError
from antsmem.core.record import record

_FIRST: Final = "antsmem last wake 1"
_LIMIT: Final = 16 << 10
_MOST: Final = 20


@record
class LastWake:
    """When the last wake began and ended (nanoseconds since 1970 UTC; `ended_ns` 0: it has not), its exit code,
    the keys that it started, and when the next thing is due (None: never). `sight` is what it looked at, in a form
    that changes when any of it does; empty where that does not tell enough."""

    began_ns: int
    ended_ns: int = 0
    code: int = 0
    started: tuple[str, ...] = ()
    next_ns: int | None = None
    sight: str = ""


def last_wake_path(folder: Path, agent: str) -> Path:
    """Where it stands, in this host's folder for the heartbeat; `agent` is a name fit for a file."""
    return folder / "wakes" / agent


def read_last_wake(path: Path) -> LastWake | None:
    """The last wake; None if none is known."""
    try:
        lines = read_file(path, _LIMIT).decode().split("\n")
        if lines[0] != _FIRST:
            return None
        pairs = [line.partition(" ") for line in lines[1:] if line]
        found = {name: value for name, _, value in pairs if name != "started"}
        return LastWake(
            int(found["began_ns"]),
            int(found["ended_ns"]),
            int(found["code"]),
            tuple(value for name, _, value in pairs if name == "started"),
            int(found["next_ns"]) if found["next_ns"] else None,
            found["sight"],
        )
    except (AntsmemError, ValueError, KeyError):
        return None


def write_last_wake(path: Path, last: LastWake) -> None:
    """Replace it. Where that fails, nothing is known of the last wake, and no more is lost."""
    lines = [_FIRST, f"began_ns {last.began_ns}", f"ended_ns {last.ended_ns}", f"code {last.code}"]
    lines += [f"next_ns {'' if last.next_ns is None else last.next_ns}", f"sight {last.sight}"]
    lines += [f"started {key}" for key in last.started[:_MOST]]
    with suppress(AntsmemError):
        make_private_dir(path.parent)
        write_file(path, ["\n".join(lines).encode() + b"\n"], durable=False)


def nothing_due(last: LastWake | None, sight: str, now_ns: int) -> bool:
    """Whether nothing can be due: the last wake saw all that it would see now, and its next time is to come. A
    clock that was set back says nothing."""
    if last is None or not sight or last.sight != sight or not last.ended_ns:
        return False
    return last.ended_ns <= now_ns and (last.next_ns is None or now_ns < last.next_ns)


def sight_of(paths: Iterable[Path], words: Iterable[str]) -> str:
    """What there is to see of `paths` without opening them, and `words`; changes when a file is written, replaced,
    made or removed."""
    import hashlib
    import os

    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path, follow_symlinks=False)
            seen = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_mode}"
        except OSError as error:
            seen = str(error.errno)
        digest.update(os.fsencode(path) + b"\0" + seen.encode() + b"\0")
    for word in words:
        digest.update(word.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
