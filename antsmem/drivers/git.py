"""A git remote that keeps a small document under a ref of its own, moved by the `git` program: an anchor of the
revocation ledger (`refs/antsmem/ledger`), or the witness of which host works.

Each version is a commit whose parent is the one before, so that servers which refuse rewritten history take
it; a push names the commit that it replaces (`--force-with-lease`), so two hosts cannot overwrite each other.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from antsmem.core.disk import make_private_dir
from antsmem.core.errors import BackendError, ConflictError, DriverMissingError, IntegrityError, RefusedError
from antsmem.core.record import field, record
from antsmem.identity.anchor import MAX_BYTES, publication_from_bytes, refuse_older

REF: Final = "refs/antsmem/ledger"
_SEEN: Final = "refs/antsmem/seen"
_SECONDS: Final = 120
_OBJECT: Final = re.compile(rb"[0-9a-f]{40,64}")
_AUTHOR: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "antsmem"), ("EMAIL", "antsmem@antsmem.invalid"))
}


@record
class GitDocument:
    """One small document at the remote `url` (as `git push` takes it): the file `file` under the ref `ref`.

    `name` is what messages call the remote, `what` what the document is called. `scratch` is a directory of this
    host for objects on their way; `environment` is the process's, of which git gets nothing that points it at
    another repository.
    """

    name: str
    url: str = field(repr=False)
    scratch: Path
    environment: Mapping[str, str] = field(repr=False)
    ref: str
    file: str
    what: str
    most_bytes: int
    seconds: float = _SECONDS

    def read(self) -> tuple[bytes, str] | None:
        """The document and the commit that holds it; None if the remote has none. `BackendError`: no answer in
        `seconds`, or not for us."""
        self._prepare()
        if not self._remote_ref():
            return None
        quiet = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1"]
        if self._git([*quiet, "--", self.url, f"+{self.ref}:{_SEEN}"])[0]:
            raise BackendError(f"{self.name} did not give its {self.what}")
        commit = self._made(["rev-parse", "--verify", _SEEN], b"")
        size = self._git(["cat-file", "-s", f"{_SEEN}:{self.file}"])[1].strip()
        if not size.isdigit() or int(size) > self.most_bytes:
            raise IntegrityError(f"{self.name} holds something else than a {self.what}")
        return self._git(["cat-file", "blob", f"{_SEEN}:{self.file}"])[1], commit.decode()

    def swap(self, data: bytes, expected: str | None, message: str = "") -> None:
        """Push `data` in the place of what the commit `expected` holds (None: of nothing). `ConflictError` if
        something else is there, `RefusedError` if the remote does not take it."""
        self._prepare()
        blob = self._made(["hash-object", "-w", "--stdin"], data)
        tree = self._made(["mktree"], b"100644 blob %b\t%b\n" % (blob, self.file.encode()))
        parent = ["-p", expected] if expected else []
        commit = self._made(["commit-tree", tree.decode(), *parent, "-m", message or self.what], b"")
        lease = f"--force-with-lease={self.ref}:{expected or ''}"
        if self._git(["push", "--quiet", lease, "--", self.url, f"{commit.decode()}:{self.ref}"])[0]:
            if self._remote_ref().decode() != (expected or ""):
                raise ConflictError(f"the {self.what} at {self.name} was moved by somebody else")
            raise RefusedError(f"{self.name} did not take the push of `{self.ref}`")

    def _prepare(self) -> None:
        if not (self.scratch / "HEAD").exists():
            make_private_dir(self.scratch)
            if self._git(["init", "--quiet", "--bare", "--template="])[0]:
                raise RefusedError(f"`git` cannot make a repository in `{self.scratch}`")

    def _remote_ref(self) -> bytes:
        """The commit that the remote's ref names; empty where there is none."""
        code, answer = self._git(["ls-remote", "--refs", "--", self.url, self.ref])
        if code:
            raise BackendError(f"{self.name} does not answer", hint=f"try: git ls-remote URL {self.ref}")
        found = answer.split(b"\t")[0]
        if found and not _OBJECT.fullmatch(found):
            raise IntegrityError(f"{self.name} holds something else than a {self.what}")
        return found

    def _made(self, words: list[str], data: bytes) -> bytes:
        """The id of the object that a command makes or names."""
        code, answer = self._git(words, data)
        found = answer.strip()
        if code or not _OBJECT.fullmatch(found):
            raise RefusedError(f"`git {words[0]}` failed in `{self.scratch}`", hint="remove that directory")
        return found

    def _git(self, words: list[str], data: bytes = b"") -> tuple[int, bytes]:
        """Run git; (exit code, standard output). What it says on standard error is its own, and not shown."""
        kept = {
            name: value
            for name, value in self.environment.items()
            if not name.startswith("GIT_") or name.startswith("GIT_SSH")
        }
        command = ["git", "-c", "gc.auto=0", "-c", "protocol.ext.allow=never", *words]
        try:
            running = subprocess.Popen(
                command,
                env={**kept, **_AUTHOR, "GIT_DIR": str(self.scratch), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # no terminal: nothing of it can ask for a password
            )
        except OSError:
            raise DriverMissingError("the program `git` is not installed", hint="apt install git") from None
        try:
            answer, _ = running.communicate(data, timeout=self.seconds)
        except BaseException as trouble:
            os.killpg(running.pid, signal.SIGKILL)  # with the ssh that it may have started
            running.communicate()
            if isinstance(trouble, subprocess.TimeoutExpired):
                raise BackendError(f"{self.name} did not answer in {self.seconds:g} s") from None
            raise
        return running.returncode, answer


@record
class GitAnchor:
    """The remote at `url` as the anchor `name` (see `GitDocument`)."""

    name: str
    url: str = field(repr=False)
    scratch: Path
    environment: Mapping[str, str] = field(repr=False)

    def fetch(self) -> bytes | None:
        """The newest publication at the remote; None if it has none. `BackendError`: no answer in two minutes, or
        not for us."""
        found = self._document().read()
        return found[0] if found else None

    def publish(self, data: bytes) -> None:
        """Push `data`, unless a newer or another ledger is there (`RollbackError`). `ConflictError` if somebody
        pushed meanwhile, `RefusedError` if the remote does not take it."""
        document = self._document()
        found = document.read()
        if refuse_older(self.name, found[0] if found else None, data):
            row = publication_from_bytes(data).head.seq
            document.swap(data, found[1] if found else None, f"ledger, row {row}")

    def _document(self) -> GitDocument:
        return GitDocument(
            f"anchor `{self.name}`", self.url, self.scratch, self.environment, REF, "ledger.json", "ledger",
            MAX_BYTES, _SECONDS,
        )  # fmt: skip
