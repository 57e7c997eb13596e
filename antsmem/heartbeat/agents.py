"""How each agent program is run for one turn: its command line, how it says its last words and what it cost.

The prompt always comes on standard input. Command lines come from the operator alone; a workspace names none. The
formats are those of each program's own documentation of its non-interactive mode:

    claude    one JSON object: result, is_error, total_cost_usd, usage (Claude Code, "headless")
    codex     one JSON event a line: item.completed with an agent_message, turn.completed with usage (codex exec)
    openclaw  one JSON object: ok, final, usage (openclaw agent exec)
    hermes    the last message as text (hermes chat --quiet)
    llm       the last message as text, the tokens on standard error (llm --usage)
    shell     any program: what it prints is what it says
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from antsmem.core import canonical
from antsmem.core.config import ProgramConfig
from antsmem.core.errors import ConfigError, IntegrityError
from antsmem.core.record import field, record

Preset: TypeAlias = Literal["claude", "codex", "openclaw", "hermes", "llm", "shell"]
PRESETS: Final[tuple[Preset, ...]] = ("claude", "codex", "openclaw", "hermes", "llm", "shell")
TIMEOUT_SECONDS: Final = 600.0

_JSON_BYTES: Final = 8 << 20
_LLM_USAGE: Final = re.compile(r"^Token usage: (?:([\d,]+) input)?(?:, )?(?:([\d,]+) output)?", re.MULTILINE)
_EVERYWHERE: Final = (
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TMPDIR TERM XDG_* SSL_CERT_FILE SSL_CERT_DIR "
    "NODE_EXTRA_CA_CERTS HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy "
    "DBUS_SESSION_BUS_ADDRESS ANTSMEM_WORKSPACE ANTSMEM_RUN"
)


@record
class Program:
    """A preset: what is run, which variables it gets besides those that all get, and the command that names its
    options."""

    argv: tuple[str, ...]
    environment: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()


PROGRAMS: Final[Mapping[Preset, Program]] = {
    "claude": Program(
        (
            "claude",
            "-p",
            "--output-format",
            "json",
            "--allowedTools",
            "Bash(antsmem report *),Bash(antsmem log *)",
        ),
        ("ANTHROPIC_*", "CLAUDE_*"),
        ("claude", "--help"),
    ),
    "codex": Program(
        ("codex", "exec", "--json", "--skip-git-repo-check", "--sandbox", "workspace-write", "-"),
        ("CODEX_*", "OPENAI_*"),
        ("codex", "exec", "--help"),
    ),
    "openclaw": Program(
        ("openclaw", "agent", "exec", "--json", "--message-file", "-", "--cwd", "."),
        ("OPENCLAW_*",),
        ("openclaw", "agent", "exec", "--help"),
    ),
    "hermes": Program(
        ("hermes", "chat", "--query-file", "-", "--quiet", "--source", "tool"),
        ("HERMES_*",),
        ("hermes", "chat", "--help"),
    ),
    "llm": Program(
        ("llm", "prompt", "--usage"),
        ("LLM_*", "OPENAI_API_KEY"),
        ("llm", "prompt", "--help"),
    ),
    "shell": Program(()),
}


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
    read and written. `failed`: the program says that the turn failed, whatever its exit code; `silent`: it failed
    before the model said a word, so that nothing can have been done."""

    text: str
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    failed: bool = False
    silent: bool = False


def preset_of(settings: ProgramConfig) -> Preset:
    """The preset that the operator chose. `ConfigError` where there is none, or an unknown one."""
    if not settings.preset:
        raise ConfigError(
            "no agent is configured: nobody to give the tasks to",
            hint="write `agent: {preset: claude}` into ~/.config/antsmem/config.yaml",
        )
    preset = next((known for known in PRESETS if known == settings.preset), None)
    if preset is None:
        raise ConfigError(
            f"`{settings.preset}` is no agent preset", hint=f"there are {', '.join(PRESETS)}; see `agent.preset`"
        )
    return preset


