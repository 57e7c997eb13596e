"""`antsmem scan`: look for secrets in the workspace, in other files, or in git."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.manifest import shown
from antsmem.cli.context import Context
from antsmem.cli.output import size
from antsmem.cli.providers import plain_environment
from antsmem.core.errors import CannotUnlockError, LeakError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.identity.gitscan import Git, commit_of, open_git, scan_history, scan_staged
from antsmem.identity.keystore import secret_values
from antsmem.identity.scan import Place, Scanned, Skip, scan_file, scan_tree
from antsmem.identity.scanner import KEY_BYTES, Finding, Scanner
from antsmem.identity.waivers import NONE, Waivers
from antsmem.workspace.classes import Classifier

_GIT = ("DIR", "INDEX_FILE", "WORK_TREE", "PREFIX", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES")


@record
class Found:
    """A secret, and where: `commit` is the first that has it. `waived`: it may stay."""

    path: str
    line: int
    rule: str
    form: str
    shown: str
    commit: str
    waived: bool


@record
class ScanReport:
    """What `scan` shows. `known`: how the agent's own secrets were looked for: open, locked or not."""

    found: tuple[Found, ...]
    unlisted: int
    files: int
    size_bytes: int
    left_out: int
    unread: dict[str, str]
    known: str


def scan(
    context: typer.Context,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files and directories. Default: the workspace.")
    ] = None,
    staged: Annotated[bool, typer.Option("--staged", help="What git is about to commit.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Every file that git ever committed.")] = False,
    remember: Annotated[
        bool, typer.Option("--remember", help="Keep keyed hashes, so that later scans need no key.")
    ] = False,
) -> None:
    """Look for secrets in files or in git; exit 21 if there is one."""
    ctx: Context = context.obj
    if staged and history:
        raise UsageError("--staged and --history are two scans")
    here = _workspace(ctx)
    scanner, known, standing = _scanner(ctx, here, remember)
    scanned, git, base = Scanned(), None, here or Path.cwd()
    if staged or history:
        git = _git(ctx, here, paths or [])
        base = git.root
        (scan_staged if staged else scan_history)(scanner, git, scanned)
    elif paths:
        base = Path.cwd()
        for path in paths:
            _scan_path(ctx, scanner, here, path, scanned)
    elif here is None:
        raise NotFoundError("there is no workspace here", hint="antsmem scan PATH")
    else:
        scan_tree(scanner, os.fsencode(here), b"", _rules(ctx, b""), scanned)
    waivers = standing() if scanned.places else NONE
    commits: dict[str, str] = {"": ""}
    found = []
    for place in scanned.places:
        waived = waivers.allows(_inside(here, base, place.path), _finding(place))
        if git and history and place.object_id not in commits:
            commits[place.object_id] = commit_of(git, place.object_id)
        commit = commits.get(place.object_id, "")
        found.append(Found(shown(place.path), place.line, place.rule, place.form, place.shown, commit, waived))
    _report(ctx, scanned, tuple(found), known)


def _workspace(ctx: Context) -> Path | None:
    try:
        return ctx.layout.root.resolve()
    except NotFoundError:
        return None


def _scanner(ctx: Context, here: Path | None, remember: bool) -> tuple[Scanner, str, Callable[[], Waivers]]:
    """The scanner, how it knows the agent's secrets, and what gives the waivers."""
    from antsmem.identity.fingerprints import fingerprints_of, read_fingerprints, write_fingerprints

    if here is None or not os.path.lexists(ctx.layout.identity_log):
        ctx.output.note("no agent here: looking only for what anybody's secrets look like")
        return Scanner(fingerprint_key=os.urandom(KEY_BYTES)), "not", lambda: NONE
    kept = ctx.agent_state / "fingerprints.json"
    try:
        scanner = ctx.scanner()
    except (CannotUnlockError, NotFoundError):  # also where the keystore is not: in a clone of the files
        if remember:
            raise
        try:
            prints = read_fingerprints(kept, ctx.now_ns)
        except NotFoundError:
            ctx.output.warn("the keystore is locked: looking only for what anybody's secrets look like")
            ctx.output.note("`antsmem scan --remember`, where it can be opened, makes later scans find them")
            return Scanner(fingerprint_key=os.urandom(KEY_BYTES)), "not", lambda: NONE
        _not_searched(ctx, prints.left_out)
        return Scanner(fingerprint_key=prints.key, prints=prints), "locked", lambda: prints.waivers
    if remember:
        made = fingerprints_of(secret_values(ctx.keystore), ctx.keystore.fingerprint_key, ctx.waivers())
        write_fingerprints(kept, made)
        _not_searched(ctx, made.left_out)
    return scanner, "open", ctx.waivers


