"""`antsmem relay`: be found, be reached, and run the place where that happens."""

from __future__ import annotations

import base64
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.output import table
from antsmem.cli.relays import find, own_relay, own_relays, public_relay
from antsmem.core.disk import make_private_dir, write_file
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    LeakError,
    NotFoundError,
    RefusedError,
    RollbackError,
    UsageError,
)
from antsmem.core.record import record
from antsmem.identity.handle import Handle, handles_of, relays_of

if TYPE_CHECKING:
    from antsmem.drivers.relay import RelayClient
    from antsmem.identity.endpoint import Head, Receipt
    from antsmem.identity.log import IdentityLog
    from antsmem.service.relay_server import Listening

app = group("The relays where the agent is found: serve, register, status, send, inbox.")
_RELAY_HELP = "Its URL. Default: those in the identity log."
RelayOption = Annotated[str, typer.Option(help=_RELAY_HELP)]


@record
class RelayRow:
    """What one relay knows of the agent; `problem` is empty where all is well."""

    relay: str
    version: int
    home: bool
    handles: tuple[str, ...]
    problem: str


@app.command()
def serve(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="The directory of its data.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes any free one.")] = "127.0.0.1:8470",
    url: Annotated[str, typer.Option(help="How it is reached from outside: https://NAME.")] = "",
) -> None:
    """Run a relay until a signal ends it."""
    from antsmem.identity.multikey import multikey
    from antsmem.service.relay_server import serve as run

    ctx: Context = context.obj

    def ready(at: Listening) -> None:
        row = {"address": at.address, "url": at.url, "key": multikey(at.key)}
        text = f"relay {at.url} listens on {at.address}; its key is {row['key']}"
        ctx.output.result("relay-serve", row, text)

    run(listen, data.absolute(), url, ready)


@app.command()
def register(context: typer.Context, relay: RelayOption = "") -> None:
    """Bring the identity log to the relays, or here what another host of the agent has added to it."""
    ctx: Context = context.obj
    rows, urls = [], own_relays(ctx, relay)
    for url in urls:
        client = own_relay(ctx, url)
        try:
            try:
                head = client.register(ctx.log.text)
            except RollbackError:
                _take_longer(ctx, client)
                head = client.register(ctx.log.text)
            rows.append(_row(ctx, url, head))
        except (BackendError, RefusedError) as error:
            if len(urls) == 1:
                raise
            rows.append(RelayRow(url, 0, False, (), str(error)))
    _report(ctx, "relay-register", rows)


@app.command()
def status(context: typer.Context, relay: RelayOption = "") -> None:
    """Show what the relays know of the agent."""
    ctx: Context = context.obj
    rows = []
    for url in own_relays(ctx, relay):
        try:
            rows.append(_row(ctx, url, public_relay(ctx, url).head(ctx.log.scid)))
        except (BackendError, NotFoundError, RefusedError) as error:
            rows.append(RelayRow(url, 0, False, (), str(error)))
    _report(ctx, "relay-status", rows)


@app.command()
def send(
    context: typer.Context,
    to: Annotated[str, typer.Argument(help="A handle or an SCID.")],
    text: Annotated[list[str] | None, typer.Argument(help="The text; without it, standard input.")] = None,
    relay: Annotated[str, typer.Option(help="Where to look for an SCID. Default: the agent's own relays.")] = "",
    nameserver: Annotated[str, typer.Option(help="ADDRESS:PORT to ask instead of the system's DNS.")] = "",
) -> None:
    """Send a sealed and signed message to another agent."""
    from antsmem.identity.message import Address, seal_message
    from antsmem.identity.resolve import outward

    ctx: Context = context.obj
    said = " ".join(text) if text else "" if sys.stdin.isatty() else sys.stdin.read()
    if not said.strip():
        raise UsageError("nothing to send", hint='antsmem relay send TO "the text", or pipe it in')
    keystore = ctx.keystore
    _refuse_leak(ctx, said)
    found = find(ctx, to, relay, nameserver)
    message = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    address = Address(keystore.scid, found.log.scid, message)
    sealed = seal_message(said, address, keystore.op_key, found.log, ctx.now_ns)
    listed = outward(found.relay, relays_of(found.log.document))
    places = [found.relay, *(url for url in listed if url != found.relay)]
    receipt = _delivered(ctx, places, found.log, (message, sealed))
    place = ctx.agent_state / "sent" / f"{message}.json"
    make_private_dir(place.parent)
    write_file(place, [receipt.statement])
    row = {"message": message, "to": found.log.scid, "accepted": receipt.time, "receipt": str(place)}
    ctx.output.result("relay-send", row, f"{message} to {found.log.scid}: accepted {receipt.time}")


