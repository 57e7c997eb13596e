"""`antsmem identity`: who the agent is, where it is found, and whether others are who they say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.cli.commands.rotate import rotate
from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.keys import read_kit
from antsmem.cli.output import table
from antsmem.cli.relays import find, log_at, public_relay, refuse_stale, seen, tell_relays
from antsmem.core.clock import utc_text
from antsmem.core.disk import read_file, write_file
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    UsageError,
    naming,
)
from antsmem.core.record import record
from antsmem.identity.fields import Fields
from antsmem.identity.handle import (
    handles_of,
    parse_handle,
    relay_url,
    relays_of,
    with_handles,
    with_relays,
)
from antsmem.identity.log import MAX_LOG_BYTES, IdentityLog, parse_log
from antsmem.identity.multikey import multikey
from antsmem.identity.statement import open_statement, sign_statement

if TYPE_CHECKING:
    from antsmem.identity.document import Document

app = group("The agent's identity, and others': show, verify, move, resolve, export, rotate.")
BUNDLE_SCHEMA = "antsmem.identity-bundle/1"
_NAMESERVER = typer.Option(help="ADDRESS:PORT to ask instead of the system's DNS.")


@record
class HostRow:
    """A host's op key: from which version of the log on, and the first version without it (0: it speaks today)."""

    host: str
    key: str
    since: int
    until: int


@record
class IdentityRow:
    """An identity as its log tells it."""

    did: str
    scid: str
    version: int
    updated: str
    hosts: tuple[HostRow, ...]
    relays: tuple[str, ...]
    handles: tuple[str, ...]
    deactivated: bool


@record
class Verified:
    """A log that holds. `source` is where it was read; `problems` is what is not as it should be around it."""

    scid: str
    did: str
    version: int
    source: str
    problems: tuple[str, ...]


@record
class Moved:
    """Where the agent is found now. `not_told`: relays and repositories that do not know it yet."""

    scid: str
    version: int
    relays: tuple[str, ...]
    handles: tuple[str, ...]
    told: tuple[str, ...]
    not_told: tuple[str, ...]
    escrow: str


@app.command()
def show(context: typer.Context) -> None:
    """Show the agent's identity: hosts, relays, handles."""
    ctx: Context = context.obj
    row = _identity(ctx.log)
    ctx.output.result("identity", row, lambda: _text(row))


@app.command()
def verify(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A file, handle or SCID. Default: the agent here.")] = "",
    relay: Annotated[str, typer.Option(help="Where to look for an SCID. Default: the agent's own relays.")] = "",
    nameserver: Annotated[str, _NAMESERVER] = "",
) -> None:
    """Verify an identity log: every hash and signature, and that no other history of it was seen."""
    ctx: Context = context.obj
    problems: list[str] = []
    if what and ("/" in what or os.path.lexists(what)):
        log, source = _from_file(ctx, Path(what)), what
    elif what:
        found = find(ctx, what, relay, nameserver)
        log, source = found.log, found.relay
    else:
        log, source = ctx.log, str(ctx.layout.identity_log)
        seen(ctx).look(log, b"", source, ctx.now_ns)
        problems = _compared(ctx)
    row = Verified(log.scid, log.did, log.version, source, tuple(problems))
    for problem in problems:
        ctx.output.warn(problem)
    ctx.output.result("identity-verify", row, f"{log.did}\n{log.version} versions, all genuine; from {source}")
    if problems:
        raise typer.Exit(3)


@app.command()
def resolve(
    context: typer.Context,
    handle: Annotated[str, typer.Argument(help="@name@relay.example, a domain, or an SCID.")],
    relay: Annotated[str, typer.Option(help="Where to look for an SCID. Default: the agent's own relays.")] = "",
    nameserver: Annotated[str, _NAMESERVER] = "",
) -> None:
    """Find the identity behind a handle: it counts only if the identity names the handle back."""
    ctx: Context = context.obj
    row = _identity(find(ctx, handle, relay, nameserver).log)
    ctx.output.result("identity", row, lambda: _text(row))


@app.command()
def export(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Write it to this new file instead of standard output.")] = None,
) -> None:
    """Write the public log with a host's signed word that it is the newest one."""
    ctx: Context = context.obj
    log = ctx.log
    body = {
        "schema": BUNDLE_SCHEMA,
        "scid": log.scid,
        "head": log.head,
        "time": utc_text(ctx.now_ns),
        "log": log.text.decode(),
    }
    bundle = sign_statement(body, ctx.keystore.op_key)
    row = {"scid": log.scid, "version": log.version, "file": str(out or "")}
    if out is None:
        if ctx.options.json:
            raise UsageError("with --json the bundle goes to a file", hint="name it with --out FILE")
        ctx.output.result("identity-export", row, bundle.decode())
        return
    write_file(out, [bundle], new=True)
    ctx.output.result("identity-export", row, f"version {log.version} of {log.scid} is in {out}")


