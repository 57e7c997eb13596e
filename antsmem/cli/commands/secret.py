"""`antsmem secret`: the agent's secrets, in the keystore, under the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antsmem.cli.commands.resolve import resolve
from antsmem.cli.context import Context
from antsmem.cli.get import get_secret
from antsmem.cli.group import group
from antsmem.cli.ledger import closed_ledger, publish_to, renew_escrow, warn_of
from antsmem.cli.output import table
from antsmem.cli.values import parse_pairs, read_value
from antsmem.core.errors import AntsmemError, BackendError, RollbackError, UsageError
from antsmem.core.record import field, record
from antsmem.identity.custody import Custody, open_custody
from antsmem.identity.secret import CLASSES, Secret
from antsmem.identity.secret_revoke import destroy_secret, revoke_secret
from antsmem.identity.secret_rotate import activate_secret, rotate_secret
from antsmem.identity.secret_set import ChangedSecrets, NewSecret, set_secrets
from antsmem.identity.secret_verify import compare_ledger, vouch_for

app = group("Keep the agent's secrets, and give them to programs that ask.")

Name = Annotated[str, typer.Argument(help="Its name.")]
Descriptor = typer.Option(help="Read the value from this open file descriptor.", min=0, max=2**31 - 1)
Fd = Annotated[int | None, Descriptor]
Reason = Annotated[str, typer.Option(help="Why: recorded and signed in the ledger.")]
Version = Annotated[int | None, typer.Option(help="Only this version. Default: every one.", min=1)]
Offline = Annotated[bool, typer.Option("--offline", help="Do not ask for an anchor that takes the new head.")]


@record
class Shown:
    """One version of a secret, without its value."""

    name: str
    version: int
    state: str
    kind: str
    changed: str


@record
class Report:
    """What was changed. `anchors` have the ledger's new head; for the others it waits until the next backup."""

    secrets: tuple[Shown, ...]
    anchors: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    kind: Annotated[str, typer.Option("--class", help=f"How it lives: {', '.join(CLASSES)}.")] = "static",
    fd: Fd = None,
    reason: Reason = "",
) -> None:
    """Put a new secret into the keystore; the value comes from standard input, a descriptor or a prompt."""
    ctx: Context = context.obj
    access = ctx.access  # before anybody is asked for a value
    new = NewSecret(name, read_value(ctx, name, fd), kind)
    _done(ctx, set_secrets(access, [new], ctx.now_ns, reason=reason))


