"""Have the system wake the agent: a line of the user's crontab, a timer of systemd, or a job of launchd.

The same program, workspace and environment stand in all three. Each piece has a name made of the workspace's path,
so that writing it again replaces it, and that of another agent stays.
"""

from __future__ import annotations

import hashlib
import plistlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from antsmem.core.errors import UsageError
from antsmem.core.record import field, record

PASSED: Final = ("PATH", "TZ", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
"""What a wake needs of the environment in which it is installed. Not one of these is a secret."""

_MARK: Final = "# antsmem-heartbeat-"
_LONGEST_LINE: Final = 990
_EVERY: Final = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)


@record
class Job:
    """What to start: `program` is its command line up to our own words, `root` the workspace, absolute,
    `environment` what it gets, `minutes` how often it comes."""

    program: tuple[str, ...]
    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    minutes: int = 5

    def __post_init__(self) -> None:
        if self.minutes not in _EVERY:
            raise UsageError(
                f"an hour is not divided by {self.minutes} minutes", hint=f"one of {', '.join(map(str, _EVERY))}"
            )
        for text in (*self.argv, *self.environment.values()):
            if not text.isprintable():
                raise UsageError(f"`{text}` cannot stand in a schedule: it has control characters")

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.program, "-C", str(self.root), "heartbeat")

    @property
    def name(self) -> str:
        """A name for it, the same for the same workspace."""
        return hashlib.sha256(bytes(self.root)).hexdigest()[:12]


def cron_line(job: Job) -> str:
    """The line for `crontab`, with its line feed.

    To cron, `%` ends the command unless a backslash stands before it, whatever quotes are around (crontab(5));
    what it does with other backslashes differs from one cron to the next, so none is written.
    """
    words = [f"{name}={shlex.quote(value)}" for name, value in job.environment.items()]
    command = " ".join([*words, *map(shlex.quote, job.argv), f"{_MARK}{job.name}"])
    if "\\" in command:
        raise UsageError("a path with a backslash cannot stand in a crontab", hint="try --systemd")
    line = f"*/{job.minutes} * * * * {command.replace('%', chr(92) + '%')}\n"
    if len(line.encode()) > _LONGEST_LINE:
        raise UsageError(
            f"the line is longer than the {_LONGEST_LINE} bytes that every cron reads", hint="set a shorter PATH"
        )
    return line.replace("*/1 ", "* ")


def with_cron_line(table: str, name: str, line: str) -> str:
    """The crontab `table` with `line` in the place of the one of the job `name`, or at its end; an empty `line`
    takes it out. All else stays as it is, byte for byte."""
    kept, found = [], False
    for each in table.splitlines(keepends=True):
        if not each.lstrip().startswith("#") and each.rstrip().endswith(f"{_MARK}{name}"):
            if not found:
                kept.append(line)
            found = True
        else:
            kept.append(each)
    if not found and line:
        if kept and not kept[-1].endswith("\n"):
            kept.append("\n")
        kept.append(line)
    return "".join(kept)


def systemd_units(job: Job) -> Mapping[str, str]:
    """The two user units, by file name: see systemd.service(5), systemd.timer(5), systemd.syntax(7).

    Exit codes that call for nothing to be mended now (5: tried again, 75: another wake runs) do not fail the unit.
    """
    name = f"antsmem-heartbeat-{job.name}"
    variables = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in job.environment.items())
    first, *rest = job.argv
    # In arguments `$` would stand for a variable; the program itself is never looked up so.
    command = " ".join([_quoted(first), *(_quoted(word).replace("$", "$$") for word in rest)])
    unit = f"[Unit]\nDescription=antsmem heartbeat of {job.root.name.replace('%', '%%')}\n\n"
    return {
        f"{name}.service": f"{unit}[Service]\nType=oneshot\n{variables}"
        f"ExecStart={command}\nSuccessExitStatus=5 75\n",
        f"{name}.timer": f"{unit}[Timer]\n"
        f"OnCalendar=*:0/{job.minutes}\nAccuracySec=10s\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n",
    }


def launchd_plist(job: Job, log: Path) -> Mapping[str, bytes]:
    """The job for launchd, by file name: see launchd.plist(5). What it prints goes to `log`, for launchd mails
    nothing."""
    label = f"antsmem.heartbeat.{job.name}"
    made = {
        "Label": label,
        "ProgramArguments": list(job.argv),
        "EnvironmentVariables": dict(job.environment),
        "StartInterval": job.minutes * 60,
        "RunAtLoad": True,
        "ProcessType": "Background",
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    return {f"{label}.plist": plistlib.dumps(made)}


def _quoted(text: str) -> str:
    """`text` as one word of a unit file."""
    escaped = re.sub(r'(["\\])', r"\\\1", text).replace("%", "%%")
    return f'"{escaped}"'
