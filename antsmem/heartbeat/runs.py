"""What an action printed, kept beside the journal: `runs/<run>/stdout` and `stderr`, 0600."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from antsmem.core.disk import disk_error, fsync_dir, make_private_dir, read_file, write_all
from antsmem.core.errors import AntsmemError
from antsmem.heartbeat.action import STDOUT_BYTES
from antsmem.heartbeat.line import Entry


class Run:
    """A new run below `runs`: its name and its two files, open until the end of `with`. `DiskError` if there is no
    room for it. What is `given` to it on standard input is kept too, as `context.md`."""

    def __init__(self, runs: Path, given: bytes = b"") -> None:
        self.name = os.urandom(12).hex()
        self.folder = runs / self.name
        make_private_dir(self.folder)
        with ExitStack() as stack:
            self.stdout = stack.enter_context(_opened(self.folder / "stdout"))
            self.stderr = stack.enter_context(_opened(self.folder / "stderr"))
            self.context = stack.enter_context(_opened(self.folder / "context.md")) if given else None
            if self.context is not None:
                _fill(self.context, given, self.folder)
            stack.pop_all()

    @property
    def stdin(self) -> int | None:
        """A descriptor of what is given to it; None where nothing is."""
        return None if self.context is None else self.context.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; their names stay."""
        self.stdout.close()
        self.stderr.close()
        if self.context is not None:
            self.context.close()

    def printed(self) -> tuple[bytes, bytes]:
        """What is in the two files."""
        self.stdout.seek(0)
        self.stderr.seek(0)
        return self.stdout.read(), self.stderr.read()

    def keep(self) -> str:
        """Make stdout durable, for it is replayed; its SHA-256 (hex), nothing if nothing was printed.

        A disk that fails loses the output, not the result.
        """
        try:
            self.stdout.seek(0)
            data = self.stdout.read()
            if not data:
                return ""
            os.fsync(self.stdout.fileno())
            fsync_dir(self.folder)
            fsync_dir(self.folder.parent)
        except OSError:
            return "0" * 64
        return hashlib.sha256(data).hexdigest()


def _fill(file: IO[bytes], data: bytes, folder: Path) -> None:
    try:
        write_all(file.fileno(), data)
        file.seek(0)
    except OSError as error:
        raise disk_error("write", folder, error) from error


def _opened(path: Path) -> IO[bytes]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise disk_error("write", path, error) from error
    return os.fdopen(fd, "r+b", buffering=0)


def replayed(runs: Path, entry: Entry) -> tuple[bytes, bool]:
    """What the run of a settled `entry` printed to stdout, and whether that is what was recorded."""
    wanted, run = entry.text("stdout"), entry.text("run")
    if not wanted:
        return b"", True
    with suppress(AntsmemError):
        data = read_file(runs / os.path.basename(run) / "stdout", STDOUT_BYTES)
        if hashlib.sha256(data).hexdigest() == wanted:
            return data, True
    return b"", False
