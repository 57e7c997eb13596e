"""`antsmem secret resolve`: give secrets to OpenClaw, by its exec protocol for SecretRefs."""

from __future__ import annotations

import sys

import typer

from antsmem.cli.context import Context
from antsmem.identity.answer import MAX_REQUEST_BYTES, answer


def resolve(context: typer.Context) -> None:
    """Answer an OpenClaw SecretRef request: JSON on standard input, JSON with the values on standard output."""
    ctx: Context = context.obj
    request = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    answered = answer(request, ctx.secrets.value)
    ctx.output.reveal(answered.data)
