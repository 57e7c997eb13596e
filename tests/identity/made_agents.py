"""Agents made for tests, and the `age` program that opens what they keep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import engines
import pytest

from antsmem.identity.create import CreatedIdentity, create_identity
from antsmem.identity.files import IdentityFiles
from antsmem.identity.recover import SavedIdentity
from antsmem.identity.secret import Secret

Agent = tuple[IdentityFiles, CreatedIdentity]

FRIDAY_NS = 1_795_188_211_000_000_000
"""2026-11-20T15:23:31Z: in the week of Monday, 2026-11-16."""
WEEK_NS = 7 * 86_400_000_000_000


def files_in(place: Path) -> IdentityFiles:
    """Paths as a workspace has them, all under `place`."""
    workspace = place / "workspace"
    return IdentityFiles(
        log=workspace / ".antsmem/identity/did.jsonl",
        keystore=workspace / ".antsmem/keystore/keystore.age",
        epochs=workspace / ".antsmem/keystore/epochs",
        host_key=place / "config/host.key",
        backed_up=(workspace,),
    )


def new_agent(place: Path, host: str = "laptop") -> Agent:
    """A new identity of `kevin`, its files under `place`."""
    files = files_in(place)
    return files, create_identity("kevin", host, files, FRIDAY_NS)


def secret(name: str, value: bytes = b"") -> Secret:
    """The first version of a secret, with a value drawn if none is given."""
    now = "2026-11-20T15:23:31.000Z"
    return Secret(name, 1, "active", "static", now, now, value or os.urandom(12))


def saved_copy(files: IdentityFiles, escrow: bytes | None) -> SavedIdentity:
    """What a repository would hold of the identity in `files`."""
    epochs = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    return SavedIdentity(files.log.read_bytes(), epochs, escrow)


def all_files(place: Path) -> dict[str, bytes]:
    """Every file under `place` but locks."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.suffix != ".lock":
            found[str(path.relative_to(place))] = path.read_bytes()
    return found


def age_decrypt(identity: Path, sealed: Path) -> bytes:
    """What the `age` program makes of `age -d -i IDENTITY SEALED`."""
    with engines.required():
        age = engines.program("age", "apt install age, brew install age")
    done = subprocess.run([age, "-d", "-i", identity, sealed], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def twenty_writers(script: str, *words: Path) -> list[int]:
    """The numbers, sorted, that twenty processes print: each runs `script` with `words` and a name `writer-N`, and
    begins when its standard input ends."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, *words, f"writer-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(20)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    numbers = []
    for writer in writers:
        assert writer.stdout is not None
        with writer.stdout:
            numbers.append(int(writer.stdout.read()))
        assert writer.wait() == 0
    return sorted(numbers)


@contextmanager
def failing_at(call: str, step: int, error: BaseException) -> Iterator[None]:
    """Within it the call of `os.CALL` that is number `step`, from 0, raises `error`: this one alone."""
    real, left = getattr(os, call), [step]

    def failing(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == -1:
            raise error
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, call, failing)
        yield


def killed_at_every_step(action: Callable[[], None], check: Callable[[], None]) -> int:
    """Run `action` in a child that is killed before its first, second, third … call that touches the disk, with
    `check` after each; how many times it was killed before it got through."""
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _die_at(kills)
                action()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in {0, 9}
        check()
        if status == 0:
            return kills
        kills += 1


def _die_at(step: int) -> None:
    left = [step]

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return call(*arguments, **options)

        return counted

    for name in ("open", "write", "fsync", "rename", "link", "unlink"):
        setattr(os, name, dying(getattr(os, name)))
