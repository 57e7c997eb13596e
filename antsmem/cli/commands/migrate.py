"""`antsmem migrate`: the planned move to another machine, without a key that signs leaving either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.core.disk import read_file, require_room, write_file
from antsmem.core.errors import AntsmemError, UsageError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.cli.moves import Arrived

app = group("Move the agent to another machine while the old one still runs: prepare, finish, accept.")
_LIMIT = 64 << 20
_PARCEL_BYTES = 1 << 20


@record
class OfferRow:
    """A host that waits for an agent. `code` is what a person compares; `offer` is the file, or the text."""

    host: str
    code: str
    offer: str


@record
class FinishRow:
    """An agent that was handed over. `parcel` is the file for the new host."""

    did: str
    version: int
    old_host: str
    new_host: str
    parcel: str


@app.command()
def prepare(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="What this machine is called in the identity log.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write the offer to this new file instead of showing it.")
    ] = None,
) -> None:
    """On the new machine: make its keys, and an offer for the old one."""
    from antsmem.cli.moves import new_pending
    from antsmem.identity.handover import code_of, offer_of
    from antsmem.workspace.settings import name_from

    ctx: Context = context.obj
    if out is not None:
        require_room(out)
    pending = new_pending(ctx, name_from(host or ctx.host))
    offer = offer_of(pending, ctx.now_ns)
    if out is not None:
        write_file(out, [offer], mode=0o644, new=True)
    row = OfferRow(pending.host, code_of(offer), str(out) if out else offer.decode())
    shown = f"the offer is in {out}" if out else f"the offer, to be brought to the old machine:\n{offer.decode()}"
    text = (
        f"{shown.rstrip()}\ncode: {row.code}\n"
        f"next, on the old machine: antsmem migrate finish OFFER --code {row.code} --kit KIT --out PARCEL"
    )
    ctx.output.result("migrate-prepare", row, text)


@app.command()
def finish(
    context: typer.Context,
    offer: Annotated[Path, typer.Argument(help="The offer of the new machine.")],
    code: Annotated[str, typer.Option(help="The code that the new machine showed.")],
    out: Annotated[Path, typer.Option(help="Write the parcel for the new machine to this new file.")],
    kit: Annotated[Path | None, typer.Option(help="The recovery kit. Default: standard input.")] = None,
) -> None:
    """On the old machine: back up, hand the agent over to the new one, and retire."""
    from antsmem.cli.kits import kit_or_guardians
    from antsmem.cli.moves import depart, sealed_for
    from antsmem.identity.handover import code_of, is_handed_over, read_offer

    ctx: Context = context.obj
    data = read_file(offer, _LIMIT)
    found = read_offer(data)
    if code.strip().upper() != code_of(data):
        raise UsageError(
            "the code is not that of this offer: nothing handed over",
            hint="it is what `antsmem migrate prepare` showed on the new machine; a wrong one may be an attack",
        )
    try:
        require_room(out, _PARCEL_BYTES)
    except AntsmemError as error:
        raise type(error)(str(error), hint="name another --out: nothing handed over by this run") from None
    if not is_handed_over(ctx.log, found):  # a run that was cut off behind that only makes the parcel again
        sealed_for(ctx, found)  # what does not open is seen before anything is handed over
        depart(ctx, found, kit_or_guardians(ctx, kit, None, {}))
    parcel, keystore = sealed_for(ctx, found)
    try:
        write_file(out, [parcel], new=True)
    except AntsmemError as error:
        raise type(error)(
            f"{error}; the agent is handed over, and this host has retired",
            hint="the same command, with an --out that can be written, makes the parcel",
        ) from None
    row = FinishRow(ctx.log.did, ctx.log.version, keystore.host, found.host, str(out))
    text = (
        f"{row.did} (version {row.version}) is host `{row.new_host}` now; `{row.old_host}` has retired\n"
        f"next, on the new machine: antsmem migrate accept DIR {out.name}"
    )
    ctx.output.result("migrate-finish", row, text)


@app.command()
def accept(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="The new workspace: must not exist or be empty.")],
    parcel: Annotated[Path, typer.Argument(help="What `migrate finish` wrote.")],
    repository: Annotated[
        str, typer.Option(help="URL of the repository, if it is reached by another one from here.")
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the driver, VALUE also env:NAME; may be given several times."),
    ] = None,
) -> None:
    """On the new machine: restore the agent, tell its relays and repositories, and take its work over."""
    from antsmem.cli.commands.open import driver_options
    from antsmem.cli.moves import arrive

    ctx: Context = context.obj
    arrived = arrive(
        ctx, Path(os.path.abspath(directory)), read_file(parcel, _LIMIT), repository, driver_options(option or ())
    )
    for problem in arrived.problems:
        ctx.output.warn(problem)
    ctx.output.result("migrate-accept", arrived, lambda: _text(arrived))
    if arrived.problems:
        raise typer.Exit(3)


def _text(arrived: Arrived) -> str:
    work = (
        f"it does the agent's work, in epoch {arrived.epoch}"
        if arrived.epoch
        else "there was no work to take over"
    )
    restored = arrived.restored
    return (
        f"restored {restored.snapshot} to {restored.target}: {restored.files} files, verified\n"
        f"this machine is now host `{arrived.host}` of {arrived.did} (version {arrived.version}); {work}"
    )
