"""`antsmem backend`: what plays which role of the shared memory."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

import typer

from antsmem.cli.backends import (
    GROUPS,
    NEEDED,
    PROFILES,
    READABLE,
    TRUST,
    check_trust,
    configured,
    driver,
    opened,
    scheme_of,
)
from antsmem.cli.commands.open import driver_options
from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.memories import agree, backends, memory, stream_of
from antsmem.cli.output import table
from antsmem.core.config import BackendConfig, write_agent
from antsmem.core.errors import AntsmemError, BackendError, DriverMissingError, NotFoundError, UsageError
from antsmem.core.record import field, record, replace
from antsmem.memory.inspection import Inspection
from antsmem.memory.intake import catch_up
from antsmem.memory.rebuilding import rebuild as rebuild_backends
from antsmem.memory.roles import Change, LogRecord, Row, TextRow, VectorRow

app = group("The backends of the shared memory: add, list, init, test, status, rebuild.")
_ADD = "antsmem backend add embedded DIR"
_match_password = re.compile(r"(?!file:)[A-Za-z0-9+.-]+://[^?#]*:[^?#]*@").match  # it may hold a slash


@record
class BackendRow:
    """A configured backend."""

    role: str
    url: str
    options: tuple[str, ...]


@record
class Probe:
    """What a backend did in a test: each step with its milliseconds; `error` says why it stopped, `hint` what
    helps. `facts` and `warnings` are what its driver tells of how it is set up, if it tells anything."""

    role: str
    url: str
    steps: dict[str, float]
    error: str
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    hint: str = ""


@app.command()
def add(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help=f"A profile ({', '.join(PROFILES)}) or a role ({', '.join(GROUPS)}).")
    ],
    url: Annotated[
        str, typer.Argument(help="The role's URL; for a profile its host, for `embedded` a folder.")
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for a role's driver, VALUE also env:NAME; may be given several times."),
    ] = None,
    trusted_tenant: Annotated[
        bool, typer.Option("--trusted-tenant", help="The server may read what the agent remembers.")
    ] = False,
) -> None:
    """Say which backend plays a role, or which ones play all roles of a profile. Nothing is connected yet."""
    ctx: Context = context.obj
    made = _of_profile(name, url, option) if name in PROFILES else [_of_role(name, url, option)]
    if any(_holds_secret(config.url) for config in made):
        raise UsageError("a backend's URL holds no password", hint="--option password=env:NAME")
    if trusted_tenant:
        if not any(config.role in READABLE for config in made):
            raise UsageError(f"`--trusted-tenant` is for the roles {', '.join(READABLE)}: no server reads others")
        made = [_trusted(config) if config.role in READABLE else config for config in made]
    elif name in PROFILES:
        for config in (each for each in made if each.role in READABLE):
            ctx.output.warn(f"`{config.role}` is left out: its server could read it (--trusted-tenant)")
        made = [config for config in made if config.role not in READABLE]
    for config in made:
        driver(config.role, scheme_of(config.url))
        check_trust(config)
    kept = [old for old in ctx.agent.backends if old.role not in {config.role for config in made}]
    write_agent(ctx.agent_file, replace(ctx.agent, backends=(*kept, *made)))
    rows = _rows(made)
    text = f"{_table(rows)}\nnext: antsmem backend init, antsmem sync"
    ctx.output.result("backend-add", {"backends": rows}, text)


def _of_profile(name: str, place: str, option: list[str] | None) -> list[BackendConfig]:
    if option:
        raise UsageError("options belong to one role", hint="antsmem backend add ROLE URL --option KEY=VALUE")
    if name == "embedded":
        if not place or "://" in place:
            raise UsageError("`embedded` needs a folder", hint=_ADD)
        place = os.path.abspath(place)
    return [BackendConfig(role, text.format(place=place or "localhost")) for role, text in PROFILES[name].items()]


def _trusted(config: BackendConfig) -> BackendConfig:
    return replace(config, options={**config.options, TRUST: "yes"})


def _of_role(role: str, url: str, option: list[str] | None) -> BackendConfig:
    if role not in GROUPS:
        raise UsageError(
            f"`{role}` is neither a profile nor a role",
            hint=f"profiles: {', '.join(PROFILES)}; roles: {', '.join(GROUPS)}",
        )
    if not url:
        raise UsageError(f"the role `{role}` needs a URL", hint=f"antsmem backend add {role} URL")
    return BackendConfig(role, url if ":" in url else os.path.abspath(url), driver_options(option or ()))


def _holds_secret(url: str) -> bool:
    """Whether what would be kept and shown has a password in it, where any URL has it or as an option."""
    from antsmem.drivers.servers import SECRETS

    asked = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    return _match_password(url) is not None or any(name in SECRETS for name, _ in asked)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the configured backends."""
    ctx: Context = context.obj
    rows = _rows(ctx.agent.backends)
    text = (
        table([(row.role, row.url) for row in rows])
        or "no backend is configured: antsmem backend add embedded DIR"
    )
    ctx.output.result("backend-list", {"backends": rows}, text)


