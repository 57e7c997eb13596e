"""What commands do after a change of the ledger: publish it, renew the secrets' escrow, remember who has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antsmem.cli.context import Context
from antsmem.core import canonical
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, RollbackError
from antsmem.core.record import replace

if TYPE_CHECKING:
    from antsmem.identity.anchor import Anchor, Published
    from antsmem.identity.custody import Custody

_LIMIT = 1 << 20


def publish_to(ctx: Context, custody: Custody, anchors: Sequence[Anchor]) -> Published:
    """Give the ledger in `custody` to `anchors`, and remember who took it. Raises `RollbackError` where one has a
    newer or another ledger."""
    from antsmem.identity.anchor import Published, publish
    from antsmem.identity.custody import open_custody, publication_of

    data = publication_of(custody)
    if data is None:
        return Published(())
    try:
        published = publish(data, anchors)
    except RollbackError:
        newer = open_custody(ctx.access)  # another process of this host may have gone on and published meanwhile
        if newer.ledger.seq <= custody.ledger.seq:
            raise
        return publish_to(ctx, newer, anchors)
    held = dict.fromkeys(published.took, custody.ledger.hash)
    make_private_dir(ctx.agent_state)
    write_file(_file(ctx), [canonical.dumps({**_remembered(ctx), **held})], durable=False)
    return published


def is_pending(ctx: Context, name: str) -> bool:
    """Whether the anchor `name` does not have this host's ledger, as far as this host remembers: asks nobody."""
    return ctx.custody is not None and _remembered(ctx).get(name) != ctx.custody.ledger.hash


def warn_of(ctx: Context, failed: Mapping[str, str]) -> None:
    """Warn of anchors that did not answer or did not take the ledger: name → why."""
    for name, why in failed.items():
        named = f"`{name}`" in why
        ctx.output.warn(why if named else f"anchor `{name}`: {why}")


def renew_escrow(ctx: Context, custody: Custody) -> Path | None:
    """Write the secrets' escrow anew, where the operator keeps escrows. A failure is told, and None: the change
    itself is made, and the next one writes it again."""
    from antsmem.identity.custody import open_custody
    from antsmem.identity.escrow import keep_escrow
    from antsmem.identity.secrets_escrow import FILE, seal_secrets

    if custody.pending:
        ctx.output.warn(f"the change is made, but the ledger waits for the next command: {custody.pending}")
    try:
        while True:
            kept = keep_escrow(escrow_folder(ctx), seal_secrets(custody), ctx.now_ns, FILE)
            newer = open_custody(ctx.access)
            if newer.keystore.sequence == custody.keystore.sequence:
                return kept
            custody = newer  # another process changed it meanwhile, and its escrow may be the older file
    except AntsmemError as error:
        ctx.output.warn(f"the secrets' escrow is not renewed: {error}")
        return None


def reseal_ledger(ctx: Context) -> bool:
    """Seal the ledger and the secrets' escrow to the recovery kit that counts now, close the ledger behind former
    keys, and give it to every anchor; whether all have it. Former escrows go: the former kit opens them."""
    if ctx.custody is None:
        return True
    anchors = ctx.anchors()
    custody = _closed(ctx, ctx.custody, anchors)
    new = _only_escrow(ctx, custody)
    failed = publish_to(ctx, custody, anchors).failed
    warn_of(ctx, {name: str(error) for name, error in failed.items()})
    return new is not None and not failed


def lend_ledger(ctx: Context, recipient: str) -> None:
    """Give every anchor the ledger as `recipient`, a recovery kit that does not count yet, opens it too: with one
    row more, so that the identity is to be read anew. Who does not take it is told by `reseal_ledger`."""
    if ctx.custody is None:
        return
    anchors = ctx.anchors()
    custody = _closed(ctx, ctx.custody, anchors)
    both = (*custody.keystore.recovery_recipients, recipient)
    publish_to(ctx, replace(custody, keystore=replace(custody.keystore, recovery_recipients=both)), anchors)


def _closed(ctx: Context, custody: Custody, anchors: Sequence[Anchor]) -> Custody:
    """The custody with one more row, so that every anchor takes it as it is sealed now."""
    from antsmem.identity.anchor import ask
    from antsmem.identity.custody import close_custody, reseal_custody

    ahead = any(_is_ahead(data, custody.ledger.seq) for data in ask(anchors).answers.values())
    # A row behind an older ledger would be a second history; to publish this one is refused then, and says why.
    return reseal_custody(ctx.access) if ahead else close_custody(ctx.access, ctx.now_ns)


def closed_ledger(ctx: Context, custody: Custody) -> Custody:
    """`custody`, or what it is after this did of `reseal_ledger` what a rotation that was cut off did not come to.
    The anchors are told by the caller."""
    from antsmem.identity.custody import close_custody, is_unclosed

    if not is_unclosed(custody, ctx.log):
        return custody
    custody = close_custody(ctx.access, ctx.now_ns)
    _only_escrow(ctx, custody)
    ctx.forget_identity()
    return custody


def _is_ahead(data: bytes | None, seq: int) -> bool:
    from antsmem.identity.anchor import publication_from_bytes

    try:
        return data is not None and publication_from_bytes(data).head.seq > seq
    except IntegrityError:  # told when it is published to
        return False


def _only_escrow(ctx: Context, custody: Custody) -> Path | None:
    """Renew the secrets' escrow and remove those before it."""
    from antsmem.identity.secrets_escrow import FILE

    new = renew_escrow(ctx, custody)
    for former in new.parent.glob(f"*Z-{FILE}") if new else ():
        if former != new:
            former.unlink(missing_ok=True)
    return new


def escrow_folder(ctx: Context) -> Path:
    """Where escrows are kept."""
    return Path(ctx.agent.escrow or ctx.data_dir / ctx.log.scid / "escrow")


def _file(ctx: Context) -> Path:
    return ctx.agent_state / "ledger-published.json"


def _remembered(ctx: Context) -> dict[str, str]:
    try:
        found = canonical.loads(read_file(_file(ctx), _LIMIT), _LIMIT)
    except (NotFoundError, IntegrityError):
        return {}
    return found if isinstance(found, dict) else {}