def agent_command(settings: ProgramConfig, environment: Mapping[str, str], own_folder: str = "") -> AgentCommand:
    """The command that the operator's `agent:` means, for one turn. `environment` is that of antsmem itself, of
    which the program gets a part; `own_folder`, where `antsmem` lies, is the last place on its PATH."""
    preset = preset_of(settings)
    program = PROGRAMS[preset]
    argv = settings.command or program.argv
    if not argv:
        raise ConfigError(
            f"`agent.preset: {preset}` needs a `command`", hint="agent: {preset: shell, command: [./agent]}"
        )
    wanted = (*_EVERYWHERE.split(), *program.environment, *settings.environment)
    given = {name: value for name, value in environment.items() if _is_wanted(name, wanted)}
    folders = [folder for folder in given.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":") if folder]
    if own_folder and own_folder not in folders:
        folders.append(own_folder)
    given["PATH"] = ":".join(folders)
    return AgentCommand(preset, argv, given, timeout_seconds=settings.timeout_seconds or TIMEOUT_SECONDS)


def last_words(preset: Preset, stdout: bytes, stderr: bytes) -> Said:
    """What the program printed, understood as that of `preset`. Never fails: what cannot be read is a text."""
    match preset:
        case "claude":
            said = _claude(stdout)
        case "codex":
            said = _codex(stdout)
        case "openclaw":
            said = _openclaw(stdout)
        case "llm":
            said = _llm(stdout, stderr)
        case _:
            said = None
    return said or Said(stdout.decode("utf-8", "replace"))


def _is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in wanted)


def _claude(stdout: bytes) -> Said | None:
    found = _object(stdout)
    if found is None or found.get("type") != "result":
        return None
    usage = _member(found, "usage")
    read = [count for name in _CLAUDE_INPUT if (count := _count(usage.get(name))) is not None]
    written, failed = _count(usage.get("output_tokens")), found.get("is_error") is True
    cost = _cost(found.get("total_cost_usd"))
    silent = failed and written == 0 and cost == 0
    return Said(_text(found.get("result")), cost, sum(read) if read else None, written, failed, silent)


_CLAUDE_INPUT: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _codex(stdout: bytes) -> Said | None:
    text, read, written, failed, seen, acted = "", None, None, False, False, False
    for event in _events(stdout):
        kind, item = event.get("type"), _member(event, "item")
        seen = True
        acted = acted or (bool(item) and item.get("type") != "error")
        if kind == "item.completed" and item.get("type") == "agent_message":
            text = _text(item.get("text"))
        elif kind == "turn.completed":
            usage = _member(event, "usage")
            read, written = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
        elif kind == "turn.failed":
            failed = True
    return Said(text, None, read, written, failed, failed and not acted) if seen else None


def _openclaw(printed: bytes) -> Said | None:
    found = _object(printed)
    if found is None or not isinstance(found.get("ok"), bool):
        return None
    usage, failed = _member(found, "usage"), found["ok"] is False
    cost = _cost(_member(usage, "cost").get("total"))
    silent = failed and not found.get("payloads") and found.get("model") is None
    text = _text(found.get("final"))
    return Said(text, cost, _count(usage.get("input")), _count(usage.get("output")), failed, silent)


def _llm(stdout: bytes, stderr: bytes) -> Said:
    counts = _LLM_USAGE.findall(stderr.decode("utf-8", "replace"))
    read, written = counts[-1] if counts else ("", "")
    return Said(stdout.decode("utf-8", "replace"), None, _digits(read), _digits(written))


def _object(printed: bytes) -> dict[str, Any] | None:
    """The JSON object in what was printed, where lines of text may stand before and behind it."""
    start = 0 if printed[:1] == b"{" else printed.find(b"\n{") + 1
    ends = [len(printed), printed.rfind(b"\n}") + 2]
    for end in ends if printed[start : start + 1] == b"{" else ():
        try:
            found = canonical.loads(printed[start:end], _JSON_BYTES, fractions=True)
        except IntegrityError:
            continue
        return found if isinstance(found, dict) else None
    return None


def _events(printed: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines that were printed."""
    for line in printed.split(b"\n"):
        if line[:1] != b"{":
            continue
        try:
            found = canonical.loads(line, _JSON_BYTES, fractions=True)
        except IntegrityError:
            continue
        if isinstance(found, dict):
            yield found


def _member(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _digits(text: str) -> int | None:
    return int(text.replace(",", "")) if 0 < len(text) < 20 else None


def _cost(value: object) -> float | None:
    """A number, which is a text where it has a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        cost = float(value)
    except ValueError:
        return None
    return cost if 0 <= cost < 1_000_000 else None