@app.command()
def init(context: typer.Context) -> None:
    """Make topic and tables where they are missing."""
    ctx: Context = context.obj
    made = []
    for config in _all(ctx):
        backend = opened(ctx, config)
        try:
            if config.role in {"cache", "durable", "log", "text"} and hasattr(backend, "create"):
                backend.create()
                made.append(config)
        finally:
            backend.close()
    ctx.output.result(
        "backend-init", {"backends": _rows(made)}, table([(row.role, row.url) for row in _rows(made)])
    )


@app.command()
def test(
    context: typer.Context,
    role: Annotated[list[str] | None, typer.Argument(help="Roles. Default: all configured.")] = None,
) -> None:
    """Write, read and delete a little in each backend, in a stream of its own; exit 40 if one failed.

    With exit 42 all that failed lack their library."""
    ctx: Context = context.obj
    tried = [_probe(ctx, config) for config in ([configured(ctx, each) for each in role] if role else _all(ctx))]
    probes, codes = [probe for probe, _ in tried], {code for _, code in tried if code}

    def said() -> str:
        lines = []
        for probe in probes:
            steps = ", ".join(f"{step} {spent:.1f} ms" for step, spent in probe.steps.items())
            lines.append(f"{probe.role} {probe.url}: {probe.error or 'good'}")
            lines += [f"  → {probe.hint}"] if probe.hint else []
            lines += [f"  {steps}"] if steps else []
            if probe.facts:
                lines.append("  " + ", ".join(f"{name} {value}" for name, value in probe.facts.items()))
            lines += [f"  warning: {warning}" for warning in probe.warnings]
        return "\n".join(lines)

    ctx.output.result("backend-test", {"backends": probes}, said)
    if codes:
        missing = DriverMissingError.exit_code
        raise typer.Exit(missing if codes == {missing} else BackendError.exit_code)


@app.command()
def status(context: typer.Context) -> None:
    """Show how far the backends are: the version token, what waits for the event log, devices."""
    ctx: Context = context.obj
    from antsmem.memory.exchange import remote_heads

    with backends(ctx) as between, memory(ctx) as here:
        if between is None:
            raise NotFoundError("no backend is configured", hint=_ADD)
        stream = stream_of(ctx)
        report = {
            "stream": stream,
            "token": between.durable.sequence(stream),
            "waiting": len(between.durable.pending(stream, 1000)),
            "devices": {name: head.sequence for name, head in remote_heads(here, between.durable).items()},
        }
    lines = [f"{name}: {value}" for name, value in report.items() if name != "devices"]
    lines += [f"{name}  {count}" for name, count in report["devices"].items()]  # type: ignore[attr-defined]
    ctx.output.result("backend-status", report, "\n".join(lines))


@app.command()
def rebuild(
    context: typer.Context,
    role: Annotated[
        list[str] | None, typer.Argument(help="Of log, durable and blob. Default: all of them.")
    ] = None,
) -> None:
    """Give the backends everything again that this device has."""
    ctx: Context = context.obj
    wanted = tuple(role or NEEDED)
    if unknown := sorted(set(wanted) - set(NEEDED)):
        raise UsageError(f"`{unknown[0]}` cannot be rebuilt", hint=f"there are: {', '.join(NEEDED)}")
    with backends(ctx, make=True) as between:
        if between is None:
            raise NotFoundError("no backend is configured", hint=_ADD)
        between.log.create()
        between.durable.create()
        rows = agree(ctx, between)
        with memory(ctx) as here:
            catch_up(here)
            rebuilt = rebuild_backends(here, between, wanted, rows)
    if rebuilt.missing:
        ctx.output.warn(f"{rebuilt.missing} blobs are neither here nor there: rebuild from another device too")
    text = f"{rebuilt.events} events, {rebuilt.records} records of the log, {rebuilt.blobs} blobs given"
    ctx.output.result("backend-rebuild", rebuilt, text)
    if rebuilt.missing:
        raise typer.Exit(3)


