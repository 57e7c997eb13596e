"""`antsmem exec`: run a program that needs secrets, without showing it or anybody a reference's value."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.core.errors import UsageError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def exec(  # noqa: A001 - its name on the terminal
    context: typer.Context,
    program: Annotated[list[str], typer.Argument(help="Behind `--`: the program and its arguments.")],
    env: Annotated[
        list[str] | None,
        typer.Option(help="NAME=REFERENCE: the secret as a variable; may be given several times."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=REFERENCE: the secret as a file; the variable holds its path; may be given several times."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--ssh-add",
            help="REFERENCE: an SSH key, in an agent of the program's own; may be given several times.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--pass", help="A variable of this environment to pass on; may be given several times."),
    ] = None,
) -> None:
    """Run a program with secrets in its environment or in files, and mask them in what it prints."""
    from antsmem.cli.providers import plain_environment
    from antsmem.core.hardening import harden
    from antsmem.identity.launch import Program, arguments_of, launch
    from antsmem.identity.privatedir import guarded
    from antsmem.identity.sshagent import ssh_agent

    ctx: Context = context.obj
    arguments = arguments_of(program)
    variables, files = _pairs("--env", env or ()), _pairs("--file", file or ())
    if both := {each for each, _ in variables} & {each for each, _ in files}:
        raise UsageError(f"`{min(both)}` is given by --env and by --file")
    environment = plain_environment(ctx.environment, tuple(name or ()))
    harden()
    with guarded(_places(ctx), files=bool(files or key)) as guard, ExitStack() as held:
        for variable, reference in variables:
            environment[variable] = os.fsdecode(ctx.secrets.value(reference))
        for variable, reference in files:
            environment[variable] = str(guard.put(variable, ctx.secrets.value(reference)))
        if key:
            keys = [ctx.secrets.value(reference) for reference in key]
            environment["SSH_AUTH_SOCK"] = held.enter_context(ssh_agent(guard, keys, environment))
        mask = ctx.output.mask()
        for short in mask.too_short:
            ctx.output.warn(f"secret `{short}` is too short to be masked")
        ctx.output.end()
        try:
            code = launch(Program(arguments, environment, sys.stdin.isatty()), mask, guard)
        except BrokenPipeError:  # typer would make an exit code of its own of that
            code = 141
    raise typer.Exit(code)


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=REFERENCE, taken apart. What is something else may be a secret: it is told by its place."""
    from antsmem.identity.reference import parse_reference

    pairs = []
    for number, text in enumerate(given, 1):
        name, equals, reference = text.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            hint = f"antsmem exec {option} NAME=secret://NAME -- …"
            raise UsageError(f"number {number} of {option} is not NAME=secret://…", hint=hint)
        try:
            parse_reference(reference)
        except UsageError as error:
            raise UsageError(f"{option} `{name}`: {error}", hint=error.hint) from None
        pairs.append((name, reference))
    return pairs


def _places(ctx: Context) -> list[Path]:
    """Where private files may lie."""
    runtime = ctx.environment.get("XDG_RUNTIME_DIR")
    return [*([Path(runtime)] if runtime else []), Path("/dev/shm")]  # noqa: S108 - a directory of our own in it
