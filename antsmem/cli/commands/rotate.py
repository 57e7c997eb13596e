"""`antsmem identity rotate`: new keys for this host and for the identity, by kit or guardians."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from antsmem.backup.publish import publish_keys
from antsmem.backup.repository import Repository, read_state
from antsmem.backup.tombstones import names_in
from antsmem.cli.commands.open import Guardians
from antsmem.cli.context import Context
from antsmem.cli.epochs import with_foreign_epochs, without_epochs
from antsmem.cli.keys import host_keyring, read_kit
from antsmem.cli.kits import kit_or_guardians, newest_guardians, require_own
from antsmem.cli.ledger import lend_ledger, reseal_ledger
from antsmem.core.config import RepositoryConfig
from antsmem.core.disk import read_file, write_file
from antsmem.core.errors import AntsmemError, UsageError, WouldOverwriteError
from antsmem.core.record import record, replace
from antsmem.identity.handle import relays_of

if TYPE_CHECKING:
    from antsmem.identity.recovery import RecoveryKit
    from antsmem.identity.rotate import RotatedIdentity

_LIMIT = 4 << 20
_SAME: Final = (lambda opened: opened,)


@record
class RotateReport:
    """An identity with new keys. `failed` maps a repository that does not know of it yet to why, `not_told` are
    relays that do not."""

    did: str
    identity_version: int
    host: str
    revoked: tuple[str, ...]
    recovery_kit: str
    escrow: str
    unreadable: tuple[str, ...]
    published: tuple[str, ...]
    not_told: tuple[str, ...]
    failed: dict[str, str]


def rotate(
    context: typer.Context,
    kit: Annotated[Path | None, typer.Option(help="The recovery kit. Default: standard input.")] = None,
    guardian: Guardians = None,
    retire: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="Revoke this host's key too: it was stolen; may be given several times."
        ),
    ] = None,
    new_kit: Annotated[
        Path | None, typer.Option(help="Write a new recovery kit to this file; the old one opens nothing new.")
    ] = None,
) -> None:
    """Give this host a new op key and the identity a new control key; the old ones count no more."""
    ctx: Context = context.obj
    with ctx.working():
        ctx.keystore  # noqa: B018 - a retired host stops here
        guardians = newest_guardians(ctx) if guardian or new_kit else {}
        own = kit_or_guardians(ctx, kit, guardian, guardians)
        require_own(ctx, own)
        seen = _seen(ctx)
        relays = _relays(ctx)
        made = _new_kit(ctx, own, new_kit, retire or ()) if new_kit is not None else None
        if made is not None:
            _lend_all(ctx, own, made)
            seen = _seen(ctx)
        done = _rotate(ctx, own, (made, new_kit), tuple(retire or ()), guardians)
        ctx.forget_identity()
        unreadable = set(done.unreadable)
        published, failed = publish_everywhere(ctx, seen, _lends(own, made, done, unreadable) if made else _SAME)
        not_told = _tell(ctx, relays)
        resealed = reseal_ledger(ctx)
    report = RotateReport(
        did=done.log.did,
        identity_version=done.log.version,
        host=done.keystore.host,
        revoked=done.revoked,
        recovery_kit=str(new_kit or ""),
        escrow=done.escrow,
        unreadable=tuple(sorted(unreadable)),
        published=published,
        not_told=not_told,
        failed={name: str(error) for name, error in failed.items()},
    )
    for name in sorted(unreadable):
        ctx.output.warn(f"`{name}` did not open with this kit: the new kit does not open it either")
    ctx.output.result("identity-rotate", report, lambda: _text(report))
    if failed and new_kit is not None:
        ctx.output.warn(
            "epochs of other hosts there are still sealed to the old kit: before you destroy it, run "
            f"`antsmem keys rewrap --kit {new_kit} --old-kit FILE`"
        )
    if failed or not_told or not resealed:
        raise typer.Exit(3)


def _relays(ctx: Context) -> tuple[str, ...]:
    """The agent's relays. `RollbackError` if one has a longer log: this would be a second history."""
    relays = tuple(relays_of(ctx.log.document))
    if relays:
        from antsmem.cli.relays import refuse_stale

        refuse_stale(ctx, relays)
    return relays


def _tell(ctx: Context, relays: Sequence[str]) -> tuple[str, ...]:
    """Push the new log to the agent's relays; those that did not take it."""
    if not relays:
        return ()
    from antsmem.cli.relays import tell_relays

    _, not_told, _ = tell_relays(ctx, relays)
    for place in not_told:
        ctx.output.warn(f"relay `{place}` was not told: antsmem relay register --relay {place} does it later")
    return tuple(not_told)


def _seen(ctx: Context) -> dict[str, str]:
    """Repository → version token of its anchor while the old key still counts. Whoever holds that key too must not
    write another one between now and the moment when the repositories know of the new key."""
    found: dict[str, str] = {}
    keys = host_keyring(ctx)
    for config in ctx.agent.repositories:
        try:
            opened = ctx.repository(config, keys)
            token = read_state(opened, ctx.pin(opened)).token
        except AntsmemError as error:
            if error.exit_code in {4, 30, 31}:
                raise
            continue  # not there now: told when it cannot be published to either
        if token is not None:
            found[config.name] = token
    return found


