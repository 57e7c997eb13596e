"""`antsmem ls`, `find`, `show`, and `diff` of snapshots: look into snapshots without restoring them."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.manifest import Entry, shown, unescape
from antsmem.backup.reader import Opened, open_snapshot
from antsmem.backup.restore import clean, select
from antsmem.backup.snapshot import COLD
from antsmem.cli.commands.open import choose, open_for_reading, state_of
from antsmem.cli.context import Context
from antsmem.cli.output import table
from antsmem.core.clock import utc_text
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record

RepositoryOption = Annotated[str | None, typer.Option(help="Name or URL. Default: the first configured.")]
KitOption = Annotated[Path | None, typer.Option(help="The recovery kit, where this host has no keys.")]
_LAST_NS = 253_402_300_799_999_999_999  # of the year 9999
_LETTERS = {b"d": "d", b"l": "l", b"h": "h", b"p": "p", b"s": "s", b"b": "b", b"x": "x"}


@record
class Row:
    """One path of a snapshot. `target` is where a link points, or why a path was left out."""

    path: str
    kind: str
    mode: str
    size_bytes: int
    time: str
    target: str


@record
class Found:
    """A path in a run of snapshots that hold it unchanged."""

    path: str
    first: str
    last: str
    size_bytes: int


@record
class Change:
    """`+` new, `-` gone, `M` other bytes, `m` other metadata."""

    sign: str
    path: str


def ls(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(help="An id or a part of one, or `latest`.")] = "latest",
    path: Annotated[list[str] | None, typer.Option(help="Only this path; may be given several times.")] = None,
    repository: RepositoryOption = None,
    kit: KitOption = None,
) -> None:
    """List what a snapshot holds."""
    ctx: Context = context.obj
    paths = [os.fsencode(item) for item in path or ()]
    opened = _open(ctx, snapshot, repository, kit, clean(paths))
    rows = [_row(entry) for entry in select(opened.entries, paths)]
    ctx.output.result(
        "ls",
        {"snapshot": opened.head.id, "entries": rows},
        lambda: table([_columns(row) for row in rows]),
    )


def find(
    context: typer.Context,
    pattern: Annotated[str, typer.Argument(help="A glob over paths, such as `memory/2026-11-*` or `*.db`.")],
    repository: RepositoryOption = None,
    kit: KitOption = None,
) -> None:
    """Find the versions of paths in all hot snapshots."""
    ctx: Context = context.obj
    opened = open_for_reading(ctx, repository, kit)
    wanted, whole = os.fsencode(pattern), "/" in pattern or pattern.startswith("*")
    versions: list[Found] = []
    open_runs: dict[bytes, tuple[tuple[object, ...], Found]] = {}
    for snapshot_id in state_of(ctx, opened, kit).ids:
        seen: set[bytes] = set()
        for entry in _whole(open_snapshot(opened, snapshot_id).entries):
            name = entry.path if whole else entry.path.rpartition(b"/")[2]
            if entry.kind == b"x" or not fnmatch.fnmatchcase(name, wanted):
                continue
            seen.add(entry.path)
            same = (entry.digest, entry.link, entry.kind)
            before = open_runs.get(entry.path)
            if before and before[0] == same:
                held = before[1]
                open_runs[entry.path] = (same, Found(held.path, held.first, snapshot_id, held.size_bytes))
                continue
            if before:
                versions.append(before[1])
            run = Found(shown(entry.path), snapshot_id, snapshot_id, entry.size_bytes)
            open_runs[entry.path] = (same, run)
        versions += [open_runs.pop(path)[1] for path in open_runs.keys() - seen]
    versions = sorted(
        [*versions, *(run for _, run in open_runs.values())], key=lambda found: (found.path, found.first)
    )
    if not versions:
        raise NotFoundError(f"no snapshot holds `{pattern}`", hint="the glob matches whole paths: try `*NAME*`")
    rows = [(found.path, str(found.size_bytes), found.first, "…", found.last) for found in versions]
    ctx.output.result("find", {"versions": versions}, lambda: table(rows))


def show(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="SNAPSHOT:PATH, such as `latest:MEMORY.md`.")],
    repository: RepositoryOption = None,
    kit: KitOption = None,
) -> None:
    """Print a file as it was."""
    ctx: Context = context.obj
    snapshot, colon, path = what.partition(":")
    if not colon or not path:
        raise UsageError(f"`{what}` is not SNAPSHOT:PATH", hint="antsmem show latest:MEMORY.md")
    meant = [os.fsencode(path), unescape(os.fsencode(path))]  # as it is, or as `ls` shows it
    opened = _open(ctx, snapshot, repository, kit, meant)
    entry = next((entry for wanted in meant for entry in opened.entries if entry.path == wanted), None)
    if entry is not None and entry.kind == b"h":
        entry = next(other for other in opened.entries if other.path == entry.link)
    if entry is None or not entry.is_file:
        raise NotFoundError(
            f"`{path}` is no file in snapshot `{opened.head.id}`", hint="antsmem ls SNAPSHOT lists it"
        )
    for digest in opened.reader.chunks(entry):
        sys.stdout.buffer.write(opened.reader.get(digest))
    sys.stdout.flush()


def diff(ctx: Context, older: str, newer: str, repository: str | None, kit: Path | None) -> None:
    """Say which paths differ between two snapshots: + new, - gone, M bytes, m metadata."""
    first, second = _open(ctx, older, repository, kit), _open(ctx, newer, repository, kit)
    before, after = _by_path(first), _by_path(second)
    changes = [
        Change(sign, shown(path))
        for path in sorted(before.keys() | after.keys())
        if (sign := _sign(before.get(path), after.get(path)))
    ]
    report = {"older": first.head.id, "newer": second.head.id, "changes": changes}
    ctx.output.result("diff", report, lambda: "\n".join(f"{change.sign} {change.path}" for change in changes))


def _open(
    ctx: Context, snapshot: str, repository: str | None, kit: Path | None, paths: Collection[bytes] = ()
) -> Opened:
    opened = open_for_reading(ctx, repository, kit)
    tier, chosen = choose(opened, state_of(ctx, opened, kit), snapshot, None, ctx.now_ns)
    if tier == COLD:
        raise UsageError("a cold archive is not browsed", hint=f"antsmem restore {chosen} --to DIR")
    return open_snapshot(opened, chosen, paths)


def _whole(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, each hard link as the file that it is."""
    by_path = {entry.path: entry for entry in entries}
    return [by_path[each.link]._replace(path=each.path) if each.kind == b"h" else each for each in entries]


def _by_path(opened: Opened) -> dict[bytes, tuple[Entry, Entry]]:
    """Path → its entry, and the file that it is where it is a hard link; without what was left out."""
    whole = zip(opened.entries, _whole(opened.entries), strict=True)
    return {entry.path: (entry, file) for entry, file in whole if entry.kind != b"x"}


def _sign(before: tuple[Entry, Entry] | None, after: tuple[Entry, Entry] | None) -> str:
    if before is None or after is None:
        return "+" if before is None else "-"
    old, new = before[1], after[1]
    if (old.kind, old.digest, old.link) != (new.kind, new.digest, new.link):
        return "M"
    return "" if before == after else "m"


def _row(entry: Entry) -> Row:
    letter = _LETTERS.get(entry.kind, "-")
    time = utc_text(min(max(entry.mtime_ns, 0), _LAST_NS))
    return Row(shown(entry.path), letter, f"{entry.mode:04o}", entry.size_bytes, time, shown(entry.link))


def _columns(row: Row) -> tuple[str, ...]:
    ends = {"l": f" -> {row.target}", "h": f" -> {row.target}", "x": f"  (left out: {row.target})"}
    return row.kind + row.mode, str(row.size_bytes), row.time[:19], row.path + ends.get(row.kind, "")
