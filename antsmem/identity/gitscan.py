"""Look for secrets in git: in what is about to be committed, and in all that ever was.

The program `git` is asked, as a library would ask it too. It runs no hook, no filter, no external diff and no
transport here, whatever the repository's configuration says: objects are read as they are stored.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.identity.scan import Scanned, scan_stream
from antsmem.identity.scanner import Scanner

_QUIET: Final = (
    *("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "protocol.allow=never"),
    *("--no-optional-locks", "--no-pager"),
)
_AS_STORED: Final = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull}
"""`git replace` and grafts hide what is still there, and pushed."""
_BATCH: Final = "%(objectname) %(objecttype) %(objectsize) %(rest)"
_NO_BYTES: Final = {b"040000", b"160000"}
"""Modes of what holds no bytes of its own: directories, submodules."""


@record
class Git:
    """A repository: `root` is the top of its work tree (or the bare repository itself)."""

    root: Path
    environment: Mapping[str, str]


def open_git(folder: Path, environment: Mapping[str, str]) -> Git:
    """The repository that `folder` is in; `NotFoundError` if it is in none, or `git` is not installed."""
    start = Git(folder, environment)
    top = _said(start, "rev-parse", "--show-toplevel") or _said(start, "rev-parse", "--absolute-git-dir")
    if not top:
        raise NotFoundError(f"`{folder}` is in no git repository", hint="antsmem scan PATH looks at plain files")
    return Git(Path(os.fsdecode(top)), environment)


def scan_staged(scanner: Scanner, git: Git, scanned: Scanned) -> None:
    """Scan what the index holds otherwise than the last commit: whole files, as they would be committed. Where
    git could not tell or give all of it, `scanned` says so."""
    words = (
        "diff",
        "--cached",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--no-ext-diff",
        "--diff-filter=ACMT",
    )
    with _started(git, *words, stdin=subprocess.DEVNULL) as listing:
        fields = listing.communicate()[0].split(b"\0")
    with _started(git, "cat-file", f"--batch={_BATCH}", stdin=subprocess.PIPE) as reading:
        assert reading.stdin is not None and reading.stdout is not None
        with suppress(BrokenPipeError):  # it has died, which its status tells
            for about, path in zip(fields[::2], fields[1::2], strict=False):
                _, mode, _, object_id, _ = about.split(b" ")
                if mode not in _NO_BYTES:
                    reading.stdin.write(object_id + b" " + path.replace(b"\n", b"?") + b"\n")
                    reading.stdin.flush()
                    _scan_next(scanner, reading.stdout, scanned)
        with suppress(BrokenPipeError):  # what could not be written is written again here
            reading.stdin.close()
    _tell_failures(git, scanned, listing, reading)


def scan_history(scanner: Scanner, git: Git, scanned: Scanned) -> None:
    """Scan every file of every commit that a branch, a tag or the stash leads to, each content once. Where git
    could not list or give all of them, `scanned` says so."""
    words = ("rev-list", "--objects", "--all", "--filter=object:type=blob", "--filter-provided-objects")
    with (
        _started(git, *words, stdin=subprocess.DEVNULL) as listing,
        _started(git, "cat-file", "--buffer", f"--batch={_BATCH}", stdin=listing.stdout) as reading,
    ):
        assert listing.stdout is not None and reading.stdout is not None
        listing.stdout.close()  # it is the other's now
        while _scan_next(scanner, reading.stdout, scanned):
            pass
    _tell_failures(git, scanned, listing, reading)


def commit_of(git: Git, object_id: str) -> str:
    """The first commit that brought a blob, shortened; empty if none is found."""
    said = _said(git, "log", "--all", "--no-ext-diff", "--format=%h", "--reverse", f"--find-object={object_id}")
    return said.split(b"\n")[0].decode("ascii", "replace")


def _scan_next(scanner: Scanner, output: IO[bytes], scanned: Scanned) -> bool:
    """Scan the next object in the output of `cat-file`; whether there was one."""
    head = output.readline()
    object_id, kind, *about = head.rstrip(b"\n").split(b" ", 3) if head else (b"", b"")
    if len(about) < 2:
        if kind == b"missing":
            scanned.unread.append((object_id, "missing in this repository"))
        return bool(head)
    left = int(about[0])

    def read(size: int) -> bytes:
        nonlocal left
        part = output.read(min(size, left))
        left = left - len(part) if part else 0
        return part

    if kind == b"blob":
        scan_stream(scanner, read, about[1], scanned, object_id.decode("ascii", "replace"))
    while left and read(1 << 20):
        pass
    output.read(1)
    return True


def _tell_failures(git: Git, scanned: Scanned, *processes: subprocess.Popen[bytes]) -> None:
    """What a program that failed left out is not known: nothing found is then no proof."""
    if any(process.returncode for process in processes):
        scanned.unread.append((os.fsencode(git.root), "`git` failed, so not all of it was looked through"))


def _said(git: Git, *words: str) -> bytes:
    """What a command prints; nothing if it fails."""
    with _started(git, *words, stdin=subprocess.DEVNULL) as process:
        said, _ = process.communicate()
    return said.rstrip(b"\n") if process.returncode == 0 else b""


def _started(git: Git, *words: str, stdin: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *_QUIET, *words],
            cwd=git.root,
            env={**git.environment, **_AS_STORED},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise NotFoundError("the program `git` is not installed, or the folder is gone") from None
    except OSError as error:
        raise UsageError(f"`git` could not be started: {(error.strerror or '').lower()}") from None
