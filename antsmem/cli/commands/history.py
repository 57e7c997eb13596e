"""`antsmem history`, `diff`, `undo`: earlier versions of the workspace's files, kept outside of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.commands import browse
from antsmem.cli.context import Context
from antsmem.cli.guarding import inside, shown, store_of, tree_of
from antsmem.cli.output import size, table
from antsmem.core.clock import file_stamp, utc_text
from antsmem.core.errors import UsageError, legible
from antsmem.core.record import record
from antsmem.workspace.alarms import guard_workspace, read_alarms
from antsmem.workspace.history import record_history
from antsmem.workspace.versions import difference, revisions, versions_of
from antsmem.workspace.versions import undo as bring_back

_SNAPSHOT = re.compile(r"latest|\d{8}T[\w.-]*")


@record
class RevisionRow:
    """A revision. `paths`: what it changed; of one path, `mode` and `size_bytes` too (null: deleted)."""

    revision: str
    time: str
    reason: str
    paths: tuple[str, ...]
    mode: str | None = None
    size_bytes: int | None = None


def history(
    context: typer.Context,
    path: Annotated[str | None, typer.Argument(help="Only the versions of this file.")] = None,
    last: Annotated[int, typer.Option(help="Show so many.", min=1, max=10_000)] = 20,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Begin a damaged history anew with what can be read.")
    ] = False,
) -> None:
    """List the versions of the workspace's files, newest first; what is there now is recorded first."""
    ctx: Context = context.obj
    ctx.finish_restore()
    tree, store = tree_of(ctx), store_of(ctx)
    if rebuild:
        aside = store.rebuild(file_stamp(ctx.now_ns)) if os.path.lexists(store.path) else None
        if aside is not None:
            ctx.output.note(f"the damaged history is kept as `{aside}`")
    recorded = record_history(tree, "history", ctx.now_ns)
    for left in recorded.left_out:
        ctx.output.note(f"`{shown(left.path)}` is left out: {left.why}")
    if path is None:
        rows = [
            RevisionRow(each.revision, utc_text(each.time_ns), each.reason, tuple(map(shown, each.paths)))
            for each in revisions(store, last)
        ]
        lines = [(row.revision[:12], row.time[:19], row.reason, _listed(row.paths)) for row in rows]
    else:
        wanted = inside(ctx, path)
        rows = [
            RevisionRow(
                each.revision, utc_text(each.time_ns), each.reason, (shown(wanted),),
                f"{each.mode:04o}" if each.blob else None, each.size_bytes if each.blob else None,
            )
            for each in versions_of(store, wanted, last)
        ]  # fmt: skip
        lines = [
            (row.revision[:12], row.time[:19], row.reason, "deleted" if row.mode is None else
             f"{row.mode} {size(row.size_bytes or 0)}")
            for row in rows
        ]  # fmt: skip
    ctx.output.result("history", {"revisions": rows}, lambda: table(lines) if lines else "no version yet")


def _calm(text: str) -> str:
    """`text` without what a terminal would obey."""
    return "\n".join("\t".join(map(legible, line.split("\t"))) for line in text.split("\n"))


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def diff(
    context: typer.Context,
    what: Annotated[
        str | None, typer.Argument(help="A file of the workspace, or the older of two snapshots.")
    ] = None,
    newer: Annotated[str | None, typer.Argument(help="The newer snapshot, or `latest`.")] = None,
    since: Annotated[
        str, typer.Option("--from", help="A revision of `antsmem history`. Default: the one before the last.")
    ] = "",
    repository: browse.RepositoryOption = None,
    kit: browse.KitOption = None,
) -> None:
    """Say what changed: in a file or all files since a revision of the history, or between two snapshots."""
    ctx: Context = context.obj
    if what is not None and (newer is not None or _SNAPSHOT.fullmatch(what) or repository or kit):
        if since:
            raise UsageError("`--from` is a revision of the history: snapshots are compared by their ids")
        browse.diff(ctx, what, newer or "latest", repository, kit)
        return
    ctx.finish_restore()
    wanted = inside(ctx, what) if what is not None else None
    text = difference(tree_of(ctx), wanted, since, ctx.now_ns).decode("utf-8", "replace")
    ctx.output.result("diff-history", {"from": since, "text": text}, lambda: _calm(text))


def undo(
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="A file of the workspace.")],
    to: Annotated[
        str,
        typer.Option(help="A revision of `antsmem history`. Default: before the loss, or before the last change."),
    ] = "",
) -> None:
    """Bring a file back, bytes and mode, as it was; what stands there now is kept in the history."""
    ctx: Context = context.obj
    ctx.ready_to_write()
    tree, wanted = tree_of(ctx), inside(ctx, path)
    alarm = next((each for each in read_alarms(ctx.agent_state) if each.path == wanted), None)
    done = bring_back(tree, wanted, to, ctx.now_ns, alarm.blob if alarm else "")
    guard_workspace(tree, ctx.agent_state, "undo", ctx.now_ns, memory_only=True)
    document = {
        "path": shown(done.path),
        "revision": done.version.revision,
        "mode": f"{done.version.mode:04o}",
        "size_bytes": done.version.size_bytes,
        "replaced": done.replaced,
    }
    kept = f"; what stood there is `{_short(done.replaced)}`" if done.replaced else ""
    told = (
        f"`{shown(done.path)}` is as in {done.version.revision[:12]} ({utc_text(done.version.time_ns)[:19]}){kept}"
    )
    ctx.output.result("undo", document, told)


def _short(replaced: str) -> str:
    return replaced if Path(replaced).is_absolute() else replaced[:12]
