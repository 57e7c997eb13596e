"""What an action was told and what it printed, beside the journal: `runs/<run>/context.md`, `stdout`, `stderr`."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from antsmem.core.disk import disk_error, fsync_dir, make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError
from antsmem.heartbeat.action import STDOUT_BYTES
from antsmem.heartbeat.line import Entry

PROMPT = "context.md"


class Run:
    """A new run below `runs`: its name and its two files, open until the end of `with`. `DiskError` if there is no
    room for it."""

    def __init__(self, runs: Path) -> None:
        self.name = os.urandom(12).hex()
        self.folder = runs / self.name
        self.prompt: IO[bytes] | None = None
        make_private_dir(self.folder)
        with ExitStack() as stack:
            self.stdout = stack.enter_context(_opened(self.folder / "stdout"))
            self.stderr = _opened(self.folder / "stderr")
            stack.pop_all()

    def keep_prompt(self, text: bytes) -> None:
        """Keep what the action is told in `context.md`, and open it as `prompt` for its standard input."""
        path = self.folder / PROMPT
        write_file(path, [text], new=True, durable=False)
        try:
            self.prompt = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with the other two
        except OSError as error:
            raise disk_error("read", path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; their names stay."""
        for file in (self.stdout, self.stderr, self.prompt):
            if file is not None:
                file.close()

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
