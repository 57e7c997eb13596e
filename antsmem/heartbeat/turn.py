"""How a task is done: by its own `run:` line, or by a turn of the agent, which reads what it needs on standard
input.

Commands come from the operator. What HEARTBEAT.md names, a `run:` line or a `verify`, runs only where the
operator's configuration allows it: whoever can write the file must not thereby be able to start programs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antsmem.core.errors import UsageError
from antsmem.core.record import field, record, replace
from antsmem.core.wakeconfig import WakeConfig
from antsmem.heartbeat.once import Effect
from antsmem.heartbeat.plan import Task, text_of
from antsmem.heartbeat.spend import run_budget
from antsmem.heartbeat.states import KINDS
from antsmem.heartbeat.tags import PROSE_ID, split_tag

if TYPE_CHECKING:
    from antsmem.heartbeat.agents import AgentCommand
    from antsmem.heartbeat.line import Entry
    from antsmem.identity.scanner import Finding

_RUN: Final = re.compile(r"\s*(?:[-*+]\s+|\d{1,9}[.)]\s+)?(?:\[ \]\s+)?run:\s+(\S.*)")


@record
class Means:
    """What work is done with: the workspace `root`, what the operator allows, the environment for `run:` lines,
    the agent's program (None: none is configured), and what finds secrets in the agent's context."""

    root: Path
    config: WakeConfig
    environment: Mapping[str, str] = field(repr=False)
    agent: AgentCommand | None = None
    zone: str = "UTC"
    scan: Callable[[bytes], Sequence[Finding]] | None = field(default=None, repr=False)


def effect_of(task: Task, key: str, slot: str, data: bytes, means: Means) -> Effect:
    """What is to happen for `task` at `slot`; an agent's turn still lacks its prompt, see `with_prompt`.

    `UsageError` where it may not run: what it names is not allowed, cannot be read, or there is no agent.
    """
    kind = next(known for known in KINDS if known == task.options.effect)
    verify = _words(task, "verify", task.options.verify, means) if task.options.verify else ()
    command = run_line(task, data)
    if command is None and means.agent is None:
        raise UsageError(
            f"`{task.id}` wants an agent, and none is configured: not run",
            hint="say in config.yaml which program it is: agent: {preset: claude}",
        )
    if command is not None:
        argv, environment, most = _words(task, "run", command, means), means.environment, None
    else:
        assert means.agent is not None
        argv, environment, most = means.agent.argv, means.agent.environment, means.agent.timeout_seconds
    budget = run_budget(means.config, task.options.budget)
    said = {"TOKENS": budget.tokens, "COST_MICROUSD": budget.cost_micros}
    limits = {f"ANTSMEM_BUDGET_{name}": str(most) for name, most in said.items() if most is not None}
    seconds = task.options.timeout_seconds or most or means.config.timeout_seconds
    return Effect(
        key, argv, kind, verify, float(min(seconds, budget.seconds or seconds)), task.id, slot,
        {**environment, **limits, "ANTSMEM_TASK": task.id}, means.root,
    )  # fmt: skip


def with_prompt(
    effect: Effect, task: Task, data: bytes, means: Means, entries: Sequence[Entry], now_ns: int
) -> Effect:
    """The agent's turn with what it reads, and a nonce that nobody else knows; a `run:` line as it is."""
    if means.agent is None or run_line(task, data) is not None:
        return effect
    from antsmem.heartbeat.context import ContextRequest, DueText, build_context
    from antsmem.heartbeat.evidence import agent_judge
    from antsmem.heartbeat.verdict import new_nonce

    nonce = new_nonce()
    due = DueText(effect.key, task.title, text_of(data, task.spans))
    request = ContextRequest(means.root, (due,), entries, now_ns, means.zone, nonce, scan=means.scan)
    prompt = build_context(request).text.encode("utf-8", "replace")
    judge = agent_judge(means.agent.preset, effect.key, nonce)
    return replace(effect, prompt=prompt, judge=judge, nonce=nonce)


def run_line(task: Task, data: bytes) -> str | None:
    """The command behind `run:` in the lines of a task; None where there is none. Prose has none: it is the
    agent's.

    `UsageError` if there are two.
    """
    if task.id == PROSE_ID:
        return None
    lines = (split_tag(line)[0] for line in text_of(data, task.spans).splitlines())
    found = [match[1].strip().strip("`") for line in lines if (match := _RUN.fullmatch(line))]
    if len(found) > 1:
        raise UsageError(
            f"`{task.id}` holds more than one `run:` line: not run", hint="give each a tag of its own"
        )
    return found[0] if found else None


def _words(task: Task, what: str, command: str, means: Means) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError:
        words = ()
    if not words:
        raise UsageError(f"the `{what}` of `{task.id}` is no command: not run", hint="look for an open quote")
    if not means.config.allows(words):
        raise UsageError(
            f"the `{what}` of `{task.id}` is not allowed on this host: not run",
            hint="the operator allows commands in config.yaml, heartbeat: allow:",
        )
    return words


def gone_effect(last: Entry) -> Effect:
    """What is left of a task that HEARTBEAT.md does not have any more: nothing to start, at most a question."""
    return Effect(last.key, (), "hold", task=last.text("task"), slot=last.text("slot"))