def _not_searched(ctx: Context, names: tuple[str, ...]) -> None:
    for name in names:
        ctx.output.warn(
            f"secret `{name}` might be guessed from a hash: not looked for where the keystore is locked"
        )


def _git(ctx: Context, here: Path | None, paths: list[str]) -> Git:
    """The repository that is meant: by name, or of the workspace that `-C` names, or the one we stand in."""
    if len(paths) > 1:
        raise UsageError("name one repository at most")
    if not paths and here is not None and ctx.options.workspace is not None:
        paths = [str(here)]
    passed = tuple(f"GIT_{name}" for name in _GIT)
    return open_git(Path(paths[0] if paths else "."), plain_environment(ctx.environment, passed))


def _scan_path(ctx: Context, scanner: Scanner, here: Path | None, path: str, scanned: Scanned) -> None:
    place = Path(path)
    if not os.path.lexists(place):
        raise NotFoundError(f"`{path}` is not there")
    if not place.is_dir():
        scan_file(scanner, os.fsencode(path), os.fsencode(path), scanned)
        return
    real = place.resolve()
    skip: Skip = lambda name, _relative, is_directory: is_directory and name == b".git"  # noqa: E731
    if here is not None and real.is_relative_to(here):
        skip = _rules(ctx, os.fsencode(real.relative_to(here)))
    scan_tree(scanner, os.fsencode(path), os.fsencode(path), skip, scanned)


def _rules(ctx: Context, below: bytes) -> Skip:
    """A backup's own rules: what it leaves out may hold secrets."""
    classifier = Classifier(ctx.settings.classes)

    def skip(name: bytes, relative: bytes, is_directory: bool) -> bool:
        path = os.path.normpath(os.path.join(below, relative))
        judge = classifier.classify_dir if is_directory else classifier.classify_file
        return judge(name, path) is not None

    return skip


def _inside(here: Path | None, base: Path, path: bytes) -> bytes:
    """`path`, told from `base`, as from the top of the workspace; outside of it one that no waiver names."""
    full = Path(os.path.normpath(os.path.join(base.resolve(), os.fsdecode(path))))
    return os.fsencode(full.relative_to(here)) if here is not None and full.is_relative_to(here) else b""


def _finding(place: Place) -> Finding:
    return Finding(place.rule, 0, 0, place.fingerprint, place.form)


def _report(ctx: Context, scanned: Scanned, found: tuple[Found, ...], known: str) -> None:
    unread = {shown(path): why for path, why in scanned.unread}
    report = ScanReport(
        found, scanned.unlisted, scanned.files, scanned.size_bytes, scanned.left_out, unread, known
    )
    for path, why in unread.items():
        ctx.output.warn(f"`{path}` could not be read: {why}")
    ctx.output.result("scan", report, lambda: "" if ctx.options.quiet and not found else _text(report))
    count = sum(not each.waived for each in found) + scanned.unlisted
    if count:
        raise LeakError(
            f"{count} found that may be {'a secret' if count == 1 else 'secrets'}",
            hint='move it out; `antsmem waive PATH:LINE --reason "..."` for what may stay in the workspace',
        )
    if unread:
        raise typer.Exit(3)


def _text(report: ScanReport) -> str:
    lines = []
    for each in report.found:
        form = f" ({each.form})" if each.form != "raw" else ""
        commit = f" in {each.commit}" if each.commit else ""
        waived = ", waived" if each.waived else ""
        lines.append(f"{each.path}:{each.line} {each.rule}{form} {each.shown}{commit}{waived}")
    lines += [f"… and {report.unlisted} more"] if report.unlisted else []
    left_out = f"; {report.left_out} paths left out, as in a backup" if report.left_out else ""
    return "\n".join([*lines, f"{report.files} files, {size(report.size_bytes)} looked through{left_out}"])