@app.command()
def inbox(
    context: typer.Context,
    relay: RelayOption = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything there, unread.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Also remove what this host cannot open.")] = False,
) -> None:
    """Read the messages that wait, and tell their senders."""
    from antsmem.cli.inbox import Inbox

    ctx: Context = context.obj
    urls = own_relays(ctx, relay)
    opened, rows, away = [], [], False
    for each in [Inbox(ctx, url) for url in urls]:
        try:
            rows += each.read()
            opened.append(each)
        except (BackendError, NotFoundError, RefusedError) as error:
            if len(urls) == 1:
                raise
            ctx.output.warn(str(error))
            away = True
    nothing = "" if ctx.options.quiet else "nothing new"
    ctx.output.result("relay-inbox", {"items": rows}, "\n".join(row.shown() for row in rows) or nothing)
    if not keep:  # only now that they are shown: a message may come twice, but is never lost
        for each in opened:
            each.settle(discard=discard)
    if away or any(row.problem for row in rows):
        raise typer.Exit(3)


def _refuse_leak(ctx: Context, said: str) -> None:
    """A message leaves the host as a backup does, and is looked through like one."""
    leaks = ctx.scanner().scan(said.encode())
    if leaks:
        raise LeakError(
            f"nothing was sent, because the message holds a secret ({leaks[0].rule})",
            hint="leave it out, and say where the receiver finds it",
        )


def _take_longer(ctx: Context, client: RelayClient) -> None:
    """Take over the longer log that a relay has, as far as it continues this one."""
    from antsmem.cli.newest import take_over
    from antsmem.cli.relays import seen
    from antsmem.identity.log import parse_log
    from antsmem.identity.resolve import newest_of

    fetched = client.log(ctx.log.scid)
    theirs = parse_log(fetched.text)
    newest = newest_of(ctx.log, theirs)
    seen(ctx).look(newest, fetched.statement, client.url, ctx.now_ns)
    with ctx.working():
        take_over(ctx, newest, f"relay `{client.url}` has")


def _delivered(ctx: Context, places: list[str], receiver: IdentityLog, what: tuple[str, bytes]) -> Receipt:
    """Leave a message at the first of `places` that takes it. A relay that does not know the sender is told."""
    failure: AntsmemError | None = None
    for url in places:
        client = own_relay(ctx, url)
        try:
            try:
                return client.send(receiver.scid, *what)
            except (NotFoundError, RefusedError):
                client.register(ctx.log.text)
                return client.send(receiver.scid, *what)
        except (BackendError, NotFoundError) as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _row(ctx: Context, url: str, head: Head) -> RelayRow:
    number = int(head.version_id.partition("-")[0])
    claimed = {handle.name for handle in _handles(ctx) if handle.url == url}
    problem = ""
    if head.version_id != ctx.log.head:
        with suppress(IndexError):
            if number <= ctx.log.version and ctx.log.version_ids[number - 1] != head.version_id:
                raise RollbackError(
                    f"relay `{url}` has another version {number} of the identity log than this workspace",
                    hint="antsmem identity verify compares them",
                )
        problem = f"has version {number}, this workspace {ctx.log.version}: antsmem relay register"
    elif claimed - set(head.handles):
        problem = f"handle {', '.join(sorted(claimed - set(head.handles)))} belongs to another agent there"
    return RelayRow(url, number, head.home, head.handles, problem)


def _handles(ctx: Context) -> list[Handle]:
    return [handle for handle in handles_of(ctx.log.document) if handle.name]


def _report(ctx: Context, schema: str, rows: list[RelayRow]) -> None:
    """Print what the relays say; exit 3 where something is wrong."""
    shown = [
        (row.relay, f"version {row.version}" if row.version else "-", " ".join(row.handles), row.problem or "ok")
        for row in rows
    ]
    ctx.output.result(schema, {"relays": rows}, lambda: table(shown))
    if any(row.problem for row in rows):
        raise typer.Exit(3)
