"""By which files the known agent runtimes are told apart.

A path is relative to the directory that is looked at, in lower case because names are compared so; `*` stands for
anything within a name, `#` for a digit. Weights add up: 5 is certain, 3 likely, 2 possible. A signal with `holds`
counts only if the head of the file holds those bytes.

Sources: the runtimes' own documentation and sources of their workspaces and state directories.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

Runtime: TypeAlias = Literal[
    "openclaw", "hermes", "nanobot", "picoclaw", "zeroclaw", "claude-code", "codex", "letta-memfs", "memsearch"
]


class Signal(NamedTuple):
    """A file (or, with `/` at its end, a directory) that speaks for a runtime."""

    path: str
    weight: int
    holds: bytes = b""


SQLITE: Final = b"SQLite format 3\0"
SECTION: Final = "\n§\n".encode()

SIGNATURES: Final[dict[Runtime, tuple[Signal, ...]]] = {
    "openclaw": (
        Signal(".openclaw/workspace-state.json", 5),
        Signal("openclaw.json", 5),
        Signal("clawdbot.json", 5),
        Signal("moltbot.json", 5),
        Signal("state/openclaw.sqlite", 5),
        Signal("agent/openclaw-agent.sqlite", 5),
        Signal("bootstrap.md", 2),
        Signal("identity.md", 2),
        Signal("boot.md", 1),
        Signal("agents.md", 1),
        Signal("agents.md", 1, b"# AGENTS.md"),
        Signal("soul.md", 1),
        Signal("soul.md", 1, b"# SOUL.md"),
    ),
    "hermes": (
        Signal("memories/memory.md", 3),
        Signal("memories/user.md", 2),
        Signal("memories/memory.md", 2, SECTION),
        Signal("memories/user.md", 2, SECTION),
        Signal("state.db", 1, SQLITE),
        Signal("soul.md", 1),
    ),
    "nanobot": (
        Signal("memory/history.jsonl", 3),
        Signal("memory/history.jsonl", 2, b'"cursor"'),
        Signal("memory/.dream_cursor", 3),
        Signal("memory/.cursor", 1),
        Signal("memory/.git", 2),
        Signal("memory/history.md", 2),
        Signal("memory/memory.md", 1),
    ),
    "picoclaw": (
        Signal("memory/######/########.md", 4),
        Signal("agent.md", 2),
        Signal("state/state.json", 1),
        Signal("cron/jobs.json", 1),
        Signal("sessions/", 1),
        Signal("memory/memory.md", 1),
    ),
    "zeroclaw": (
        Signal("memory/brain.db", 3),
        Signal("memory/brain.db", 2, SQLITE),
        Signal("brain.db", 3),
        Signal("brain.db", 2, SQLITE),
        Signal("memory_snapshot.md", 3),
        Signal("memory_snapshot.md", 2, b"### "),
        Signal("active_workspace.toml", 3),
        Signal(".secret_key", 1),
    ),
    "claude-code": (
        Signal("projects/-*/memory/memory.md", 5),
        Signal("projects/-*/*.jsonl", 3),
        Signal("claude.local.md", 3),
        Signal("claude.md", 3),
        Signal(".claude/", 2),
    ),
    "codex": (
        Signal("agents.override.md", 5),
        Signal("memories/memory_summary.md", 3),
        Signal("memories/raw_memories.md", 2),
        Signal("sessions/####/##/##/rollout-*.jsonl", 5),
        Signal("archived_sessions/", 2),
        Signal(".codex/", 2),
    ),
    "letta-memfs": (
        Signal("system/persona.md", 2),
        Signal("system/human.md", 2),
        Signal("system/persona.md", 2, b"description:"),
        Signal("system/human.md", 2, b"description:"),
        Signal(".git", 1),
        Signal(".letta/", 2),
    ),
    "memsearch": (
        Signal(".memsearch/memory/####-##-##*.md", 5),
        Signal(".memsearch/memory/", 3),
        Signal(".memsearch.toml", 3),
        Signal(".memsearch/milvus.db", 2),
    ),
}
"""Every known runtime. Docs: `docs/reference/runtimes.md`."""

NOTES: Final[dict[Runtime, tuple[tuple[str, bytes, str], ...]]] = {
    "openclaw": (
        ("state/openclaw.sqlite", b"", "state/openclaw.sqlite holds login data beside the agent's state"),
        ("agent/openclaw-agent.sqlite", b"", "openclaw-agent.sqlite holds login data beside the transcripts"),
    ),
    "hermes": (("memories/memory.md", SECTION, "entries in memories/ are separated by `§` lines"),),
    "nanobot": (("memory/.git", b"", "memory/ is a git repository of its own: backed up as it is"),),
    "picoclaw": (("memory/######/", b"", "daily logs are in memory/YYYYMM/YYYYMMDD.md"),),
    "zeroclaw": (
        ("memory/brain.db", b"", "memories live in memory/brain.db, a SQLite database: backed up consistently"),
        ("brain.db", b"", "memories live in brain.db, a SQLite database: backed up consistently"),
    ),
    "claude-code": (
        (
            "projects/-*/",
            b"",
            "memory is keyed by the path of each project: after a move, keep the path or rename it",
        ),
    ),
    "codex": (("agents.override.md", b"", "AGENTS.override.md is read instead of AGENTS.md"),),
    "letta-memfs": (
        ("system/*.md", b"description:", "the front matter of each file is part of the memory"),
        (".git", b"", "the memory is a git repository: backed up as it is"),
    ),
    "memsearch": ((".memsearch/milvus.db", b"", "milvus.db is an index, built again from the Markdown files"),),
}
"""What to say about a runtime when a path is there (and, if given, its head holds those bytes)."""