@app.command()
def move(
    context: typer.Context,
    relay: Annotated[
        list[str],
        typer.Option(
            help="URL of the relay where the agent is found from now on; may be given several times, in order."
        ),
    ],
    kit: Annotated[Path, typer.Option(help="The recovery kit: nobody else may change the identity.")],
    handle: Annotated[
        list[str] | None,
        typer.Option(help="Also be found as this: a name at the relay, or a domain; may be given several times."),
    ] = None,
) -> None:
    """Move to another relay; the identity stays, and the old relays say where to."""
    ctx: Context = context.obj
    urls = list(dict.fromkeys(relay_url(each) for each in relay))
    before = [place for place in relays_of(ctx.log.document) if place not in urls]
    for place in urls:
        public_relay(ctx, place).info()  # nothing is changed for a relay that is not there
    refuse_stale(ctx, [*urls, *before])
    document = _moved_document(ctx.log, urls, handle or ())
    escrow = _amend(ctx, document, kit) if document != ctx.log.document else ""
    told, not_told, taken = tell_relays(ctx, [*urls, *before])
    unpublished = _publish(ctx)  # also what a run that was cut off did not come to
    moved = Moved(
        ctx.log.scid,
        ctx.log.version,
        tuple(urls),
        tuple(str(each) for each in handles_of(ctx.log.document)),
        tuple(told),
        (*not_told, *unpublished),
        escrow,
    )
    for place in not_told:
        ctx.output.warn(f"relay `{place}` was not told: antsmem relay register --relay {place} does it later")
    for name in unpublished:
        ctx.output.warn(f"repository `{name}` has the old identity log until the next antsmem backup")
    for name in taken:
        ctx.output.warn(f"handle `{name}` belongs to another agent")
    text = f"{moved.scid} (version {moved.version}) is found at {', '.join(urls)}"
    ctx.output.result("identity-move", moved, text + (f"\nthe sealed keys' escrow is {escrow}" if escrow else ""))
    if not_told or unpublished or taken:
        raise typer.Exit(3)


def _moved_document(log: IdentityLog, urls: list[str], names: list[str] | tuple[str, ...]) -> Document:
    authority = urls[0].partition("://")[2]
    wanted = [parse_handle(name if "." in name or "@" in name else f"@{name}@{authority}") for name in names]
    handles = dict.fromkeys([*handles_of(log.document), *wanted])
    return with_handles(with_relays(log.document, urls), list(handles))


def _amend(ctx: Context, document: Document, kit_path: Path) -> str:
    """One more entry in the log, by the kit; where the new escrow is."""
    from antsmem.identity.amend import amend_identity

    kit = read_kit(kit_path)
    with ctx.working():
        place = (ctx.identity_files, ctx.now_ns)
        amended = amend_identity(ctx.log, document, kit, ctx.keystore, ctx.unlocked, place)
    ctx.forget_identity()
    return amended.escrow


def _publish(ctx: Context) -> list[str]:
    """Bring the log to every repository, since a recovery begins there; the names of those where it failed."""
    from antsmem.backup.publish import publish_keys
    from antsmem.cli.keys import host_keyring

    failed = []
    for config in ctx.agent.repositories:
        try:
            opened = ctx.repository(config, host_keyring(ctx))
            ctx.keep_pin(opened, publish_keys(opened, ctx.pin(opened)))
        except AntsmemError as error:
            ctx.output.error(error)
            failed.append(config.name)
    return failed


def _from_file(ctx: Context, path: Path) -> IdentityLog:
    """The log in a `did.jsonl`, or in a bundle that a host that speaks for it has signed."""
    data = read_file(path, MAX_LOG_BYTES)
    if b'"' + BUNDLE_SCHEMA.encode() + b'"' not in data:
        with naming(f"`{path}`", "name a `did.jsonl`, or what `antsmem identity export` wrote"):
            log = parse_log(data)
    else:
        body = open_statement(data, BUNDLE_SCHEMA, None, str(path))
        fields = Fields(body, "the bundle")
        log = parse_log(fields.text("log").encode())
        keys = [multikey(public) for public, key in log.operational_keys.items() if not key.revoked]
        if fields.text("key") not in keys or fields.text("head") != log.head or fields.text("scid") != log.scid:
            raise IntegrityError(f"`{path}` is not signed by a host that speaks for the identity in it")
    seen(ctx).look(log, b"", str(path), ctx.now_ns)
    return log


def _compared(ctx: Context) -> list[str]:
    """What the agent's own relays have that this workspace has not, and the other way round."""
    problems = []
    for url in relays_of(ctx.log.document):
        try:
            theirs = log_at(ctx, url)
        except (BackendError, NotFoundError, RefusedError) as error:
            problems.append(str(error))
            continue
        if theirs.version != ctx.log.version:
            what = f"relay `{url}` has version {theirs.version}, this workspace {ctx.log.version}"
            problems.append(f"{what}: antsmem relay register")
    return problems


def _identity(log: IdentityLog) -> IdentityRow:
    hosts = [
        HostRow(key.host, multikey(public), key.since, key.until or 0)
        for public, key in log.operational_keys.items()
    ]
    return IdentityRow(
        log.did,
        log.scid,
        log.version,
        log.updated,
        tuple(hosts),
        relays_of(log.document),
        tuple(str(handle) for handle in handles_of(log.document)),
        log.deactivated,
    )


def _text(row: IdentityRow) -> str:
    hosts = [(each.host, each.key, f"revoked by version {each.until}" if each.until else "") for each in row.hosts]
    lines = [row.did, f"version {row.version} of {row.updated}" + (", deactivated" if row.deactivated else "")]
    lines += [f"host    {line}" for line in table(hosts).splitlines()]
    lines += [f"relay   {url}" for url in row.relays]
    lines += [f"handle  {handle}" for handle in row.handles]
    return "\n".join(lines)


app.command()(rotate)