def _rotate(
    ctx: Context,
    kit: RecoveryKit,
    new: tuple[RecoveryKit | None, Path | None],
    revoke: tuple[str, ...],
    guardians: dict[str, bytes],
) -> RotatedIdentity:
    from antsmem.identity.rotate import Rotation, rotate_identity

    files = ctx.identity_files
    made, out = new
    destroyed = names_in(read_file(files.destroyed, _LIMIT)) if files.destroyed.exists() else frozenset[str]()
    wanted = Rotation(revoke, made, destroyed, guardians)
    try:
        return rotate_identity(kit, ctx.keystore, files, ctx.unlocked, ctx.now_ns, wanted)
    except BaseException:
        from antsmem.identity.change import is_unfinished

        if out is not None and not is_unfinished(files):
            out.unlink(missing_ok=True)  # it was not given any right yet
        raise


def _new_kit(ctx: Context, kit: RecoveryKit, out: Path, revoke: Sequence[str]) -> RecoveryKit:
    """A kit that is safe on the disk before anything is sealed to it, for a rotation that can be."""
    from antsmem.core.age import X25519Identity
    from antsmem.core.clock import utc_text
    from antsmem.identity.recovery import RecoveryKit
    from antsmem.identity.rotate import require_revocable

    if os.path.lexists(out):
        hint = "name another --new-kit; one that a cut-off run left is not in force: destroy it"
        if _is_in_force(ctx, out):
            hint = (
                "keep it: it is the kit in force, of a run that was cut off; antsmem backup does the rest of that"
            )
        raise WouldOverwriteError(f"`{out}` exists already", hint=hint)
    if out.resolve().is_relative_to(ctx.layout.root.resolve()):
        raise UsageError("the recovery kit must not lie in what it recovers", hint="name another --new-kit")
    kit.generation(ctx.log)
    require_revocable(ctx.log, ctx.keystore.host, revoke)
    made = RecoveryKit(X25519Identity.generate(), ctx.keystore.agent, ctx.log.scid, utc_text(ctx.now_ns))
    write_file(out, [made.text().encode()], new=True)
    return made


def _lend_all(ctx: Context, own: RecoveryKit, made: RecoveryKit) -> None:
    """Let the new kit open, beside the old one, what repositories and anchors hold, before any of them names it:
    if this machine is lost over the rest, the kit that the identity log there names opens all of it."""
    with suppress(AntsmemError):  # told when the ledger is sealed to the new kit alone
        lend_ledger(ctx, str(made.identity.recipient))
    ctx.forget_identity()
    both = (*ctx.keystore.recovery_recipients, str(made.identity.recipient))
    keystore, keys = replace(ctx.keystore, recovery_recipients=both), host_keyring(ctx)
    for config in ctx.agent.repositories:
        with suppress(AntsmemError):  # told when the log goes there
            opened = ctx.repository(config, keys)
            lent = with_foreign_epochs(without_epochs(opened), [own.identity], keystore, made.identity, set())
            ctx.keep_pin(opened, publish_keys(lent, ctx.pin(opened)))


def _lends(
    own: RecoveryKit, made: RecoveryKit, done: RotatedIdentity, unreadable: set[str]
) -> tuple[Callable[[Repository], Repository], ...]:
    """What repositories are lent for a new kit: first all but the epoch files there, so that the log that names it
    comes while both kits open them; then those, for the new one only."""

    def sealed_anew(opened: Repository) -> Repository:
        kits = [own.identity, made.identity]
        return with_foreign_epochs(opened, kits, done.keystore, made.identity, unreadable)

    return without_epochs, sealed_anew


def _is_in_force(ctx: Context, path: Path) -> bool:
    try:
        read_kit(path).generation(ctx.log)
    except AntsmemError:
        return False
    return True


def publish_everywhere(
    ctx: Context,
    seen: dict[str, str] | None = None,
    lends: Sequence[Callable[[Repository], Repository]] = _SAME,
) -> tuple[tuple[str, ...], dict[str, AntsmemError]]:
    """Carry log and key files into every configured repository, once as each of `lends` makes them; (those that
    have them, why the others failed)."""
    published: list[str] = []
    failed: dict[str, AntsmemError] = {}
    keys = host_keyring(ctx)
    for config in ctx.agent.repositories:
        try:
            opened: Repository = ctx.repository(config, keys)
            for lend in lends:
                token = (seen or {}).get(config.name)
                ctx.keep_pin(opened, publish_keys(lend(opened), ctx.pin(opened), token))
            published.append(config.name)
        except AntsmemError as error:
            failed[config.name] = error
            _say(ctx, config, error)
    return tuple(published), failed


def _say(ctx: Context, config: RepositoryConfig, error: AntsmemError) -> None:
    ctx.output.error(error)
    ctx.output.warn(f"`{config.name}` does not know of the change yet: the next `antsmem backup` tells it")


def _text(report: RotateReport) -> str:
    lines = [f"host `{report.host}` has a new key in version {report.identity_version} of {report.did}"]
    lines += [f"host `{name}` is revoked: what its key signs from now on is refused" for name in report.revoked]
    if report.recovery_kit:
        lines.append(f"new recovery kit: {report.recovery_kit} (move it off this machine)")
        lines.append(
            "the old kit opens nothing that is made from now on; what was made before, wherever a copy of it is, "
            "it still opens: destroy it"
        )
    lines.append(f"the sealed keys' escrow is {report.escrow}")
    lines.append(f"published to {', '.join(report.published) or 'no repository'}")
    return "\n".join(lines)
