"""This host's part in the agent's work, for every command that starts some: journal, post, host."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from antsmem.cli.context import Context
from antsmem.core import clock
from antsmem.core.disk import read_file
from antsmem.core.errors import NotFoundError
from antsmem.core.record import replace
from antsmem.heartbeat.epoch import Post

if TYPE_CHECKING:
    from antsmem.core.mask import Mask as MaskMaker
    from antsmem.heartbeat.action import Mask
    from antsmem.heartbeat.journal import Journal
    from antsmem.heartbeat.once import Host

_LOG_BYTES = 16 << 20
_SECRET_BYTES = 8
_SECRET = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY)$", re.IGNORECASE)


def opened_journal(ctx: Context, *, to_write: bool = False) -> Journal:
    """The workspace's journal; outside of any workspace this user's own. `to_write`: not where this host has
    retired (`RetiredError`), for what opens no keystore."""
    from antsmem.heartbeat.journal import Journal, Places

    try:
        layout = ctx.layout
    except NotFoundError:
        if ctx.options.workspace is not None:
            raise
        root = ctx.state_dir / "once"
        return Journal(Places(root, root / "index"))
    if to_write:
        ctx.ready_to_write()
    else:
        ctx.finish_restore()
    return Journal(Places(layout.journal.parent, layout.cache / "heartbeat"), own_post(ctx).born)


def post(ctx: Context) -> Post | None:
    """This host's part in the work of the workspace; None outside of any."""
    try:
        layout = ctx.layout
    except NotFoundError:
        return None
    try:
        agent = read_file(layout.identity_log, _LOG_BYTES).partition(b"\n")[0]
    except NotFoundError:
        agent = os.fsencode(layout.root)
    name = hashlib.sha256(agent).hexdigest()[:32]  # no need to verify who it is, only to know it again
    return Post(ctx.state_dir / "heartbeat", layout.journal.parent / "epoch.json", name)


def own_post(ctx: Context) -> Post:
    """This host's part; `NotFoundError` outside of any workspace."""
    here = post(ctx)
    if here is None:
        raise NotFoundError("no workspace here: there is no work to do", hint="antsmem -C PATH")
    return here


def host_for(ctx: Context, journal: Journal) -> Host:
    """Where effects are done: here, now, if this host may."""
    from antsmem.heartbeat.once import Host

    host = Host(clock.now_ns, _draw, mask=_masking(ctx.environment))
    here = post(ctx)
    if here is None:
        return host
    from antsmem.cli.witnesses import gate

    door = gate(ctx, here)
    return replace(host, enter=partial(door.enter, journal), started=lambda: here.saw(journal))


@contextmanager
def answering_for(journal: Journal) -> Iterator[None]:
    """See that an interrupt leaves a journal that says what happened, and a message that says what to do."""
    from antsmem.cli.main import Interrupted

    try:
        yield
    except Interrupted as signalled:
        from antsmem.heartbeat.interrupt import interrupted

        said = []
        for left in interrupted(journal, clock.now_ns()):
            if left.state == "HELD":
                said.append(
                    f"`{left.key}` was under way and is held: nobody knows whether it happened\n"
                    f"  → {hint_for(left.key, left.state)}"
                )
            else:
                said.append(f"`{left.key}` was under way: the same command, or the next wake, finds out")
        signalled.says = "\n".join(said) or signalled.says
        raise


def hint_for(key: str, state: str) -> str:
    """What to type about a key that is not settled."""
    if state in {"FAILED", "PLANNED"}:
        return "the same command again tries again"
    from antsmem.heartbeat.notices import answer

    return answer(key, state)


def _masking(environment: Mapping[str, str]) -> Callable[[], Mask]:
    """Takes the secrets of the environment out of what is kept, known by the names of their variables: nothing is
    unlocked for an effect."""
    known = [(name, os.fsencode(value)) for name, value in environment.items() if _SECRET.search(name)]
    made: list[MaskMaker] = []

    def stream() -> Mask:
        from antsmem.core.mask import Mask

        if not made:
            made.append(Mask([(name, value) for name, value in known if len(value) >= _SECRET_BYTES]))
        return made[0].stream()

    return stream


def _draw() -> float:
    """A number in [0, 1), without what importing `random` costs."""
    return int.from_bytes(os.urandom(6), "big") / (1 << 48)
