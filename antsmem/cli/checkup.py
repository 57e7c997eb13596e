"""What `antsmem heartbeat doctor` looks at: everything that must be right for a wake that nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from antsmem.cli.context import Context
from antsmem.cli.heartbeats import NAME, read_heartbeat, zone
from antsmem.cli.pings import is_address, unheard
from antsmem.cli.posts import opened_journal, own_post
from antsmem.cli.turns import agent_of, best_scanner, context_here
from antsmem.core.clock import parse_utc
from antsmem.core.errors import AntsmemError, ConfigError
from antsmem.core.record import record
from antsmem.workspace.humantime import human_time

if TYPE_CHECKING:
    from antsmem.heartbeat.agents import AgentCommand
    from antsmem.heartbeat.journal import Journal

CRON_PATH: Final = "/usr/bin:/bin"
"""The PATH that cron gives where the crontab names none."""

_LOCK: Final = "heartbeat doctor"
_DAY_NS: Final = 86_400_000_000_000


@record
class Row:
    """One thing that was looked at: `state` is `ok`, `warn` or `fail`; `hint` is what helps."""

    name: str
    state: str
    what: str
    hint: str = ""


def checkup(ctx: Context) -> Iterator[Row]:
    """Look at one thing after the other. What is wrong is a row, not an error."""
    journal = opened_journal(ctx)
    looks: tuple[tuple[str, Callable[[Context, Journal], Iterator[Row]]], ...] = (
        ("agent", _agent),
        ("file", _file),
        ("clock", _clock),
        ("journal", _journal),
        ("locks", _locks),
        ("host", _host),
        ("monitor", _monitor),
        ("context", _context),
    )
    for name, look in looks:
        try:
            yield from look(ctx, journal)
        except AntsmemError as error:
            yield Row(name, "fail", str(error), error.hint)


def _agent(ctx: Context, _journal: Journal) -> Iterator[Row]:
    command = agent_of(ctx)
    if command is None:
        said = f"write into {ctx.operator_file}: agent: {{preset: claude}}"
        wanted = any(task.runs for task in read_heartbeat(ctx).plan.tasks)
        yield Row("agent", "fail" if wanted else "warn", "no agent is configured: tasks in prose cannot run", said)
        return
    yield Row("agent", "ok", f"{command.preset}: {command.argv[0]}, at most {command.timeout_seconds:.0f} s")
    yield from _program(ctx, command)


def _program(ctx: Context, command: AgentCommand) -> Iterator[Row]:
    from antsmem.heartbeat.probe import find_program, is_known, probe_program

    found = probe_program(command, ctx.layout.root)
    if not found.path:
        hint = "install it, or name it by its whole path: agent: {command: [/path/to/program, …]}"
        yield Row("program", "fail", f"`{command.argv[0]}` is not on the PATH", hint)
        return
    if found.version or not is_known(command):
        yield Row("program", "ok", f"{found.path}: {found.version or 'not asked, for it is your own'}")
    else:
        yield Row("program", "warn", f"{found.path} does not tell its version", f"{found.path} --version")
    if found.missing:
        names = ", ".join(found.missing)
        hint = f"compare with {command.argv[0]} --help; another version, or your own `agent.command`"
        yield Row("options", "fail", f"its help does not name {names}", hint)
    elif found.helped:
        yield Row("options", "ok", "its help names all options that are used")
    elif is_known(command):
        yield Row("options", "warn", "it gives no help to compare the options with")
    yield from _cron(ctx, command)
    if find_program("antsmem", command.environment, ctx.layout.root):
        yield Row("report", "ok", "the agent finds `antsmem`, so it can report")
    else:
        hint = "put the folder of antsmem on the PATH, in the crontab too: PATH=…"
        yield Row("report", "warn", "the agent does not find `antsmem`: only its last line can tell", hint)


def _cron(ctx: Context, command: AgentCommand) -> Iterator[Row]:
    """What is different where cron starts it: a short PATH, no terminal."""
    from antsmem.heartbeat.probe import find_program, is_known, starts

    here = ctx.environment.get("PATH", "")
    lean = {name: value for name, value in command.environment.items() if name in {"HOME", "LANG", "USER"}}
    lean |= {"PATH": CRON_PATH}
    named = find_program(command.argv[0], lean, ctx.layout.root)
    if not named or (is_known(command) and not starts(named, lean)):
        hint = f"put this line above the others in the crontab: PATH={here}"
        yield Row("cron", "warn", f"with cron's own PATH ({CRON_PATH}) `{command.argv[0]}` does not start", hint)
    else:
        yield Row("cron", "ok", "it is found with cron's own PATH, and needs no terminal")
    if not ctx.environment.get("HOME"):
        yield Row(
            "home", "fail", "HOME is not set: programs do not find their configuration", "HOME=… in the crontab"
        )


def _file(ctx: Context, _journal: Journal) -> Iterator[Row]:
    file = read_heartbeat(ctx)
    if file.data is None:
        yield Row("file", "warn", f"no {NAME}: nothing is ever due", "antsmem heartbeat plan")
        return
    runs = sum(task.runs for task in file.plan.tasks)
    errors = len(file.plan.all_errors)
    if errors:
        yield Row("file", "fail", f"{NAME}: {errors} errors, {runs} tasks run", "antsmem heartbeat plan")
    elif not runs:
        yield Row("file", "warn", f"{NAME} asks for nothing", "antsmem heartbeat plan")
    else:
        extra = f", {len(file.plan.warnings)} warnings" if file.plan.warnings else ""
        yield Row("file", "ok", f"{NAME}: {runs} tasks run{extra}", "antsmem heartbeat plan" if extra else "")


def _clock(ctx: Context, journal: Journal) -> Iterator[Row]:
    found, log = zone(ctx), ctx.settings.time_zone
    if not found.name:
        raise ConfigError(
            "nobody says which time zone the agent lives in", hint="time_zone: in .antsmem/agent.yaml"
        )
    if human_time(ctx.now_ns, found.name) != human_time(ctx.now_ns, log):
        what = f"tasks go by {found.name} ({found.origin}), the daily log by {log}"
        yield Row("zone", "warn", what, f"time_zone: {found.name} in .antsmem/agent.yaml")
    else:
        yield Row("zone", "ok", f"{found.name}, as {found.origin} says")
    last = max((entry.at for entry in map(journal.last, journal.open) if entry is not None), default="")
    newest = parse_utc(last) if last else 0
    if newest > ctx.now_ns + _DAY_NS:
        yield Row("clock", "fail", f"the journal has records of {last}: the clock is, or was, wrong", "date")
    else:
        yield Row("clock", "ok", "no record of the journal lies in the future")


def _journal(_ctx: Context, journal: Journal) -> Iterator[Row]:
    health = journal.health
    if health.bad or health.missing:
        what = f"{health.bad} bad lines, {health.missing} records are missing"
        yield Row("journal", "fail", what, "antsmem heartbeat log")
    else:
        yield Row("journal", "ok", f"{health.records} records, all sound")


def _locks(_ctx: Context, journal: Journal) -> Iterator[Row]:
    from antsmem.heartbeat.locks import file_system, remove_lock, run_lock

    with run_lock(journal.places.locks, _LOCK):
        kind = file_system(journal.places.locks)
        remove_lock(journal.places.locks, _LOCK)
    yield Row("locks", "ok", f"locks keep others out{f' ({kind})' if kind else ''}")


def _host(ctx: Context, journal: Journal) -> Iterator[Row]:
    state = own_post(ctx).standing(journal)[0]
    if state == "active":
        yield Row("host", "ok", "this host does the work")
    else:
        hint = "antsmem heartbeat take-over --old-host-off, where no other host works for the agent"
        yield Row("host", "fail", f"this host is {state}: it starts nothing", hint)


def _monitor(ctx: Context, _journal: Journal) -> Iterator[Row]:
    if not ctx.operator.heartbeat.ping_url:
        return
    why, hint = unheard(ctx, own_post(ctx))
    if not is_address(ctx, own_post(ctx)):
        hint = "antsmem config show names what it refers to"
        yield Row("monitor", "fail", "`heartbeat.ping_url` gives no http address: nobody hears of wakes", hint)
    else:
        yield Row("monitor", "warn" if why else "ok", why or "wakes are told to `heartbeat.ping_url`", hint)


def _context(ctx: Context, _journal: Journal) -> Iterator[Row]:
    from antsmem.heartbeat.context import BUDGET_TOKENS

    known = best_scanner(ctx)[1]
    if known == "not":
        what = "the keystore does not open here: the agent's own secrets are not looked for in what it is told"
        yield Row("secrets", "warn", what, "antsmem scan --remember, where it opens")
    else:
        how = "the keystore opens" if known == "open" else "they are known by their fingerprints"
        yield Row("secrets", "ok", f"the agent's own secrets are left out of what it is told: {how}")
    found = context_here(ctx, BUDGET_TOKENS)
    for path in dict.fromkeys(each.path for each in found.hidden):
        yield Row("context", "warn", f"`{path}` holds a secret: left out of the context", "antsmem scan")
    for path in found.unread:
        yield Row("context", "fail", f"`{path}` cannot be read", f"ls -l {path}")
    cut = ", ".join(each.path for each in found.cuts)
    what = f"{found.tokens} of {BUDGET_TOKENS} tokens{f', cut: {cut}' if cut else ''}"
    yield Row("context", "ok", what, "antsmem wake")
