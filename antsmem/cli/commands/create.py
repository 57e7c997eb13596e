"""`antsmem init`: a new agent, or an existing one adopted without changing a byte."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antsmem.backup.manifest import shown
from antsmem.cli.context import Context
from antsmem.cli.hourly import refuse_overlap
from antsmem.cli.keys import host_keyring
from antsmem.cli.output import size, table
from antsmem.core.config import AgentConfig, RepositoryConfig, agent_path, write_agent
from antsmem.core.disk import make_private_dir, write_file
from antsmem.core.errors import UsageError, WouldOverwriteError
from antsmem.core.record import record, replace
from antsmem.workspace.classes import Classifier
from antsmem.workspace.create import create_files
from antsmem.workspace.layout import Layout
from antsmem.workspace.settings import AgentSettings, name_from, read_settings, write_settings

if TYPE_CHECKING:
    from antsmem.workspace.runtimes import Recognised
    from antsmem.workspace.survey import Survey


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
    template: Annotated[str, typer.Option(help="default, openclaw or minimal.")] = "default",
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
    layout = Layout(directory.absolute())
    _refuse(ctx, layout, adopt, recovery_out)
    if repository:
        _refuse_repository(ctx, layout, repository)
    settings = AgentSettings(name=name_from(name or layout.root.name), time_zone=_time_zone())
    if adopt:
        _describe(ctx, layout)
    make_private_dir(layout.root)
    words = {"name": settings.name, "time_zone": settings.time_zone}
    made = () if adopt else create_files(layout.root, template, words).created
    ctx = Context(replace(ctx.options, workspace=str(layout.root)), ctx.environment)
    kit, escrow, did = _identity(ctx, layout, settings)
    kit_place = _hand_over(ctx, kit, recovery_out, settings.name)  # before anything else can go wrong
    url = _repository(ctx, repository)
    report = InitReport(str(layout.root), settings.name, did, (*made, ".antsmem/"), url, escrow, kit_place)
    ctx.output.result("init", report, lambda: _text(report))


def _refuse(ctx: Context, layout: Layout, adopt: bool, recovery_out: Path | None) -> None:
    root = layout.root
    if layout.identity_log.exists():
        raise WouldOverwriteError(f"`{root}` is an agent's workspace already", hint=f"antsmem -C {root} status")
    if adopt and not root.is_dir():
        raise UsageError(f"`{root}` is no directory: nothing to adopt")
    if not adopt and root.exists() and not root.is_dir():
        raise UsageError(f"`{root}` is not a directory")
    if not adopt and root.is_dir() and any(entry.name != ".antsmem" for entry in root.iterdir()):
        raise WouldOverwriteError(f"`{root}` is not empty", hint=f"antsmem init {root} --adopt takes it as it is")
    if recovery_out is not None and os.path.lexists(recovery_out):
        raise WouldOverwriteError(f"`{recovery_out}` exists already", hint="name another --recovery-out")
    if recovery_out is not None and not os.access(recovery_out.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"`{recovery_out}` cannot be written", hint="name another --recovery-out")
    if recovery_out is not None and recovery_out.resolve().is_relative_to(root.resolve()):
        raise UsageError("the recovery kit must not lie in what it recovers", hint="name another --recovery-out")
    if ctx.options.json and recovery_out is None:
        raise UsageError("with --json the recovery kit is not shown", hint="name a file with --recovery-out")


def _refuse_repository(ctx: Context, layout: Layout, wanted: str) -> None:
    """See that a repository can be made where it is wanted, before an identity is."""
    config = RepositoryConfig("default", _url(wanted))
    refuse_overlap(layout.root, [config])
    store = ctx.store(config)
    if store.stat("repository.json") is not None:
        raise WouldOverwriteError(f"`{store.url}` already holds a repository: left as it is")


def _url(wanted: str) -> str:
    return wanted if "://" in wanted else os.path.abspath(wanted)


def _identity(ctx: Context, layout: Layout, settings: AgentSettings) -> tuple[str, str, str]:
    """Make the identity; (recovery kit, where the escrow is, DID)."""
    from antsmem.identity.create import create_identity
    from antsmem.identity.escrow import keep_escrow
    from antsmem.identity.files import IdentityFiles

    host_key = ctx.config_dir / "keys" / f"{settings.name}-{os.urandom(4).hex()}.key"
    files = IdentityFiles(
        log=layout.identity_log,
        keystore=layout.keystore / "keystore.age",
        epochs=layout.keystore / "epochs",
        host_key=host_key,
        backed_up=(layout.root,),
    )
    created = create_identity(settings.name, name_from(ctx.host), files, ctx.now_ns)
    escrow = keep_escrow(ctx.data_dir / created.log.scid / "escrow", created.escrow, ctx.now_ns)
    config = AgentConfig(str(layout.root), str(host_key), str(escrow.parent))
    write_agent(agent_path(ctx.config_dir, created.log.scid), config)
    if layout.settings.exists():
        read_settings(layout)
    else:
        write_settings(layout, replace(settings, did=created.log.did))
    return created.kit.text(), str(escrow), created.log.did


def _repository(ctx: Context, wanted: str) -> str:
    from antsmem.backup.repository import create_repository

    config = RepositoryConfig("default", _url(wanted or str(ctx.data_dir / ctx.log.scid / "repository")))
    refuse_overlap(ctx.layout.root, [config])
    create_repository(ctx.store(config), host_keyring(ctx, "hot", "cold"), ctx.now_ns)
    write_agent(ctx.agent_file, replace(ctx.agent, repositories=(config,)))
    return config.url


def _hand_over(ctx: Context, kit: str, out: Path | None, name: str) -> str:
    if out is None:
        sys.stdout.write(
            f"--- recovery kit of {name}: print it or store it off this machine; it is shown once ---\n{kit}"
            "--- end of recovery kit ---\n"
        )
        return "shown"
    write_file(out, [kit.encode()], new=True)
    return str(out)


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
        if report.recovery_kit == "shown"
        else f"\nrecovery kit: {report.recovery_kit} (move it off this machine)"
    )
    return (
        f"{report.agent} is ready in {report.workspace}\n"
        f"did: {report.did}\nbackups go to {report.repository}; the sealed keys' escrow is {report.escrow}{kit}\n"
        "next: antsmem backup, hourly; antsmem backup --tier cold, weekly"
    )
