"""A bare git repository that only antsmem writes to: in by `git fast-import`, out by `git cat-file`.

There is no work tree: git never looks at the agent's files, so no attribute, filter, hook or setting among them
means anything to it. It gets an environment of its own, in which nothing points it elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import locked_within, make_private_dir, write_file
from antsmem.core.errors import DiskError, DriverMissingError, IntegrityError, UsageError
from antsmem.core.record import record

REF: Final = "refs/heads/main"
REBUILD: Final = "antsmem history --rebuild saves what can be read and begins anew"
NEUTRAL: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
"""What git must be told so that no setting of the user or of a surrounding git command counts."""

_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.protectNTFS=false",
    "core.protectHFS=false",
    "core.fsync=all",
    "core.fsyncMethod=batch",
    "core.logAllRefUpdates=false",
    "gc.auto=0",
    "gc.packRefs=false",
    "maintenance.auto=false",
    "pack.threads=1",
    "pack.windowMemory=64m",
    "protocol.allow=never",
    "protocol.file.allow=always",
)
_WAIT_SECONDS: Final = 20.0
_TIMEOUT_SECONDS: Final = 600
_LOOSE: Final = 24  # in one of 256 directories: some 6000 in all
_FULL: Final = (b"No space left", b"Disk quota", b"Input/output error", b"File too large")
_CLOSED: Final = (b"Permission denied", b"Read-only file system", b"Operation not permitted")
_LOCKS: Final = ("main.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock", "gc.pid")


@record
class GitStore:
    """The repository at `path`. `programs` is the `PATH` on which git is looked for; beyond `limit_bytes` the
    oldest half of the commits is dropped."""

    path: Path
    programs: str
    limit_bytes: int = 512 << 20

    def environment(self) -> dict[str, str]:
        """All that git is told."""
        return {
            **NEUTRAL,
            "PATH": self.programs,
            "GIT_DIR": os.fspath(self.path),
            "GIT_OBJECT_DIRECTORY": os.fspath(self.path / "objects"),
        }

    def exists(self) -> bool:
        """Whether it was made."""
        return (self.path / "HEAD").exists()

    def make(self) -> None:
        """Make it, if it is not there."""
        if not self.exists():
            make_private_dir(self.path)
            self.said("init", "--quiet", "--bare", "--template=", "--object-format=sha1")
            self.said("symbolic-ref", "HEAD", REF)

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Be the only writer, and give the lock's descriptor; the git programs started meanwhile hold it too.
        What a killed git left locked is opened. `LockedError` after 20 s."""
        busy = "the history is being written by another antsmem"
        with locked_within(_WAIT_SECONDS, f"{self.path}.lock", busy) as lock:
            for name in _LOCKS:
                place = self.path / "refs" / "heads" if name == "main.lock" else self.path
                with suppress(OSError):
                    os.unlink(place / name)
            yield lock

    def head(self) -> str:
        """The newest commit; empty where there is none."""
        try:
            found = (self.path / REF).read_bytes().strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise UsageError(
                f"could not read the history `{self.path}`: {(error.strerror or '').lower()}"
            ) from None
        if len(found) != 40 or found.strip(b"0123456789abcdef"):
            raise self.damaged()
        return found.decode()

    def damaged(self) -> IntegrityError:
        """What to raise where git cannot read what it wrote."""
        return IntegrityError(f"the history `{self.path}` is damaged", hint=REBUILD)

    def is_whole(self) -> bool:
        """Whether everything that the newest commit leads to can be read, and is what it was."""
        if not self.head():
            return self.run(["cat-file", "--batch-all-objects", "--batch-check"])[1].count(b" commit ") == 0
        return self.run(["fsck", "--full", "--no-dangling", "--no-reflogs", "--no-progress", REF])[0] == 0

    def blob(self, name: str) -> bytes:
        """The bytes of a blob, by its id or as `REVISION:path`; `IntegrityError` if it cannot be had."""
        return self.said("cat-file", "blob", name)

    def tree(self, name: str) -> dict[bytes, str]:
        """Path → blob of all files below the tree `name`; none where there is no such tree."""
        if not self.head() or self.run(["cat-file", "-e", name])[0]:
            return {}
        lines = self.said("ls-tree", "-r", "-z", "--full-tree", name).split(b"\0")
        rows = [line.partition(b"\t") for line in lines if line]
        return {path: about.split(b" ")[2].decode() for about, _, path in rows}

    def said(self, *words: str, data: bytes = b"", lock: int | None = None) -> bytes:
        """What a git command prints; a failure is one of ours."""
        code, answer, complaint = self.run(words, data, lock)
        if code:
            raise self.trouble(complaint)
        return answer

    def run(self, words: Sequence[str], data: bytes = b"", lock: int | None = None) -> tuple[int, bytes, bytes]:
        """Run git: (exit code, standard output, standard error)."""
        process = self.start(words, lock)
        try:
            answer, complaint = process.communicate(data, timeout=_TIMEOUT_SECONDS)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return process.returncode, answer, complaint

    def start(self, words: Sequence[str], lock: int | None = None) -> subprocess.Popen[bytes]:
        """A git program that runs on; who wants the repository for itself gives it the `lock`."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        try:
            return subprocess.Popen(
                ["git", *settings, *words],
                cwd="/",
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        except FileNotFoundError:
            raise DriverMissingError("the program `git` is not installed", hint="apt install git") from None
        except OSError as error:
            raise UsageError(f"`git` could not be started: {(error.strerror or '').lower()}") from None

    def trouble(self, complaint: bytes) -> DiskError | UsageError | IntegrityError:
        """Our error for what git complained of."""
        if any(text in complaint for text in _FULL):
            return DiskError(f"could not write the history `{self.path}`: the disk is full or failing")
        if any(text in complaint for text in _CLOSED):
            return UsageError(f"the history `{self.path}` is not ours to use", hint="look at its owner and mode")
        return self.damaged()

    def tidy(self, lock: int) -> bool:
        """Pack what lies loose, if there is much of it, and drop the oldest commits of a history that is too
        large; whether anything was done."""
        if sum(1 for _ in (self.path / "objects").glob("17/*")) <= _LOOSE:
            return False
        self._pack(lock)
        while self.size_bytes() > self.limit_bytes and self._drop_oldest():
            self._pack(lock)
        return True

    def size_bytes(self) -> int:
        """What the objects take on the disk."""
        return sum(
            entry.stat().st_size
            for folder in os.scandir(self.path / "objects")
            if folder.is_dir()
            for entry in os.scandir(folder.path)
            if entry.is_file()
        )

    def _pack(self, lock: int) -> None:
        self.said("repack", "-a", "-d", "-q", lock=lock)
        self.said("prune", "--expire=now", lock=lock)

    def _drop_oldest(self) -> bool:
        """Let the history begin in its middle; whether there was anything to drop."""
        count = int(self.said("rev-list", "--count", REF))
        if count < 4:
            return False
        first = self.said("rev-list", "--max-count=1", f"--skip={count // 2}", REF)
        write_file(self.path / "shallow", [first])
        return True

    def rebuild(self, stamp: str) -> Path:
        """Move the repository aside, and begin a new one with the longest part of its history that is whole; the
        place of the old one, which is kept."""
        aside = self.path.with_name(f"{self.path.stem}-damaged-{stamp}.git")
        with self.writing() as lock:
            os.rename(self.path, aside)
            self.make()
            old = GitStore(aside, self.programs)
            if not (aside / "HEAD").is_file() or not (aside / "refs").is_dir():
                return aside
            for commit in old.commits():
                code, _, _ = old.run(["rev-list", "--objects", "--quiet", commit])
                if code == 0 and old.run(["update-ref", "refs/heads/saved", commit])[0] == 0:
                    fetched = self.run(
                        [
                            "fetch",
                            "--quiet",
                            "--no-tags",
                            "--update-shallow",
                            os.fspath(aside),
                            f"+refs/heads/saved:{REF}",
                        ],
                        lock=lock,
                    )
                    if fetched[0] == 0:
                        break
        return aside

    def commits(self) -> list[str]:
        """All commits that can be read, newest first, whatever leads to them."""
        listing = self.run(["cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"])[1]
        names = [line[:40].decode() for line in listing.splitlines() if line.endswith(b" commit")]
        dated, parents = [], set()
        for name in names:
            code, text, _ = self.run(["cat-file", "commit", name])
            rows = [row.split(b" ") for row in text.partition(b"\n\n")[0].split(b"\n")]
            times = [int(row[-2]) for row in rows if row[0] == b"committer" and len(row) > 3 and row[-2].isdigit()]
            if code == 0 and times:
                dated.append((times[0], name))
                parents |= {row[1].decode() for row in rows if row[0] == b"parent" and len(row) == 2}
        return [name for _, name in sorted(dated, key=lambda one: (one[0], one[1] not in parents), reverse=True)]


class NewCommit:
    """A commit that is being written: nothing of it counts before `finish`."""

    def __init__(self, store: GitStore, lock: int, message: bytes, now_ns: int) -> None:
        self.store = store
        before = store.head()
        self.process = store.start(["fast-import", "--quiet", "--done", "--date-format=raw"], lock)
        who = f"committer antsmem <antsmem@antsmem.invalid> {max(now_ns, 0) // 10**9} +0000\n"
        self._write(f"commit {REF}\n{who}data {len(message)}\n".encode(), message, b"\n")
        if before:
            self._write(f"from {before}\n".encode())

    def put(self, path: bytes, data: bytes) -> None:
        """The file at `path` has these bytes."""
        self._write(b"M 100644 inline %b\ndata %d\n" % (_quoted(path), len(data)), data, b"\n")

    def delete(self, path: bytes) -> None:
        """There is no file at `path`."""
        self._write(b"D %b\n" % _quoted(path))

    def finish(self) -> str:
        """Make it count, durably; its id. A full disk, a damaged repository: nothing changed."""
        self._write(b"done\n")
        _, complaint = self.process.communicate()
        if self.process.returncode:
            self._sweep()
            raise self.store.trouble(complaint)
        return self.store.head()

    def abandon(self) -> None:
        """Leave everything as it was."""
        self.process.kill()
        self.process.communicate()
        self._sweep()

    def _write(self, *parts: bytes) -> None:
        assert self.process.stdin is not None
        try:
            for part in parts:
                self.process.stdin.write(part)
        except BrokenPipeError:  # it ended early: `finish` hears why
            with suppress(OSError):
                self.process.stdin.close()
            complaint = self.process.stderr.read() if self.process.stderr else b""
            self.abandon()
            raise self.store.trouble(complaint) from None

    def _sweep(self) -> None:
        """Remove what `fast-import` leaves behind for its developers."""
        for place in self.store.path.glob("fast_import_crash_*"):
            with suppress(OSError):
                place.unlink()


def _quoted(path: bytes) -> bytes:
    """A path as `fast-import` reads it: git-fast-import(1), `C-style quoting`."""
    for plain, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n")):
        path = path.replace(plain, escaped)
    return b'"%b"' % path
