"""The restore gate as `antsmem recover` uses it: ask every anchor, open the escrow, decide about each secret."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antsmem.backup.ledger_anchor import RepositoryAnchor
from antsmem.backup.repository import Repository
from antsmem.cli.context import Context
from antsmem.core.config import ANCHOR_PREFIX, RepositoryConfig, agent_path, local_folder, read_agent
from antsmem.core.disk import read_file
from antsmem.core.errors import naming
from antsmem.core.record import record
from antsmem.identity.anchor import PinFile, ask
from antsmem.identity.gate import Gated, gate, newest_ledger
from antsmem.identity.handle import relays_of
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.secrets_escrow import FILE, SecretsEscrow, open_secrets

if TYPE_CHECKING:
    from antsmem.identity.anchor import Anchor
    from antsmem.identity.recovery import RecoveryKit

_ESCROW_LIMIT = 24 << 20


@record
class GateOptions:
    """What a person says about secrets at a recovery: where their escrow is, where else to ask for the ledger, and
    whether to go on where nobody can tell how new it is."""

    secrets: Path | None = None
    anchors: Sequence[str] = ()
    accept_stale: bool = False


def pass_gate(
    ctx: Context,
    opened: Repository,
    config: RepositoryConfig,
    trusted: tuple[RecoveryKit, bytes],
    given: GateOptions,
) -> Gated:
    """What may come back, as far as the kit and the newest identity log (`trusted`) open and verify it. Nothing is
    written, and nothing is believed that is forged (`IntegrityError`), rolled back or forked (`RollbackError`)."""
    identity, log = trusted[0].identity, parse_log(trusted[1])
    escrow = _escrow(ctx, log, given.secrets)
    opened_escrow: SecretsEscrow | None = None
    if escrow is not None:
        with naming(f"the secrets' escrow `{escrow}`"):
            opened_escrow = open_secrets(read_file(escrow, _ESCROW_LIMIT), [identity], log)
    pin = PinFile(ctx.state_dir / log.scid / "ledger-pin.json", "this machine's pin")
    backup = (config.name, pin.name)
    own = RepositoryAnchor(config.name, lambda: opened.store)
    told = ask([own, pin, *given_anchors(ctx, config, given.anchors), *_relays(ctx, log)])
    held = {"the secrets' escrow": opened_escrow.ledger} if opened_escrow else {}
    newest = newest_ledger(told, [identity], log, held)
    return gate(newest, opened_escrow, backup, ctx.now_ns, accept_stale=given.accept_stale)


def given_anchors(ctx: Context, config: RepositoryConfig, urls: Sequence[str]) -> list[Anchor]:
    """The anchors that a person named, but for the repository itself: that is no second opinion."""
    return [
        ctx.anchor(f"anchor-{number}", url)
        for number, url in enumerate(urls, 1)
        if url.startswith(ANCHOR_PREFIX) or _place(ctx.named([url])[0].url) != _place(config.url)
    ]


def _relays(ctx: Context, log: IdentityLog) -> list[Anchor]:
    """The relays that the identity log names: they tell everybody."""
    found: list[Anchor] = []
    for url in relays_of(log.document):
        from antsmem.cli.relays import public_relay
        from antsmem.drivers.relay import RelayLedger

        found.append(RelayLedger(public_relay(ctx, url), url, log.scid))
    return found


def _place(url: str) -> str:
    """One spelling of a repository's URL, whichever of a directory's was given."""
    return local_folder(url) or os.path.normpath(url)


def _escrow(ctx: Context, log: IdentityLog, given: Path | None) -> Path | None:
    """The secrets' escrow to take: the one given, else the newest where this machine's operator keeps them."""
    if given is not None:
        return given
    from antsmem.identity.escrow import newest_escrow

    configured = read_agent(agent_path(ctx.config_dir, log.scid)).escrow
    return newest_escrow(Path(configured) if configured else ctx.data_dir / log.scid / "escrow", FILE)
