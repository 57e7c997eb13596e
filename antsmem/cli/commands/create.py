"""`antsmem init`: a new agent, or an existing one adopted without changing a byte."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.manifest import shown
from antsmem.cli.context import Context
from antsmem.cli.hourly import refuse_overlap
from antsmem.cli.output import size, table
from antsmem.core.config import AgentConfig, RepositoryConfig, agent_path, read_agent, write_agent
from antsmem.core.disk import is_temp, locked, make_private_dir, read_file, require_room
from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.record import record, replace
from antsmem.identity.create import refuse_existing
from antsmem.identity.escrow import escrow_path, newest_escrow
from antsmem.identity.files import IdentityFiles, Placing
from antsmem.workspace.classes import Classifier
from antsmem.workspace.create import TEMPLATES, create_files, is_template
from antsmem.workspace.layout import HOME, Layout
from antsmem.workspace.settings import AgentSettings, name_from, read_settings, write_settings

if TYPE_CHECKING:
    from antsmem.identity.log import IdentityLog
    from antsmem.workspace.runtimes import Recognised
    from antsmem.workspace.survey import Survey

_LIMIT = 1 << 20


@record
class InitReport:
    """A new agent on this host."""

    workspace: str
    agent: str
    did: str
    created: tuple[str, ...]
    repository: str
    escrow: str
    recovery_kit: str


def init(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="The workspace.")] = Path(),
    name: Annotated[str, typer.Option(help="The agent's name. Default: the directory's.")] = "",
    template: Annotated[
        str, typer.Option(help="The files to begin with: default, openclaw or minimal.")
    ] = "default",
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take an existing agent as it is; change none of its files.")
    ] = False,
    recovery_out: Annotated[
        Path | None, typer.Option(help="Write the recovery kit to this file instead of showing it once.")
    ] = None,
    repository: Annotated[
        str, typer.Option(help="Where backups go. Default: a directory outside the workspace.")
    ] = "",
) -> None:
    """Make a new agent: files, identity, recovery kit, repository."""
    ctx: Context = context.obj
    layout = Layout(Path(os.path.abspath(directory)))
    with locked(ctx.state_dir / "init.lock", "another `antsmem init` is running"):
        report = _finished(ctx, layout, repository)
        if report is None:
            settings = AgentSettings(name=name_from(name or layout.root.name), time_zone=_time_zone())
            _refuse(ctx, layout, template, adopt)
            _refuse_kit(ctx, layout, recovery_out)
            _refuse_repository(ctx, layout, repository)
            if adopt:
                _describe(ctx, layout)
            made = () if adopt else _files(layout, template, settings)
            report = _made(ctx, layout, settings, recovery_out)
            url = _repository(ctx, layout, repository)  # the agent is whole: the next `init` goes on here
            report = replace(report, created=(*made, *report.created), repository=url)
    ctx.output.result("init", report, lambda: _text(report))


def _finished(ctx: Context, layout: Layout, repository: str) -> InitReport | None:
    """Give the agent at `layout` the repository that an `init` which was cut off did not come to; None where there
    is no agent yet. `WouldOverwriteError` if it has all."""
    if not os.path.lexists(layout.identity_log):
        return None
    root = layout.root
    here = Context(replace(ctx.options, workspace=str(root)), ctx.environment)
    try:
        lacks = layout.settings.exists() and here.agent.workspace == str(root) and not here.agent.repositories
    except AntsmemError:
        lacks = False
    if not lacks:
        raise WouldOverwriteError(f"`{root}` is an agent's workspace already", hint=f"antsmem -C {root} status")
    url = _repository(ctx, layout, repository)
    ctx.output.note("went on with an `antsmem init` that was cut off; the recovery kit is the one it gave")
    escrow = newest_escrow(Path(here.agent.escrow))
    return InitReport(str(root), here.keystore.agent, here.log.did, (), url, str(escrow or ""), "given before")


def _refuse(ctx: Context, layout: Layout, template: str, adopt: bool) -> None:
    root = layout.root
    if template not in TEMPLATES:
        raise UsageError(f"no template `{template}`", hint=f"there are {', '.join(TEMPLATES)}")
    if adopt and not root.is_dir():
        raise UsageError(f"`{root}` is no directory: nothing to adopt")
    if not adopt and root.exists() and not root.is_dir():
        raise UsageError(f"`{root}` is not a directory")
    if not adopt and root.is_dir() and not all(_is_ours(entry) for entry in root.iterdir()):
        raise WouldOverwriteError(f"`{root}` is not empty", hint=f"antsmem init {root} --adopt takes it as it is")
    if not _begun(ctx, layout):
        refuse_existing(_places(ctx, layout, "none"))


def _is_ours(entry: Path) -> bool:
    """Whether an `init` that was cut off may have made this: it is taken as it is."""
    if entry.name == HOME or is_temp(entry.name):
        return True
    return entry.suffix == ".md" and entry.is_file() and is_template(entry.name, read_file(entry))


def _refuse_kit(ctx: Context, layout: Layout, out: Path | None) -> None:
    """See that the kit can be handed over, before there is anything that it opens."""
    if out is None:
        if ctx.options.json:
            raise UsageError("with --json the recovery kit is not shown", hint="name a file with --recovery-out")
        return
    other = "name another --recovery-out"
    if out.resolve().is_relative_to(layout.root.resolve()):
        raise UsageError("the recovery kit must not lie in what it recovers", hint=other)
    if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"`{out}` cannot be written", hint=other)
    begun = _begun(ctx, layout)
    if begun and _is_kit_of(out, begun.scid):
        return  # of the run that was cut off
    try:
        require_room(out)
    except AntsmemError as error:
        raise type(error)(str(error), hint=other) from None


def _is_kit_of(path: Path, scid: str) -> bool:
    from antsmem.identity.recovery import RecoveryKit

    try:
        return RecoveryKit.parse(read_file(path, _LIMIT).decode(errors="replace")).scid == scid
    except AntsmemError:
        return False


def _refuse_repository(ctx: Context, layout: Layout, wanted: str) -> None:
    """See that a repository can be made where it is wanted, before an identity is."""
    if not wanted:
        return
    config = RepositoryConfig("default", _url(wanted))
    refuse_overlap(layout.root, [config])
    store = ctx.store(config)
    if store.stat("repository.json") is not None:
        raise WouldOverwriteError(f"`{store.url}` already holds a repository: left as it is")


def _files(layout: Layout, template: str, settings: AgentSettings) -> tuple[str, ...]:
    make_private_dir(layout.root)
    _sweep(layout.root)
    words = {"name": settings.name, "time_zone": settings.time_zone}
    return create_files(layout.root, template, words).created


def _url(wanted: str) -> str:
    return wanted if "://" in wanted else os.path.abspath(wanted)


def _places(ctx: Context, layout: Layout, key_name: str) -> IdentityFiles:
    return IdentityFiles(
        log=layout.identity_log,
        keystore=layout.keystore / "keystore.age",
        epochs=layout.keystore / "epochs",
        host_key=ctx.config_dir / "keys" / f"{key_name}.key",
        backed_up=(layout.root,),
    )


def _made(ctx: Context, layout: Layout, settings: AgentSettings, out: Path | None) -> InitReport:
    """Make the identity. Its log is named last: before that there is no agent, and the next `init` begins anew."""
    from antsmem.identity.create import CreatedIdentity, create_identity

    _clear(ctx, layout, out)
    _sweep(layout.home)
    _sweep(layout.identity_log.parent)
    if out is not None:
        _sweep(out.absolute().parent, f"-{out.name}")
    files = _places(ctx, layout, f"{settings.name}-{os.urandom(4).hex()}")

    def hand_over(made: CreatedIdentity, placing: Placing) -> None:
        scid = made.log.scid
        escrow = escrow_path(ctx.data_dir / scid / "escrow", ctx.now_ns)
        agent = agent_path(ctx.config_dir, scid)
        config = AgentConfig(str(layout.root), str(files.host_key), str(escrow.parent))
        placing.track(agent, lambda: write_agent(agent, config))  # says whose the rest is, if we are cut off
        if out is not None:
            placing.new(out, made.kit.text().encode())
        else:
            _show(made.kit.text(), settings.name)
        placing.new(escrow, made.escrow)
        described = replace(settings, did=made.log.did)
        if not layout.settings.exists():
            placing.track(layout.settings, lambda: write_settings(layout, described))
        reported.append(str(escrow))

    reported: list[str] = []
    if layout.settings.exists():
        read_settings(layout)
    try:
        created = create_identity(settings.name, name_from(ctx.host), files, ctx.now_ns, hand_over)
    except BaseException:
        if out is None:
            ctx.output.warn("no agent was made: a recovery kit shown by this run opens nothing")
        raise
    where = "shown" if out is None else str(out)
    return InitReport(str(layout.root), settings.name, created.log.did, (f"{HOME}/",), "", reported[0], where)


def _begun(ctx: Context, layout: Layout) -> IdentityLog | None:
    """The log of an identity that an `init` of this directory which was cut off was about to make."""
    from antsmem.identity.log import MAX_LOG_BYTES, parse_log

    try:
        log = parse_log(read_file(_places(ctx, layout, "none").begun, MAX_LOG_BYTES))
        agent = read_agent(agent_path(ctx.config_dir, log.scid))
    except (NotFoundError, IntegrityError):
        return None
    return log if agent.workspace == str(layout.root) and not agent.repositories else None


def _clear(ctx: Context, layout: Layout, out: Path | None) -> None:
    """Take away what an `init` that was cut off left: nothing was ever sealed for an identity without a log. The
    statement that it was begun goes last, with the next one."""
    begun = _begun(ctx, layout)
    if begun is None:
        return
    agent_file = agent_path(ctx.config_dir, begun.scid)
    if out is not None and _is_kit_of(out, begun.scid):
        out.unlink()
    if layout.settings.exists() and read_settings(layout).did == begun.did:
        layout.settings.unlink()
    shutil.rmtree(layout.keystore, ignore_errors=True)
    shutil.rmtree(ctx.data_dir / begun.scid, ignore_errors=True)
    if host_key := read_agent(agent_file).host_key:
        Path(host_key).unlink(missing_ok=True)
    agent_file.unlink()
    ctx.output.note("began anew: an `antsmem init` was cut off here; a recovery kit that it showed opens nothing")


def _sweep(folder: Path, ending: str = "") -> None:
    """Take away what a killed run had half written."""
    for name in os.listdir(folder) if folder.is_dir() else ():
        if is_temp(name) and name.endswith(ending):
            (folder / name).unlink(missing_ok=True)


def _repository(ctx: Context, layout: Layout, wanted: str) -> str:
    from antsmem.cli.commands.repository import ensure

    ctx = Context(replace(ctx.options, workspace=str(layout.root)), ctx.environment)
    config = RepositoryConfig("default", _url(wanted or str(ctx.data_dir / ctx.log.scid / "repository")))
    refuse_overlap(ctx.layout.root, [config])
    ensure(ctx, config)
    write_agent(ctx.agent_file, replace(ctx.agent, repositories=(config,)))
    return config.url


def _show(kit: str, name: str) -> None:
    sys.stdout.write(
        f"--- recovery kit of {name}: print it or store it off this machine; it is shown once ---\n{kit}"
        "--- end of recovery kit ---\n"
    )
    sys.stdout.flush()


def _describe(ctx: Context, layout: Layout) -> None:
    """Say what was recognised and how each path is classed."""
    from antsmem.workspace.runtimes import recognise
    from antsmem.workspace.survey import survey

    recognition = recognise(layout.root)
    found = survey(layout.root, Classifier())
    if not ctx.options.json:
        ctx.output.note(adoption_text(recognition.found, found, verbose=ctx.options.verbose))


def adoption_text(recognised: Sequence[Recognised], found: Survey, *, verbose: bool) -> str:
    """What a person is told about a tree before it is adopted."""
    lines = []
    for item in recognised:
        lines.append(
            f"recognised {item.runtime} in {item.place or '.'} ({item.confidence}): {', '.join(item.evidence[:4])}"
        )
        lines += [f"  {note}" for note in item.notes]
    if not recognised:
        lines.append("no known runtime recognised; every file is taken as it is")
    rows = [
        (str(path_class), f"{total.files} files", size(total.size_bytes), _FATE[str(path_class)])
        for path_class, total in found.totals.items()
    ]
    lines.append(table(rows))
    shown_paths = found.left_out if verbose else found.left_out[:20]
    lines += [
        f"  {item.verdict.path_class:13} {shown(item.path)}  ({item.verdict.reason})" for item in shown_paths
    ]
    hidden = len(found.left_out) - len(shown_paths) + found.unlisted
    if hidden:
        lines.append(f"  … {hidden} more (-v lists them)")
    for remark in (*found.special, *found.odd_names[:10], *found.unreadable):
        lines.append(f"  note: `{shown(remark.path)}` {remark.what}")
    return "\n".join(lines)


_FATE = {
    "portable": "backed up",
    "machine-bound": "recorded, not backed up",
    "secret": "never in a backup: move it to the keystore",
    "derived": "skipped: can be made again",
}


def _time_zone() -> str:
    """The machine's time zone by name; UTC where it has none."""
    try:
        target = os.readlink("/etc/localtime")
    except OSError:
        return "UTC"
    return target.partition("zoneinfo/")[2] or "UTC"


def _text(report: InitReport) -> str:
    kit = (
        ""
        if report.recovery_kit in {"shown", "given before"}
        else f"\nrecovery kit: {report.recovery_kit} (move it off this machine)"
    )
    return (
        f"{report.agent} is ready in {report.workspace}\n"
        f"did: {report.did}\nbackups go to {report.repository}; the sealed keys' escrow is {report.escrow}{kit}\n"
        "next: antsmem backup, hourly; antsmem backup --tier cold, weekly"
    )
