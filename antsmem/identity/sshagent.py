"""An ssh-agent for one program: it holds keys from a provider in its memory, and ends with the program."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from antsmem.core.errors import NotFoundError, RefusedError
from antsmem.identity.privatedir import Guard

_PATIENCE_SECONDS: Final = 10.0


@contextmanager
def ssh_agent(guard: Guard, keys: Sequence[bytes], environment: Mapping[str, str]) -> Iterator[str]:
    """Start an agent with `keys` (OpenSSH private keys without a passphrase); the path of its socket, in the
    private directory. `NotFoundError` without OpenSSH, `RefusedError` if it does not take a key."""
    socket = guard.path(".agent")
    try:
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(socket)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        raise NotFoundError("the program `ssh-agent` is not installed") from None
    guard.watch(agent.pid)
    try:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while not socket.exists():
            if agent.poll() is not None or time.monotonic() > give_up:
                raise RefusedError("`ssh-agent` did not start", hint="ssh-agent -D")
            time.sleep(0.01)
        theirs = {**environment, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS_REQUIRE": "never"}
        for key in keys:
            _add(key.rstrip(b"\n") + b"\n", theirs)
        yield str(socket)
    finally:
        agent.terminate()
        agent.wait()
        guard.forget(agent.pid)


def _add(key: bytes, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            ["ssh-add", "-q", "-"],
            input=key,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it has no terminal to ask for a passphrase
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        raise RefusedError("`ssh-add` could not be run", hint="ssh-add -l") from None
    if done.returncode != 0:
        raise RefusedError("`ssh-add` did not take the key", hint="is it a private key without a passphrase?")