def _all(ctx: Context) -> list[BackendConfig]:
    if not ctx.agent.backends:
        raise NotFoundError("no backend is configured", hint=_ADD)
    return list(ctx.agent.backends)


def _rows(configs: Any) -> list[BackendRow]:
    return [BackendRow(config.role, config.url, tuple(config.options)) for config in configs]


def _table(rows: list[BackendRow]) -> str:
    return table([(row.role, row.url) for row in rows])


def _probe(ctx: Context, config: BackendConfig) -> tuple[Probe, int]:
    """What it did, and the exit code of why it stopped; 0: it is good."""
    steps: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = step()
        steps[name] = (time.perf_counter() - started) * 1000
        return found

    try:
        backend = timed("open", lambda: opened(ctx, config))
        try:
            _PROBES[config.role](backend, timed)
            told = backend.inspect() if hasattr(backend, "inspect") else Inspection({})
        finally:
            backend.close()
    except AntsmemError as error:
        return Probe(config.role, config.url, steps, str(error), hint=error.hint), error.exit_code
    return Probe(config.role, config.url, steps, "", told.facts, told.warnings), 0


def _probe_log(log: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    stream = f"probe/{os.urandom(6).hex()}"
    timed("create", log.create)
    sent = LogRecord(stream, "probe", {"id": "probe"}, os.urandom(64))
    timed("append", lambda: log.append([sent]))
    found = timed("read", lambda: log.tail(stream, None, 10.0))
    if [item for _, item in found] != [sent]:
        raise NotFoundError("what was appended did not come back")


def _probe_durable(store: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    stream = f"probe/{os.urandom(6).hex()}"
    timed("create", store.create)
    item = LogRecord(stream, "probe", {"id": "probe"}, b"probe")
    token = timed("commit", lambda: store.commit(stream, [Change("probe", b"1", 0)], [item]))
    if timed("get", lambda: store.get(stream, "probe")) != Row(token, b"1"):
        raise NotFoundError("what was committed did not come back")
    timed("delete", lambda: store.commit(stream, [Change("probe", None)], [item]))
    timed("relayed", lambda: store.relayed(stream, store.sequence(stream)))


def _probe_cache(cache: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    key = f"probe/{os.urandom(6).hex()}"
    timed("set", lambda: cache.set_if_newer(key, Row(1, b"1")))
    if timed("get", lambda: cache.get(key)) != Row(1, b"1"):
        raise NotFoundError("what was set did not come back")
    timed("delete", lambda: cache.delete(key))


def _probe_blob(blobs: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    data = os.urandom(4096)
    name = hashlib.sha256(data).hexdigest()
    timed("put", lambda: blobs.put(name, data))
    timed("get", lambda: blobs.get(name))
    timed("delete", lambda: blobs.delete(name))


def _probe_directory(directory: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    name = f"probe/{os.urandom(6).hex()}"
    lease = timed("acquire", lambda: directory.acquire(name, "probe", 5.0))
    if lease is None:
        raise NotFoundError("a lease that nobody has was not given")
    timed("release", lambda: directory.release(lease))


def _probe_vectors(index: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    stream, vector = f"probe/{os.urandom(6).hex()}", [1.0, 0.0, 0.0, 0.0]
    timed("create", lambda: index.create("probe", len(vector)))
    timed("upsert", lambda: index.upsert([VectorRow(stream, "probe", 1, vector)]))
    if [name for name, _ in timed("search", lambda: index.search(stream, vector, 1))] != ["probe"]:
        raise NotFoundError("what was put did not come back")
    timed("drop", lambda: index.drop(stream))


def _probe_text(index: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    stream = f"probe/{os.urandom(6).hex()}"
    timed("create", index.create)
    timed("upsert", lambda: index.upsert([TextRow(stream, "probe", 1, "a probe")]))
    if [name for name, _ in timed("search", lambda: index.search(stream, "probe", 1))] != ["probe"]:
        raise NotFoundError("what was put did not come back")
    timed("drop", lambda: index.drop(stream))


_PROBES = {
    "log": _probe_log,
    "durable": _probe_durable,
    "cache": _probe_cache,
    "vectors": _probe_vectors,
    "text": _probe_text,
    "blob": _probe_blob,
    "directory": _probe_directory,
}
