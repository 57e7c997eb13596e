"""`antsmem heartbeat install`: have cron, systemd or launchd wake the agent."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.core.errors import UsageError
from antsmem.core.record import record
from antsmem.heartbeat.installing import PASSED, Job, cron_line, launchd_plist, systemd_units
from antsmem.heartbeat.schedulers import put_cron_line, put_files, remove_files, tell

_CRON_NOTE = (
    "cron mails what a wake prints to MAILTO, or to you if the crontab sets none; a wake prints nothing unless a "
    "person is needed"
)
_LINGER_NOTE = "a user's timers run while the user is logged in; always, after: loginctl enable-linger"


@record
class Installed:
    """What was asked for: `files` by name (the line of a crontab under `crontab`), where they belong, and whether
    that was written and changed anything. `told`: whether the system knows of it by now."""

    scheduler: str
    folder: str
    files: Mapping[str, str]
    written: bool
    changed: bool
    told: bool


def install(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    cron: Annotated[bool, typer.Option("--cron", help="A line of your crontab.")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="A user service and its timer.")] = False,
    launchd: Annotated[bool, typer.Option("--launchd", help="A launchd agent, on macOS.")] = False,
    every: Annotated[int, typer.Option(help="How often, in minutes: a part of an hour, such as 5.")] = 5,
    write: Annotated[bool, typer.Option("--write", help="Install it; else it is only shown.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take away what --write installed.")] = False,
) -> None:
    """Show what makes the system wake the agent, or install it."""
    ctx: Context = context.obj
    if cron + systemd + launchd != 1 or (write and remove):
        raise UsageError(
            "say what is to wake the agent", hint="--cron, --systemd or --launchd, with --write or --remove"
        )
    passed = {name: value for name in PASSED if (value := ctx.environment.get(name))}
    job = Job(_program(), Path(os.path.abspath(ctx.layout.root)), passed, every)
    way = _cron if cron else _systemd if systemd else _launchd
    result = way(ctx, job, write, remove)
    ctx.output.result("heartbeat-install", result, lambda: _text(result, write, remove))
    if (write or remove) and not result.told:
        ctx.output.warn(f"{result.scheduler} was not told: it notices with your next login")
        raise typer.Exit(3)


def _cron(ctx: Context, job: Job, write: bool, remove: bool) -> Installed:
    line = cron_line(job)
    changed = (write or remove) and put_cron_line(job.name, "" if remove else line, ctx.environment)
    if not remove:
        ctx.output.note(_CRON_NOTE)
    return Installed("cron", "", {"crontab": line}, write, changed, write or remove)


def _systemd(ctx: Context, job: Job, write: bool, remove: bool) -> Installed:
    files = systemd_units(job)
    folder = ctx.config_dir.parent / "systemd/user"
    timer = next(name for name in files if name.endswith(".timer"))
    control = ("systemctl", "--user")
    after = [(*control, "daemon-reload"), (*control, "enable", "--now", timer)]
    before = [(*control, "disable", "--now", timer)]
    made = _put(ctx, Installed("systemd", str(folder), files, write, False, False), (before, after), remove)
    if not remove:
        ctx.output.note(_LINGER_NOTE)
    return made


def _launchd(ctx: Context, job: Job, write: bool, remove: bool) -> Installed:
    home = Path(ctx.environment.get("HOME", "~")).expanduser()
    folder = home / "Library/LaunchAgents"
    made = launchd_plist(job, home / f"Library/Logs/antsmem-heartbeat-{job.name}.log")
    files = {name: data.decode() for name, data in made.items()}
    (name,) = files
    domain = f"gui/{os.getuid()}"
    before = [("launchctl", "bootout", f"{domain}/{name.removesuffix('.plist')}")]
    after = [("launchctl", "bootstrap", domain, str(folder / name))]
    return _put(ctx, Installed("launchd", str(folder), files, write, False, False), (before, after), remove)


def _put(
    ctx: Context, made: Installed, commands: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]], remove: bool
) -> Installed:
    """Write or remove the files of `made` and tell the system: the commands before files go, those after they
    came."""
    from antsmem.core.record import replace

    folder = Path(made.folder)
    before, after = commands
    if remove:
        there = any((folder / name).exists() for name in made.files)
        told = not there or tell(before, ctx.environment)
        changed = remove_files(folder, list(made.files))
        return replace(made, changed=changed, told=told)
    if not made.written:
        return made
    changed = put_files(folder, {name: text.encode() for name, text in made.files.items()})
    if changed and made.scheduler == "launchd":
        tell(before, ctx.environment)  # what runs by the old one
    return replace(made, changed=changed, told=tell(after, ctx.environment))


def _program() -> tuple[str, ...]:
    """How to start this program from anywhere, by absolute paths."""
    own = Path(sys.executable).with_name("antsmem")
    if os.access(own, os.X_OK):
        return (str(own),)
    return (sys.executable, "-m", "antsmem")


def _text(made: Installed, write: bool, remove: bool) -> str:
    where = made.folder or "your crontab"
    if write or remove:
        what = "removed from" if remove else "written to"
        return f"{what} {where}" if made.changed else f"{where}: nothing to change"
    if made.scheduler == "cron":
        return made.files["crontab"]
    return "\n".join(f"# {made.folder}/{name}\n{text}" for name, text in made.files.items())
