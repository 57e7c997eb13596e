"""`antsmem migrate-test`: a copy of the agent loses its machine, comes back elsewhere, and is proven the same."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.output import table
from antsmem.core.disk import write_file
from antsmem.core.errors import MigrationError, NotFoundError, UsageError
from antsmem.drill.report import figures, junit, markdown, page, verdict, word
from antsmem.drill.result import MigrationTest
from antsmem.drill.targets import Target, parse_target, require_target
from antsmem.workspace.evidence import record_evidence
from antsmem.workspace.layout import Layout
from antsmem.workspace.rules import PathClass
from antsmem.workspace.settings import name_from

PROGRAM = (sys.executable, "-P", "-m", "antsmem")
_SABOTAGES = "lose-keys, drop-memory, forget-intents, leak-key or double-run"


def migrate_test(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    target: Annotated[
        str, typer.Option(help="The new machine: process, namespace, container:IMAGE or ssh:HOST.")
    ] = "process",
    relay: Annotated[str, typer.Option(help="URL of a relay to ask. Default: one made for the test.")] = "",
    sabotage: Annotated[
        str, typer.Option(help=f"Break the restore on purpose, so that the test must fail: {_SABOTAGES}.")
    ] = "",
    ssh: Annotated[str, typer.Option(help="The program that reaches ssh:HOST, with its options.")] = "ssh",
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write the result as JUnit XML here.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report here: FILE.md or FILE.html.")] = None,
) -> None:
    """Destroy a copy of the agent, bring it back on another machine, and prove that it is the same."""
    ctx: Context = context.obj
    if report is not None and report.suffix not in {".md", ".html"}:
        raise UsageError(f"`{report}` is no report: its name ends with `.md` or `.html`")
    for file in (junit_file, report):
        if file is not None and not file.absolute().parent.is_dir():
            raise NotFoundError(f"there is no directory for `{file}`: not tested", hint="is the path right?")
    result = _tested(ctx, parse_target(target), relay, sabotage, shlex.split(ssh))
    _remember(ctx, result)
    ctx.output.result("migrate-test", result, lambda: _text(result))
    if junit_file is not None:
        write_file(junit_file, [junit(result)], mode=0o644)
    if report is not None:
        text = markdown(result) if report.suffix == ".md" else page(result)
        write_file(report, [text.encode()], mode=0o644)
    if not result.passed:
        raise MigrationError(f"the migration test of `{result.agent}` failed: {', '.join(result.broken)}")


def _tested(ctx: Context, target: Target, relay: str, sabotage: str, ssh: Sequence[str]) -> MigrationTest:
    from antsmem.cli.drillrelay import DrillRelay, ForeignRelay
    from antsmem.drill.new import SABOTAGES
    from antsmem.drill.place import drill_place
    from antsmem.drill.rehearsal import Wanted, run_migration_test
    from antsmem.identity.privatedir import guarded
    from antsmem.workspace.classes import Classifier

    require_target(target, ssh)
    if sabotage and sabotage not in SABOTAGES:
        raise UsageError(f"`{sabotage}` is no sabotage", hint=f"there are {', '.join(SABOTAGES)}")
    if relay:
        from antsmem.cli.relays import public_relay

        public_relay(ctx, relay).info()  # where none answers, nothing would be tested
    workspace, name, classifier = _agent(ctx)
    base = Path(ctx.environment.get("TMPDIR") or "/tmp")  # noqa: S108 - a private directory is made in it
    with guarded((), files=False) as guard, drill_place(base) as place:
        if place.is_relative_to(workspace.resolve()):
            raise UsageError(f"`{base}` lies in the workspace", hint="set TMPDIR to a directory outside of it")
        with closing(ForeignRelay(relay) if relay else DrillRelay(place / "relay")) as found:
            wanted = Wanted(
                workspace=workspace,
                name=name,
                classifier=Classifier(classifier),
                place=place,
                program=PROGRAM,
                relay=found,
                target=target,
                ssh=tuple(ssh),
                hidden=(ctx.config_dir, ctx.state_dir, ctx.data_dir),
                sabotage=sabotage,
                watch=lambda group, lives: (guard.watch if lives else guard.forget)(group),
                waived=lambda copy: _waived(ctx, copy),
            )
            return run_migration_test(wanted, ctx.output.note if sys.stderr.isatty() else lambda _what: None)


def _agent(ctx: Context) -> tuple[Path, str, Mapping[PathClass, tuple[str, ...]]]:
    """The workspace, the agent's name and its own path classes. A directory that was named but is no workspace yet
    is tested all the same, as `init --adopt` would take it."""
    try:
        return ctx.layout.root, ctx.settings.name, ctx.settings.classes
    except NotFoundError:
        named = ctx.options.workspace
        if named is None or not os.path.isdir(named):
            raise
        root = Layout(Path(named).absolute()).root
        return root, name_from(root.name), {}


def _waived(ctx: Context, copy: Path) -> list[str]:
    """The places in the copy whose secrets the agent's ledger permits; none without an identity, or a key."""
    from antsmem.cli.guarding import tree_of
    from antsmem.drill.waived import waived_places

    try:
        tree = tree_of(ctx)
    except NotFoundError:
        return []
    return waived_places(copy, tree.waivers(), tree.scanner)


def _remember(ctx: Context, result: MigrationTest) -> None:
    """Keep the evidence of a test that passed, where this host keeps what it saw of the agent."""
    if not result.passed or result.sabotage:
        return
    try:
        scid = ctx.log.scid
    except NotFoundError:
        return
    details = {
        "target": result.target,
        "proofs": [each.name for each in result.proofs if each.holds],
        "rto_ms": int((result.rto_seconds or 0) * 1000),
        "files": result.files,
    }
    record_evidence(ctx.state_dir / scid, "migration-test", ctx.now_ns, details)


def _text(result: MigrationTest) -> str:
    steps = [
        (str(number), each.name, f"{each.seconds:5.1f} s", each.what)
        for number, each in enumerate(result.steps, 1)
    ]
    proofs = [(word(each), each.claim, each.evidence) for each in result.proofs]
    parts = [table(steps), table(proofs), f"{figures(result)}\nmigration test {verdict(result)}"]
    return "\n\n".join(part for part in parts if part)
