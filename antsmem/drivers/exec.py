"""Provider `exec`: a program of the operator's that gives secrets, by OpenClaw's protocol for SecretRefs.

One JSON object on its standard input, one on its standard output (docs.openclaw.ai/gateway/secrets):

    {"protocolVersion": 1, "provider": "team", "ids": ["db/password"]}
    {"protocolVersion": 1, "values": {"db/password": "…"}, "errors": {"other": {"message": "…"}}}
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Mapping
from typing import Any, Final, NoReturn, Self

from antsmem.core import canonical
from antsmem.core.errors import BackendError, ConfigError, IntegrityError, NotFoundError, RefusedError, UsageError
from antsmem.core.program import read_output
from antsmem.core.retry import timeout_seconds
from antsmem.identity.provider import Abilities, Host, Value, cannot, only
from antsmem.identity.reference import as_bytes

_MOST_BYTES: Final = 1 << 20
_OPTIONS: Final = ("command", "environment", "timeout_seconds")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}")
_HINT: Final = "run the command of the provider by hand"


class ExecProvider:
    """Starts the program for each secret: without a shell, with no environment but the variables listed."""

    can = Abilities()

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], seconds: float) -> None:
        self._name = name
        self._command = command
        self._environment = environment
        self._seconds = seconds

    @classmethod
    def open(cls, name: str, options: Mapping[str, str], host: Host) -> Self:
        """Options: `command` (absolute path and arguments), `environment` (names of variables to pass on, with
        spaces between), `timeout_seconds`."""
        only(options, _OPTIONS, ("command",), name)
        try:
            command = shlex.split(options["command"])
        except ValueError:
            command = []
        if not command or not os.path.isabs(command[0]):
            raise ConfigError(f"`command` of provider `{name}` does not begin with an absolute path")
        passed = {
            each: host.environment[each]
            for each in options.get("environment", "").split()
            if each in host.environment
        }
        return cls(name, command, passed, timeout_seconds(options))

    def get(self, name: str, version: str = "") -> Value:
        """The program's value for the id `name`. What it says about a failure is not repeated."""
        if version:
            raise cannot(self._name, "read by version")
        if not _ID.fullmatch(name):
            raise UsageError(f"`{name}` is no id for an exec provider: letters, digits and `._:/-`")
        answer = self._asked({"protocolVersion": 1, "provider": self._name, "ids": [name]})
        values, errors = answer.get("values"), answer.get("errors")
        if answer.get("protocolVersion") != 1 or not isinstance(values, dict):
            raise RefusedError(f"provider `{self._name}` does not speak version 1 of the protocol", hint=_HINT)
        if (isinstance(errors, dict) and name in errors) or values.get(name) is None:
            raise NotFoundError(f"provider `{self._name}` gives no secret `{name}`", hint=_HINT)
        return Value(as_bytes(values[name]))

    def put(self, name: str, value: bytes, expected: str | None = None) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "written")

    def names(self) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "listed")

    def versions(self, name: str) -> NoReturn:
        """Not possible."""
        raise cannot(self._name, "listed by version")

    def _asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        import subprocess

        _refuse_exposed(self._command[0])
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            why = (error.strerror or "no reason given").lower()
            raise BackendError(f"`{self._command[0]}` could not be started: {why}", hint=_HINT) from None
        with process:
            try:
                data = _exchanged(process, canonical.dumps(request), self._seconds)
            finally:
                _end(process)
        if data is None:
            what = f"gave no answer of at most {_MOST_BYTES >> 20} MiB in {self._seconds:g} s"
            raise BackendError(f"provider `{self._name}` {what}", hint=_HINT)
        if process.returncode != 0:
            raise RefusedError(f"provider `{self._name}` ended with status {process.returncode}", hint=_HINT)
        try:
            answer = canonical.loads(data, _MOST_BYTES)
        except IntegrityError:
            answer = None
        if not isinstance(answer, dict):
            raise RefusedError(f"provider `{self._name}` did not answer with one JSON object", hint=_HINT)
        return answer


def _exchanged(process: Any, request: bytes, seconds: float) -> bytes | None:
    """What the program writes until it ends; None if it writes too much or takes too long."""
    from subprocess import TimeoutExpired

    try:
        process.stdin.write(request)  # less than a pipe holds
        process.stdin.close()
    except BrokenPipeError:
        pass
    try:
        data = read_output(process, seconds, _MOST_BYTES)
    except TimeoutExpired:
        return None
    return data if len(data) <= _MOST_BYTES else None


def _end(process: Any) -> None:
    """Nothing that the program started stays, also if it has ended itself; what made a session of its own does."""
    import signal
    from contextlib import suppress

    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _refuse_exposed(path: str) -> None:
    """`UsageError` if somebody else could have changed the program."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be used: {(error.strerror or '').lower()}") from None
    if not stat.S_ISREG(state.st_mode) or state.st_uid not in {0, os.geteuid()} or state.st_mode & 0o022:
        raise UsageError(f"`{path}` is not a program that only its owner or root can change: not started")
