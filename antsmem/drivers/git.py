"""A git remote as an anchor of the revocation ledger: the ref `refs/antsmem/ledger`, moved by the `git` program.

Each publication is a commit whose parent is the one before, so that servers which refuse rewritten history take
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
_FILE: Final = "ledger.json"
_SECONDS: Final = 120
_OBJECT: Final = re.compile(rb"[0-9a-f]{40,64}")
_AUTHOR: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "antsmem"), ("EMAIL", "antsmem@antsmem.invalid"))
}


@record
class GitAnchor:
    """The remote at `url` (as `git push` takes it). `scratch` is a directory of this host for objects on their
    way; `environment` is the process's, of which git gets nothing that points it at another repository."""

    name: str
    url: str = field(repr=False)
    scratch: Path
    environment: Mapping[str, str] = field(repr=False)

    def fetch(self) -> bytes | None:
        """The newest publication at the remote; None if it has none. `BackendError`: no answer in two minutes, or
        not for us."""
        return self._fetched()[1]

    def publish(self, data: bytes) -> None:
        """Push `data`, unless a newer or another ledger is there (`RollbackError`). `ConflictError` if somebody
        pushed meanwhile, `RefusedError` if the remote does not take it."""
        before, there = self._fetched()
        if not refuse_older(self.name, there, data):
            return
        blob = self._made(["hash-object", "-w", "--stdin"], data)
        tree = self._made(["mktree"], b"100644 blob %b\t%b\n" % (blob, _FILE.encode()))
        parent = ["-p", before.decode()] if before else []
        row = publication_from_bytes(data).head.seq
        commit = self._made(["commit-tree", tree.decode(), *parent, "-m", f"ledger, row {row}"], b"")
        lease = f"--force-with-lease={REF}:{before.decode()}"
        if self._git(["push", "--quiet", lease, "--", self.url, f"{commit.decode()}:{REF}"])[0]:
            if self._remote_ref() != before:
                raise ConflictError(f"the ledger at anchor `{self.name}` was moved by somebody else")
            raise RefusedError(f"anchor `{self.name}` did not take the push of `{REF}`")

    def _fetched(self) -> tuple[bytes, bytes | None]:
        """The commit at the remote (empty: none) and the publication in it."""
        self._prepare()
        commit = self._remote_ref()
        if not commit:
            return b"", None
        quiet = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1"]
        if self._git([*quiet, "--", self.url, f"+{REF}:{_SEEN}"])[0]:
            raise BackendError(f"anchor `{self.name}` did not give its ledger")
        commit = self._made(["rev-parse", "--verify", _SEEN], b"")
        size = self._git(["cat-file", "-s", f"{_SEEN}:{_FILE}"])[1].strip()
        if not size.isdigit() or int(size) > MAX_BYTES:
            raise IntegrityError(f"anchor `{self.name}` holds something else than a ledger")
        return commit, self._git(["cat-file", "blob", f"{_SEEN}:{_FILE}"])[1]

    def _prepare(self) -> None:
        if not (self.scratch / "HEAD").exists():
            make_private_dir(self.scratch)
            if self._git(["init", "--quiet", "--bare", "--template="])[0]:
                raise RefusedError(f"`git` cannot make a repository in `{self.scratch}`")

    def _remote_ref(self) -> bytes:
        """The commit that the remote's ref names; empty where there is none."""
        code, answer = self._git(["ls-remote", "--refs", "--", self.url, REF])
        if code:
            raise BackendError(f"anchor `{self.name}` does not answer", hint=f"try: git ls-remote URL {REF}")
        found = answer.split(b"\t")[0]
        if found and not _OBJECT.fullmatch(found):
            raise IntegrityError(f"anchor `{self.name}` holds something else than a ledger")
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
            answer, _ = running.communicate(data, timeout=_SECONDS)
        except BaseException as trouble:
            os.killpg(running.pid, signal.SIGKILL)  # with the ssh that it may have started
            running.communicate()
            if isinstance(trouble, subprocess.TimeoutExpired):
                raise BackendError(f"anchor `{self.name}` did not answer in {_SECONDS} s") from None
            raise
        return running.returncode, answer
