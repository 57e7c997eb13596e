"""What the commands of the shared memory work on: this workspace's memory, opened for one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from antsmem.cli.backends import devices_meet, exchange_backends
from antsmem.core import clock
from antsmem.core.disk import locked, read_file
from antsmem.core.errors import BackendError, IntegrityError, naming
from antsmem.core.record import replace
from antsmem.memory.agreeing import KeyringFile, Member
from antsmem.memory.author import Speaker
from antsmem.memory.eventfiles import EventFiles
from antsmem.memory.exchange import IDENTITY, Backends
from antsmem.memory.index import Index
from antsmem.memory.local import LocalMemory
from antsmem.memory.roles import Change
from antsmem.memory.sync import SyncJob, SyncResult, sync

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.core.age import X25519Identity


def stream_of(ctx: Context) -> str:
    """`tenant/agent`."""
    return f"{ctx.agent.tenant}/{ctx.log.scid}"


def keyring(ctx: Context) -> KeyringFile:
    """The keyring beside the device log."""

    def member() -> Member:
        hot = sorted(epoch.name for epoch in ctx.keystore.epochs if epoch.tier == "hot")
        newest = [epoch.recipient for epoch in ctx.keystore.epochs if hot and epoch.name == hot[-1]]
        others = (*ctx.keystore.recovery_recipients, *newest)
        return Member(ctx.keystore.op_key, ctx.unlocked, others, lambda: _epochs(ctx))

    path = ctx.layout.events / "keyring.json"
    return KeyringFile(path, stream_of(ctx), ctx.log, member, ctx.now_ns)


def _epochs(ctx: Context) -> list[X25519Identity]:
    """The keys of backup epochs that this host opens: a keyring is sealed to one of them."""
    from antsmem.identity.epochs import open_epochs

    folder = ctx.identity_files.epochs
    files = {path.name: read_file(path, 1 << 20) for path in sorted(folder.glob("*.age"))}
    return list(open_epochs(files, [ctx.unlocked]).values())


@contextmanager
def memory(ctx: Context) -> Iterator[LocalMemory]:
    """This workspace's memory, for one process at a time (`LockedError`)."""
    ctx.finish_restore()
    with locked(ctx.agent_state / "memory.lock", f"another antsmem is syncing `{ctx.layout.root}`"):
        index = Index(ctx.layout.cache / "memory.db")
        opened = LocalMemory(EventFiles(ctx.layout.events), index, ctx.log, stream_of(ctx), keyring(ctx).keys)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def backends(ctx: Context, *, make: bool = False) -> Iterator[Backends | None]:
    """The backends through which devices meet; None if none is configured. `make`: where they are missing."""
    opened = exchange_backends(ctx, make=make)
    try:
        yield opened
    finally:
        if opened is not None:
            opened.close()


def job(ctx: Context) -> SyncJob:
    """What a sync of this workspace is."""
    from antsmem.workspace.classes import Classifier

    def speaker() -> Speaker:
        return Speaker(ctx.keystore.host, ctx.keystore.op_key)

    classifier = Classifier(ctx.settings.classes)
    return SyncJob(ctx.layout.root, classifier, speaker, ctx.agent_state / "device.json", ctx.now_ns)


def run_sync(ctx: Context, *, give: bool = True, take: bool = True) -> SyncResult:
    """Sync this workspace: the identity log first, as it says whose events count, then the keys. `BackendError`
    where nobody answers: what changed here waits in the device log then."""
    with ExitStack() as stack:
        try:
            between = stack.enter_context(backends(ctx))
            rows = agree(ctx, between) if between is not None else []
        except BackendError:
            with memory(ctx) as opened:
                sync(opened, job(ctx), None)  # nobody answers: what changed is recorded all the same
            raise
        with memory(ctx) as opened:
            return sync(opened, job(ctx), between, rows, give=give, take=take)


def record_here(ctx: Context) -> None:
    """Record what changed here as events of this device, and leave it to the next `sync` to give them. Where this
    device did not meet the others yet, nothing is recorded: it has not got their keys."""
    work = replace(job(ctx), now_ns=clock.now_ns())
    if devices_meet(ctx) and work.state.exists():
        with memory(ctx) as opened:
            sync(opened, work, None, give=False, take=False)


def agree(ctx: Context, between: Backends) -> list[Change]:
    """Take over the newest identity log and keyring; the rows to give, where this host's are the newer."""
    identity = newest_identity(ctx, between)
    rows, can_read = keyring(ctx).agree(between.durable)
    if not can_read:
        ctx.output.warn(
            "this host has no key yet for what others wrote: run `antsmem sync` on another host, then here again"
        )
    return [identity, *rows] if identity else rows


def newest_identity(ctx: Context, between: Backends) -> Change | None:
    """Take over a newer identity log that another device gave; the row to give, where this host's is the newer.

    `RetiredError`: it revokes this host's key. `RollbackError`: it is another history.
    """
    row = between.durable.get(stream_of(ctx), IDENTITY)
    if row is not None and row.value == ctx.log.text:
        return None
    if row is None or ctx.log.text.startswith(row.value):
        return Change(IDENTITY, ctx.log.text, row.version if row else 0)
    from antsmem.cli.newest import take_over
    from antsmem.identity.log import parse_log

    with naming("the identity log in the durable store", "make that store anew, then: antsmem backend rebuild"):
        found = parse_log(row.value)
    if found.scid != ctx.log.scid:
        raise IntegrityError("the backend holds the identity log of another agent")
    found.refuse_rollback(ctx.log.head)
    take_over(ctx, found, "another device gave")
    return None