@app.command()
def get(
    context: typer.Context,
    name: Name,
    show: Annotated[bool, typer.Option("--show", help="Print it even on a terminal.")] = False,
) -> None:
    """Print the active value of a secret to standard output, as it was put in."""
    get_secret(context.obj, name, show=show)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the secrets, never their values; with -v also the versions that have ended."""
    ctx: Context = context.obj
    found = sorted(_custody(ctx).keystore.secrets, key=lambda secret: (secret.name, secret.version))
    ended = {"superseded", "revoked", "destroyed"}
    living = {secret.name for secret in found if secret.state not in ended}
    rows = [
        _shown(secret)
        for secret in found
        if ctx.options.verbose or ctx.options.json or secret.state not in ended or secret.name not in living
    ]
    text = table([(row.name, f"v{row.version}", row.state, row.kind, row.changed[:10]) for row in rows])
    ctx.output.result("secret-list", {"secrets": rows}, text or "no secrets: antsmem secret set NAME")


@app.command()
def rotate(
    context: typer.Context,
    name: Name,
    pending: Annotated[
        bool, typer.Option("--pending", help="Keep the old value active until --activate.")
    ] = False,
    activate: Annotated[bool, typer.Option("--activate", help="Make the pending value the active one.")] = False,
    fd: Fd = None,
    reason: Reason = "",
) -> None:
    """Replace the value of a secret; the old one is superseded and never comes back."""
    ctx: Context = context.obj
    if activate and (pending or fd is not None):
        raise UsageError("--activate takes no new value: leave out --pending and --fd")
    if activate:
        changed = activate_secret(ctx.access, name, ctx.now_ns, reason=reason)
    else:
        access = ctx.access  # before anybody is asked for a value
        value = read_value(ctx, name, fd)
        changed = rotate_secret(access, name, value, ctx.now_ns, pending=pending, reason=reason)
    _done(ctx, changed)


@app.command()
def revoke(
    context: typer.Context, name: Name, version: Version = None, reason: Reason = "", offline: Offline = False
) -> None:
    """Say that a secret may never be used again: no backup, escrow or recovery brings it back."""
    ctx: Context = context.obj
    _ended(ctx, revoke_secret(ctx.access, name, ctx.now_ns, version=version, reason=reason), offline)


@app.command()
def destroy(
    context: typer.Context, name: Name, version: Version = None, reason: Reason = "", offline: Offline = False
) -> None:
    """Revoke a secret and erase its value from the keystore."""
    ctx: Context = context.obj
    _ended(ctx, destroy_secret(ctx.access, name, ctx.now_ns, version=version, reason=reason), offline)


@app.command()
def verify(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A quarantined secret to vouch for.")] = None,
    reason: Reason = "",
    offline: Offline = False,
) -> None:
    """Compare the ledger with every anchor and publish what is pending; vouch for a secret that is quarantined."""
    ctx: Context = context.obj
    anchors = [] if offline else ctx.anchors()
    compared = compare_ledger(ctx.access, anchors, ctx.now_ns)
    custody, vouched = closed_ledger(ctx, compared.custody), None
    if name is not None:
        vouched = vouch_for(ctx.access, name, ctx.now_ns, reason=reason)
        custody = vouched.custody
    if custody.ledger.rows:
        renew_escrow(ctx, custody)
    published = publish_to(ctx, custody, [each for each in anchors if each.name not in compared.silent])
    failed = {**compared.silent, **{key: str(error) for key, error in published.failed.items()}}
    warn_of(ctx, failed)
    waiting = [each for each in custody.keystore.secrets if each.state in {"quarantined", "withheld"}]
    lines = [f"{each.name} version {each.version} is {each.state}" for each in waiting]
    if vouched:
        lines.insert(0, f"{name} version {vouched.secrets[0].version} is active")
    more = f"; {compared.adopted} rows were taken over" if compared.adopted else ""
    lines.append(f"ledger: row {custody.ledger.seq}, held by {', '.join(published.took) or 'no anchor'}{more}")
    shown = tuple(_shown(each) for each in custody.keystore.secrets)
    ctx.output.result("secret", Report(shown, published.took, failed), "\n".join(lines))
    if failed:
        raise typer.Exit(3)


@app.command("import")
def import_(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="A .env or JSON file. Default: standard input.")] = None,
    kind: Annotated[str, typer.Option("--class", help=f"How they live: {', '.join(CLASSES)}.")] = "static",
    replacing: Annotated[bool, typer.Option("--replace", help="Supersede values that are there.")] = False,
    reason: Reason = "",
) -> None:
    """Put the secrets of a .env or JSON file into the keystore, all or none. The file is left as it is."""
    ctx: Context = context.obj
    wanted = [NewSecret(name, value, kind) for name, value in parse_pairs(path).items()]
    _done(ctx, set_secrets(ctx.access, wanted, ctx.now_ns, reason=reason, replacing=replacing))


app.command()(resolve)


def _custody(ctx: Context) -> Custody:
    return ctx.custody or Custody(ctx.keystore, open_custody(ctx.access, ctx.keystore).ledger)


def _shown(secret: Secret) -> Shown:
    return Shown(secret.name, secret.version, secret.state, secret.kind, secret.changed)


def _done(ctx: Context, changed: ChangedSecrets) -> None:
    """Renew the escrow and say what became of the secrets."""
    kept = renew_escrow(ctx, changed.custody)
    report = Report(tuple(map(_shown, changed.secrets)))
    _say(ctx, report)
    if kept is None or changed.custody.pending:
        raise typer.Exit(3)


def _ended(ctx: Context, changed: ChangedSecrets, offline: bool) -> None:
    """As `_done`, and see that somebody off this host knows it."""
    kept = renew_escrow(ctx, changed.custody)
    took: tuple[str, ...] = ()
    failed: dict[str, AntsmemError] = {}
    if not offline and changed.custody.ledger.rows:
        try:
            published = publish_to(ctx, changed.custody, ctx.anchors())
        except RollbackError as error:
            raise RollbackError(f"done on this host, but {error}", hint=error.hint) from None
        took, failed = published.took, dict(published.failed)
        warn_of(ctx, {name: str(why) for name, why in failed.items()})
        if not took:
            raise BackendError(
                "done on this host, but no anchor off this host took the new head of the ledger: a recovery could "
                "bring the secret back",
                hint="run the same command again when a repository can be reached, or with --offline",
            )
    report = Report(tuple(map(_shown, changed.secrets)), took, {key: str(why) for key, why in failed.items()})
    _say(ctx, report)
    if kept is None or failed:
        raise typer.Exit(3)


def _say(ctx: Context, report: Report) -> None:
    lines = [f"{each.name} version {each.version} is {each.state}" for each in report.secrets]
    if report.anchors:
        lines.append(f"published to {', '.join(report.anchors)}")
    ctx.output.result("secret", report, "" if ctx.options.quiet else "\n".join(lines))
