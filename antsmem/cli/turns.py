"""What a command needs to know of an agent's turn: its program, its tasks, its context, what is hidden from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from antsmem.cli.context import Context
from antsmem.core.errors import CannotUnlockError, NotFoundError

if TYPE_CHECKING:
    from antsmem.heartbeat.agents import AgentCommand
    from antsmem.heartbeat.context import DueText, WakeContext
    from antsmem.heartbeat.journal import Journal
    from antsmem.identity.scanner import Finding, Scanner


def agent_of(ctx: Context) -> AgentCommand | None:
    """The program that the operator configured as the agent; None if there is none."""
    if not ctx.operator.agent.preset:
        return None
    from antsmem.heartbeat.agents import agent_command

    own = os.path.dirname(os.path.abspath(sys.argv[0])) if os.path.basename(sys.argv[0]) == "antsmem" else ""
    return agent_command(ctx.operator.agent, ctx.environment, own)


def scan_of(ctx: Context) -> Callable[[bytes], Sequence[Finding]]:
    """Finds secrets in a context: the agent's own where the keystore opens, else by their fingerprints where those
    are remembered, and in any case what anybody's look like. Nothing is opened before it is asked."""
    made: list[Scanner] = []

    def scan(data: bytes) -> Sequence[Finding]:
        if not made:
            made.append(best_scanner(ctx)[0])
        return made[0].scan(data)

    return scan


def best_scanner(ctx: Context) -> tuple[Scanner, str]:
    """The scanner that knows most here, and how it knows the agent's own secrets: `open`, `prints` or `not`."""
    from antsmem.identity.fingerprints import read_fingerprints
    from antsmem.identity.scanner import KEY_BYTES, Scanner

    if os.path.lexists(ctx.layout.identity_log):
        try:
            return ctx.scanner(), "open"
        except (CannotUnlockError, NotFoundError):
            pass
        try:
            prints = read_fingerprints(ctx.agent_state / "fingerprints.json", ctx.now_ns)
            return Scanner(fingerprint_key=prints.key, prints=prints), "prints"
        except NotFoundError:
            pass
    return Scanner(fingerprint_key=os.urandom(KEY_BYTES)), "not"


def due_here(ctx: Context, journal: Journal) -> tuple[DueText, ...]:
    """The task of the turn that this runs in, else all that are due now, oldest first."""
    from antsmem.cli.heartbeats import read_heartbeat
    from antsmem.heartbeat.context import DueText
    from antsmem.heartbeat.due import decide
    from antsmem.heartbeat.plan import text_of
    from antsmem.heartbeat.progress import stand

    file = read_heartbeat(ctx)
    data = file.data or b""
    standing = stand(journal, file.plan, data, ctx.now_ns)
    key = ctx.environment.get("ANTSMEM_KEY", "")
    named = [task for task in standing.plan.tasks if key and task.id == ctx.environment.get("ANTSMEM_TASK")]
    if named:
        return tuple(DueText(key, task.title, text_of(data, task.spans)) for task in named)
    due = decide(standing.plan, standing.progress, ctx.now_ns).due
    return tuple(DueText(slot.key, slot.task.title, text_of(data, slot.task.spans)) for slot in due)


def context_here(ctx: Context, tokens: int) -> WakeContext:
    """The context for who wakes here and now: inside of a turn its own again, with its nonce."""
    from antsmem.cli.posts import opened_journal
    from antsmem.heartbeat.context import ContextRequest, build_context, ledger_entries
    from antsmem.heartbeat.verdict import NONCE

    journal, zone = opened_journal(ctx), ctx.settings.time_zone
    tasks = due_here(ctx, journal)
    entries = ledger_entries(journal, ctx.now_ns, zone)
    nonce = ctx.environment.get(NONCE, "")
    request = ContextRequest(ctx.layout.root, tasks, entries, ctx.now_ns, zone, nonce, tokens, scan=scan_of(ctx))
    return build_context(request)


def show_context(ctx: Context, name: str, found: WakeContext) -> None:
    """Print a context as it is; what was left out is told beside it."""
    for each in found.unread:
        ctx.output.warn(f"`{each}` cannot be read: the context is without it")
    for path in dict.fromkeys(each.path for each in found.hidden):
        rules = ", ".join(sorted({each.rule for each in found.hidden if each.path == path}))
        ctx.output.warn(f"`{path}` holds a secret ({rules}): left out of the context")
    for cut in found.cuts:
        ctx.output.note(f"`{cut.path}` is cut: {cut.kept_bytes} of {cut.size_bytes} bytes")
    ctx.output.result(name, found, found.text.rstrip("\n"))
