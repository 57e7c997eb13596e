"""Which witness a command gets, and the gate before all work."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from antsmem.core.clock import now_ns
from antsmem.core.config import ANCHOR_PREFIX
from antsmem.core.record import replace
from antsmem.heartbeat.epoch import Post, Witness
from antsmem.heartbeat.witness import ASK_SECONDS, Gate, RelayWitness, StoreWitness

if TYPE_CHECKING:
    from antsmem.cli.context import Context


def gate(context: Context, post: Post) -> Gate:
    """What must agree before this host starts anything."""
    return Gate(post, witness(context, post), now_ns)


def witness(context: Context, post: Post) -> Witness | None:
    """Whom the operator configured: a relay by its URL, a git remote by `git+URL`, else a repository by its name
    or URL."""
    url = context.operator.heartbeat.witness
    if not url:
        return None
    if url.startswith(("https://", "http://")):
        from antsmem.cli.relays import own_relay

        return RelayWitness(own_relay(context, url, ASK_SECONDS))
    if url.startswith(ANCHOR_PREFIX):
        from antsmem.drivers.git import GitDocument

        scratch = context.state_dir / "witness" / hashlib.sha256(url.encode()).hexdigest()[:16]
        return GitDocument(
            "the witness", url.removeprefix(ANCHOR_PREFIX), scratch, context.environment,
            f"refs/antsmem/epoch-{post.agent}", "epoch.json", "statement", 16 << 10, 2 * ASK_SECONDS,
        )  # fmt: skip
    config = replace(context.named([url])[0], verify="none")  # what is swapped is compared next time
    return StoreWitness(partial(context.store, config), post.agent)
