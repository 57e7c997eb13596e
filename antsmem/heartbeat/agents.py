"""How each agent program is run for one turn: its command line, and how it says its last words and what it cost.

The prompt always comes on standard input. Command lines come from the operator alone; a workspace names none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from antsmem.core.config import ProgramConfig
from antsmem.core.errors import ConfigError
from antsmem.core.record import field, record

Preset: TypeAlias = Literal["claude", "codex", "openclaw", "hermes", "llm", "shell"]
PRESETS: Final[tuple[Preset, ...]] = ("claude", "codex", "openclaw", "hermes", "llm", "shell")
TIMEOUT_SECONDS: Final = 600.0


@record
class AgentCommand:
    """A program to run for one turn: `environment` is all that it gets, besides what the heartbeat adds."""

    preset: Preset
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    prompt_on_stdin: bool = True
    timeout_seconds: float = TIMEOUT_SECONDS


@record
class Said:
    """What a turn ended with: the agent's last message, and what it cost as far as the program tells: USD, tokens
    read and written. `failed`: the program says that the turn failed, whatever its exit code."""

    text: str
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    failed: bool = False


def agent_command(settings: ProgramConfig, environment: Mapping[str, str]) -> AgentCommand:
    """The command that the operator's `agent:` means. `environment` is the one that antsmem was started in."""
    preset = next((known for known in PRESETS if known == settings.preset), None)
    if preset is None:
        raise ConfigError(f"`{settings.preset}` is no agent preset: there are {', '.join(PRESETS)}")
    return AgentCommand(preset, settings.command or ("claude", "-p"), environment)


def last_words(preset: Preset, stdout: bytes, stderr: bytes) -> Said:
    """What the program printed, understood as that of `preset`. Never fails: what cannot be read is text."""
    return Said(stdout.decode("utf-8", "replace"))
