"""`antsmem waive`: record that a secret may stay where it stands."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.manifest import shown
from antsmem.cli.context import Context
from antsmem.cli.ledger import renew_escrow
from antsmem.core.clock import utc_text
from antsmem.core.disk import read_file
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.identity.scanner import line_of, masked
from antsmem.identity.waivers import Waiver, add_waivers, end_waivers

_DAY_NS = 86400 * 1_000_000_000


@record
class Waived:
    """A permission that is recorded now."""

    path: str
    line: int
    rule: str
    shown: str
    reason: str
    expires: str


def waive(
    context: typer.Context,
    place: Annotated[str, typer.Argument(help="PATH:LINE as the refused backup named it; PATH alone: all in it.")],
    reason: Annotated[str, typer.Option(help="Why it may stay: recorded and signed.")],
    days: Annotated[int, typer.Option(help="For how many days.", min=1, max=366)] = 90,
    end: Annotated[bool, typer.Option("--end", help="Take the permission back.")] = False,
) -> None:
    """Let a backup store a secret that stands in a file, until the permission ends."""
    ctx: Context = context.obj
    path, _, row = place.rpartition(":")
    if not path or not row.isdecimal():
        path, row = place, ""
    relative = os.fsencode(_relative(ctx, path))
    found = [(data, item) for data in _contents(ctx.layout.root / path) for item in ctx.scanner().scan(data)]
    findings = [(data, item) for data, item in found if not row or line_of(data, item.start) == int(row)]
    if not findings:
        raise NotFoundError(f"no secret stands in `{place}`", hint="antsmem backup names file and line")
    expires_ns = ctx.now_ns + (0 if end else days * _DAY_NS)
    waivers = [Waiver(relative, item.rule, item.fingerprint, reason, expires_ns) for _, item in findings]
    with ctx.working():
        custody = (end_waivers if end else add_waivers)(ctx.access, waivers, ctx.now_ns)
        renew_escrow(ctx, custody)
    done = [
        Waived(
            shown(relative),
            line_of(data, item.start),
            item.rule,
            masked(data[item.start : item.end]),
            reason,
            utc_text(expires_ns),
        )
        for data, item in findings
    ]
    until = "may stay no longer" if end else f"may stay until {utc_text(expires_ns)[:10]}"
    text = "\n".join(f"{each.path}:{each.line} {each.rule} {each.shown} {until}" for each in done)
    ctx.output.result("waive", {"waived": done}, text)


def _contents(path: Path) -> list[bytes]:
    """What a backup stores of a file and looks through: its bytes and its extended attributes."""
    data, names = read_file(path), list[str]()
    with suppress(AttributeError, OSError):  # a system or a file system that has none
        names = os.listxattr(path)
    return [data, *(name.encode() + b"=" + os.getxattr(path, name) for name in names if name.startswith("user."))]


def _relative(ctx: Context, path: str) -> str:
    """`path` relative to the workspace, from which it is meant."""
    inside = Path(os.path.normpath(ctx.layout.root / path))
    if not inside.is_relative_to(ctx.layout.root):
        raise UsageError(f"`{path}` is not in the workspace")
    return str(inside.relative_to(ctx.layout.root))
