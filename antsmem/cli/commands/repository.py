"""`antsmem repository`: where the backups go."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Annotated

import typer

from antsmem.backup.create import complete_repository, create_repository
from antsmem.backup.repository import open_repository, read_state
from antsmem.backup.store import Store
from antsmem.cli.commands.open import DriverOptions, driver_options
from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.hourly import refuse_overlap
from antsmem.cli.keys import host_keyring
from antsmem.cli.output import table
from antsmem.core.config import VERIFY, RepositoryConfig, write_agent
from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.record import record, replace

app = group("Where the backups go: add, list, init, test.")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


@record
class Row:
    """A configured repository."""

    name: str
    url: str
    verify: str
    options: tuple[str, ...]


@record
class Probe:
    """What a store did in a test: each step with its milliseconds."""

    name: str
    url: str
    conditional: bool
    deletes: bool
    steps: dict[str, float]
    repository: str


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, `-`, `_`.")],
    url: Annotated[str, typer.Argument(help="A directory, or file://, sftp://, s3://, webdav://.")],
    option: DriverOptions = None,
    verify: Annotated[str, typer.Option(help="How a write is read back: read, hash, none.")] = "hash",
) -> None:
    """Add a repository to this agent's configuration, and make it if it is not there."""
    ctx: Context = context.obj
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{name}` is no name for a repository", hint="lower-case letters, digits, `-`, `_`")
    if verify not in VERIFY:
        raise UsageError(f"`{verify}` is no way to verify: there are {', '.join(VERIFY)}")
    if any(item.name == name for item in ctx.agent.repositories):
        raise WouldOverwriteError(
            f"a repository named `{name}` is configured", hint="see `antsmem repository list`"
        )
    if "://" not in url:
        url = os.path.abspath(url)
    config = RepositoryConfig(name, url, driver_options(option or ()), verify)
    refuse_overlap(ctx.layout.root, [config])
    made = ensure(ctx, config)
    write_agent(ctx.agent_file, replace(ctx.agent, repositories=(*ctx.agent.repositories, config)))
    text = f"added {name}: {url}" + (
        "; made a new repository there" if made else "; the repository there is this agent's"
    )
    ctx.output.result("repository-add", Row(name, url, verify, tuple(config.options)), text)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the configured repositories."""
    ctx: Context = context.obj
    rows = [Row(item.name, item.url, item.verify, tuple(item.options)) for item in ctx.agent.repositories]
    text = (
        table([(row.name, row.url) for row in rows])
        or "no repository is configured: antsmem repository add NAME URL"
    )
    ctx.output.result("repository-list", {"repositories": rows}, text)


@app.command()
def init(
    context: typer.Context, name: Annotated[str, typer.Argument(help="A configured repository, or a URL.")]
) -> None:
    """Make the repository where it is configured, if it is not there (any more)."""
    ctx: Context = context.obj
    config = ctx.named([name])[0]
    made = ensure(ctx, config)
    text = f"{config.url}: " + ("made a new, empty repository" if made else "is there already, and this agent's")
    ctx.output.result("repository-init", {"name": config.name, "url": config.url, "made": made}, text)


@app.command()
def test(
    context: typer.Context,
    name: Annotated[
        list[str] | None, typer.Argument(help="Repositories, by name. Default: all configured.")
    ] = None,
) -> None:
    """Write, read, list, replace and delete a small object in a repository's store, with timings."""
    ctx: Context = context.obj
    probes = [_probe(ctx, config) for config in ctx.named(name or ())]

    def said() -> str:
        lines = []
        for probe in probes:
            steps = ", ".join(f"{step} {spent:.0f} ms" for step, spent in probe.steps.items())
            atomic = "atomic" if probe.conditional else "best effort"
            lines.append(f"{probe.name} {probe.url}: {probe.repository}\n  {steps}; conditional writes {atomic}")
        return "\n".join(lines)

    ctx.output.result("repository-test", {"repositories": probes}, said)


def ensure(ctx: Context, config: RepositoryConfig) -> bool:
    """See that there is a repository of this agent; whether it was made now."""
    keys = host_keyring(ctx, "hot", "cold")
    store = ctx.store(config)
    try:
        return complete_repository(open_repository(store, keys))
    except NotFoundError:
        create_repository(store, keys, ctx.now_ns)
        return True


def _probe(ctx: Context, config: RepositoryConfig) -> Probe:
    store = ctx.store(config)
    name, data = f"anchors/probe-{os.urandom(4).hex()}", os.urandom(4096)
    steps: dict[str, float] = {}

    def timed(step: str, started: float) -> None:
        steps[step] = (time.perf_counter() - started) * 1000

    started = time.perf_counter()
    try:
        state = read_state(open_repository(store, host_keyring(ctx)), None)
        found = f"{len(state.ids)} hot, {len(state.anchor.cold)} cold snapshots"
    except NotFoundError:
        found = "no repository yet (antsmem repository init)"
    timed("open", started)
    started = time.perf_counter()
    store.put(name, [data], new=True)
    timed("put", started)
    try:
        _round_trip(store, name, data, timed)
    finally:
        started = time.perf_counter()
        if store.capabilities.deletes:
            store.delete(name)
        timed("delete", started)
    if store.capabilities.deletes and store.stat(name) is not None:
        raise IntegrityError(f"`{store.url}` says it deleted an object and still has it")
    return Probe(config.name, store.url, store.capabilities.conditional, store.capabilities.deletes, steps, found)


def _round_trip(store: Store, name: str, data: bytes, timed: Callable[[str, float], None]) -> None:
    started = time.perf_counter()
    if store.get(name) != data or store.get(name, 100, 50) != data[100:150]:
        raise IntegrityError(f"`{store.url}` gave other bytes back than were written")
    timed("get", started)
    started = time.perf_counter()
    if name not in {item.name for item in store.list("anchors")}:
        raise IntegrityError(f"`{store.url}` does not list what was written")
    timed("list", started)
    if not store.capabilities.conditional:
        return
    started = time.perf_counter()
    try:
        store.put(name, [b"x"], new=True)
    except AntsmemError:
        timed("refuse", started)
        return
    raise IntegrityError(f"`{store.url}` overwrote an object that it was told to keep")
