"""`antsmem migrate-test`: a copy of the agent loses its machine, comes back elsewhere, and is proven the same."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.output import table
from antsmem.drill.result import MigrationTest

PROGRAM = (sys.executable, "-P", "-m", "antsmem")


def migrate_test(
    context: typer.Context,
    target: Annotated[
        str, typer.Option(help="The new machine: process, namespace, container:IMAGE or ssh:HOST.")
    ] = "process",
    sabotage: Annotated[str, typer.Option(help="Break the restore on purpose: the test must see it.")] = "",
) -> None:
    """Take a copy of the agent through the loss of its machine, and prove that it is the same afterwards."""
    from antsmem.cli.drillrelay import DrillRelay
    from antsmem.drill.place import drill_place
    from antsmem.drill.rehearsal import Wanted, new_here, run_migration_test
    from antsmem.workspace.classes import Classifier

    ctx: Context = context.obj
    base = Path(ctx.environment.get("TMPDIR") or "/tmp")  # noqa: S108 - a directory of ours is made in it
    with drill_place(base) as place, closing(DrillRelay(place / "relay")) as relay:
        wanted = Wanted(
            workspace=ctx.layout.root,
            name=ctx.settings.name,
            classifier=Classifier(ctx.settings.classes),
            place=place,
            program=PROGRAM,
            relay=relay,
            target=target,
            machine=partial(new_here, program=PROGRAM),
            sabotage=sabotage,
        )
        result = run_migration_test(wanted)
    ctx.output.result("migrate-test", result, lambda: _text(result))
    if not result.passed:
        raise typer.Exit(50)


def _text(result: MigrationTest) -> str:
    steps = [
        (f"{number}", each.name, f"{each.seconds:.1f} s", each.what) for number, each in enumerate(result.steps, 1)
    ]
    rows = [
        ({True: "ok", False: "FAILED", None: "-"}[each.holds], each.claim, each.evidence) for each in result.proofs
    ]
    figures = f"RTO {result.rto_seconds} s; RPO {result.rpo_seconds} s, {result.rpo_entries} entries"
    verdict = "passed" if result.passed else f"FAILED: {', '.join(result.broken)}"
    return f"{table(steps)}\n\n{table(rows)}\n\n{figures}\nmigration test {verdict}"
